# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from iid_mm.datasets.index import read_index, write_index
from iid_mm.errors import InputError
from iid_mm.identity.probe import ProbeSettings
from iid_mm.identity.probe_report import ProbeRequest, run_probes, untrained_model
from iid_mm.identity.recognizer import TEMPLATE, aligned, embed, find_recognizer
from iid_mm.utils.config import load_config

pytest.importorskip('onnxruntime')
onnx = pytest.importorskip('onnx')


class Faces:
    """One image, as often as requested."""

    def __init__(self, path: Path, landmarks: np.ndarray, count: int) -> None:
        self.info: dict[str, Any] = {'img_path': str(path), 'landmarks': landmarks}
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get_data_info(self, _: int) -> dict[str, Any]:
        return self.info


def landmarks_at(points: np.ndarray) -> np.ndarray:
    """68 points whose eyes, nose and mouth are the five given."""
    found = np.zeros((68, 2), np.float32)
    found[36:42], found[42:48], found[30], found[48], found[54] = points
    return found


def write_recognizer(path: Path) -> None:
    """Stand-in: the mean of red, green and blue."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node('GlobalAveragePool', ['x'], ['mean']),
        helper.make_node('Flatten', ['mean'], ['y']),
    ]
    graph = helper.make_graph(
        nodes,
        'mean',
        [helper.make_tensor_value_info('x', kind, ['n', 3, 112, 112])],
        [helper.make_tensor_value_info('y', kind, ['n', 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)])
    model.ir_version = 8
    onnx.save(model, path)


def test_faces_are_aligned_to_the_template() -> None:
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (14, 14, 3), dtype=np.uint8), (112, 112))
    np.testing.assert_array_equal(aligned(image, landmarks_at(TEMPLATE)), image)
    # Twice as large and moved: the same face again.
    large = cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR)
    again = aligned(large, landmarks_at(2 * TEMPLATE + 0.5))
    assert np.abs(again.astype(int) - image)[4:-4, 4:-4].mean() < 4


def test_embeddings_are_of_rgb_and_have_length_one(tmp_path: Path) -> None:
    write_recognizer(tmp_path / 'w600k_r50.onnx')
    model = find_recognizer(tmp_path)
    assert isinstance(model, Path)
    # Blue only: (-1, -1, 1) in RGB after (x - 127.5) / 127.5.
    cv2.imwrite(str(tmp_path / 'blue.png'), np.full((112, 112, 3), (255, 0, 0), np.uint8))
    faces = [(0, Faces(tmp_path / 'blue.png', landmarks_at(TEMPLATE), 2))] * 2
    found = embed(model, faces, np.array([0, 2, 3]), batch_size=2)
    np.testing.assert_allclose(found, np.broadcast_to(np.array([-1, -1, 1]) / np.sqrt(3), (3, 3)), atol=1e-6)
    stored = Faces(Path('/set/blue.png'), landmarks_at(TEMPLATE), 1)
    blue = (tmp_path / 'blue.png').read_bytes()
    stored.info['storage'] = SimpleNamespace(read={'/set/blue.png': blue}.__getitem__)
    np.testing.assert_array_equal(embed(model, [(0, stored)], np.array([0])), found[:1])
    missing = [(0, Faces(tmp_path / 'no.png', landmarks_at(TEMPLATE), 1))]
    with pytest.raises(FileNotFoundError, match=r'no\.png'):
        embed(model, missing, np.array([0]))
    (tmp_path / 'no.png').write_bytes(b'no image')
    with pytest.raises(InputError, match=r'no\.png'):
        embed(model, missing, np.array([0]))


def test_no_recognizer_is_a_reason(tmp_path: Path) -> None:
    assert find_recognizer(None) == 'no --recognizer-dir'
    assert 'holds none of' in str(find_recognizer(tmp_path))
    with pytest.raises(FileNotFoundError, match='recognizer-dir'):
        find_recognizer(tmp_path / 'no')
    write_recognizer(tmp_path / 'mine.onnx')
    assert find_recognizer(tmp_path) == tmp_path / 'mine.onnx'
    (tmp_path / 'mine.onnx').write_bytes(b'damaged')
    with pytest.raises(InputError, match='cannot be run'):
        embed(tmp_path / 'mine.onnx', [], np.array([0]))


def test_it_is_a_control_of_the_probe(tiny_config: Path, tiny_prepared: Path, tmp_path: Path) -> None:
    write_recognizer(tmp_path / 'w600k_r50.onnx')
    again = tmp_path / 'again'
    rows = read_index(tiny_prepared / 'index.parquet').to_pylist()
    write_index([{**row, 'detector_score': 0.5} for row in rows], again / 'index.parquet')
    (again / 'frames').symlink_to(tiny_prepared / 'frames')
    cfg = load_config(tiny_config)
    said: list[str] = []
    request = ProbeRequest(
        [tiny_prepared, again],
        ['logits'],
        split='test',
        controls=['recognizer'],
        recognizer_dir=tmp_path,
        settings=ProbeSettings(seeds=1),
    )
    report = run_probes(cfg, untrained_model(cfg, 0), request, tmp_path / 'store', said.append)
    # 3 people, 3 genuine frames, 2 clips: no fake goes through the network.
    assert said[0] == 'features of 18 faces'
    assert [(row.source, row.feature) for row in report.rows] == [
        ('trained', 'logits'),
        ('recognizer', 'recognizer'),
    ]
    assert report.rows[1].result.faces == 18
