# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from iid_mm.errors import InputError
from iid_mm.registry import VISUALIZERS
from iid_mm.structures import ForgeryDataSample
from iid_mm.visualization import ForgeryVisualizer
from iid_mm.visualization.drawing import BLUE, GREEN, VERMILION


def make_sample(probability: float = 0.8, annotated: bool = False) -> ForgeryDataSample:
    sample = ForgeryDataSample(metainfo={'method': 'Deepfakes', 'img_shape': (64, 64)})
    sample.gt_label = torch.tensor([1])
    sample.pred_score = torch.tensor([1 - probability, probability])
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 16.0, 40.0, 56.0], [30.0, 2.0, 60.0, 20.0]]),
        scores=torch.tensor([0.9, 0.2]),
        labels=torch.zeros(2, dtype=torch.long),
    )
    boxes = torch.tensor([[16.0, 16.0, 48.0, 48.0]] if annotated else []).reshape(-1, 4)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    return sample


IMAGE = np.full((64, 64, 3), 128, dtype=np.uint8)


def is_line(drawn: np.ndarray, x: float, y: float, color: tuple[int, int, int]) -> bool:
    """Whether the color is found within two pixels of (x, y)."""
    patch = drawn[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
    return bool((patch == color).all(axis=2).any())


def test_it_is_built_from_the_registry() -> None:
    visualizer = VISUALIZERS.build({'type': 'ForgeryVisualizer', 'name': 'test_forgery_visualizer'})
    assert isinstance(visualizer, ForgeryVisualizer)


def test_predicted_boxes_are_scaled_and_filtered() -> None:
    drawn = ForgeryVisualizer(size=256).draw(IMAGE, make_sample())
    # Factor 4: the left edge at 32, the lower one at 224; the box of score 0.2 is left out.
    assert is_line(drawn, 32, 150, VERMILION)
    assert is_line(drawn, 100, 224, VERMILION)
    assert not is_line(drawn, 240, 40, VERMILION)
    both = ForgeryVisualizer(size=256).draw(IMAGE, make_sample(), pred_score_thr=0.1)
    assert is_line(both, 240, 40, VERMILION)
    one = ForgeryVisualizer(size=256, max_boxes=1).draw(IMAGE, make_sample(), pred_score_thr=0.1)
    assert not is_line(one, 240, 40, VERMILION)


@pytest.mark.parametrize(('probability', 'color'), [(0.8, VERMILION), (0.2, BLUE)])
def test_the_stripe_tells_the_decision(probability: float, color: tuple[int, int, int]) -> None:
    drawn = ForgeryVisualizer(size=256).draw(IMAGE, make_sample(probability))
    assert drawn.shape[1] == 256
    assert drawn.shape[0] > 256
    assert (drawn[257] == color).all()


def test_annotated_boxes_stand_in_their_own_panel() -> None:
    drawn = ForgeryVisualizer(size=256).draw(IMAGE, make_sample(annotated=True))
    assert drawn.shape[1] == 2 * 256 + 8
    assert is_line(drawn, 64, 128, GREEN)
    alone = ForgeryVisualizer(size=256).draw(IMAGE, make_sample(annotated=True), draw_pred=False)
    assert alone.shape[1] == 256


def test_a_stored_crop_is_warped_to_the_canvas() -> None:
    crop = np.zeros((200, 300, 3), np.uint8)
    crop[50:100, 100:150] = 255
    sample = make_sample()
    # Half size, then 10 px to the left: x in [40, 65), y in [25, 50) of the canvas.
    sample.set_metainfo({'warp_matrix': np.array([[0.5, 0, -10], [0, 0.5, 0], [0, 0, 1]])})
    drawn = ForgeryVisualizer(size=64).draw(crop, sample, draw_gt=False, pred_score_thr=1.0)
    face = drawn[:64, :, 0]
    assert (face[28:48, 43:62] > 200).all()
    assert (face[:24] < 60).all()
    assert (face[:, :38] < 60).all()


def test_without_sample_or_prediction() -> None:
    visualizer = ForgeryVisualizer(size=128)
    assert visualizer.draw(IMAGE, None).shape == (128, 128, 3)
    empty = ForgeryDataSample(metainfo={'img_shape': (64, 64)})
    assert visualizer.draw(IMAGE, empty).shape == (128, 128, 3)
    labeled = ForgeryDataSample()
    labeled.gt_label = torch.tensor([0])
    assert visualizer.draw(IMAGE, labeled).shape[0] > 128


def test_an_image_goes_to_the_file_or_to_the_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('DISPLAY', raising=False)
    visualizer = ForgeryVisualizer(
        vis_backends=[{'type': 'LocalVisBackend'}], save_dir=str(tmp_path), size=128
    )
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255  # RGB
    visualizer.add_datasample('face', red, make_sample(), step=3)
    stored = tmp_path / 'vis_data' / 'vis_image' / 'face_3.png'
    visualizer.add_datasample('face', red, make_sample(), out_file=str(tmp_path / 'a' / 'b.png'))
    np.testing.assert_array_equal(cv2.imread(str(stored)), cv2.imread(str(tmp_path / 'a' / 'b.png')))
    assert cv2.imread(str(stored))[2, 2].tolist() == [0, 0, 255]
    assert visualizer.get_image().shape[1] == 128


def test_showing_without_a_display_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('matplotlib.pyplot.get_backend', lambda: 'agg')
    ForgeryVisualizer(size=64).add_datasample('face', IMAGE, make_sample(), show=True)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='size=8'):
        ForgeryVisualizer(size=8)
