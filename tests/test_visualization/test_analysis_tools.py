# SPDX-License-Identifier: Apache-2.0
"""The tools that make pictures: browse_dataset and plot_scores."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from iid_mm.errors import InputError
from iid_mm.evaluation.scores import FrameScore, FrameScores, write_scores
from iid_mm.registry import DATASETS
from iid_mm.structures import ForgeryDataSample
from iid_mm.visualization import evenly_chosen
from iid_mm.visualization.dataset_grid import sample_panel
from iid_mm.visualization.drawing import BLUE, SKY, VERMILION
from support.paths import REPOSITORY

TOOLS = REPOSITORY / 'tools' / 'analysis_tools'
Tool = Callable[..., int]


class StubDataset:
    """Packed samples of a random pixel each, every third one genuine."""

    def __init__(self, length: int = 20) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        fake = index % 3 > 0
        sample = ForgeryDataSample(
            metainfo={
                'method': 'A' if fake else 'youtube',
                'video_key': f'toy/A/raw/{index}',
                'frame': 7,
                'swap_kind': 'fake_into_genuine',
            }
        )
        sample.gt_label = torch.tensor([int(fake)])
        boxes = [[16.0, 8.0, 48.0, 40.0], [0.0, 0.0, 64.0, 64.0]] if fake else []
        sample.gt_instances = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4))
        inputs = torch.full((3, 64, 64), int(np.random.randint(256)), dtype=torch.uint8)
        return {'inputs': inputs, 'data_samples': sample}


@pytest.fixture
def stub_dataset() -> Iterator[None]:
    DATASETS.register_module(name='StubDataset', module=StubDataset)
    yield
    DATASETS.module_dict.pop('StubDataset')


@pytest.fixture
def run_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tool:
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: object) -> int:
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOLS / name), run_name='__main__')
        return int(end.value.code or 0)

    return run


def write_config(folder: Path) -> Path:
    path = folder / 'stub.py'
    path.write_text("train_dataloader = dict(dataset=dict(type='StubDataset', length=20))\n")
    return path


@pytest.mark.usefixtures('stub_dataset')
def test_browse_dataset(tmp_path: Path, run_tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    arguments = (config, '--num', 6, '--columns', 3, '--cell', 96)
    assert run_tool('browse_dataset.py', *arguments, '--out', tmp_path / 'new' / 'a.png') == 0
    assert '6 of 20 samples' in capsys.readouterr().out
    picture = cv2.imread(str(tmp_path / 'new' / 'a.png'))
    assert picture.shape[1] == 3 * 104 + 8
    assert run_tool('browse_dataset.py', *arguments) == 0
    again = cv2.imread(str(tmp_path / 'work_dirs' / 'stub' / 'browse_train.png'))
    np.testing.assert_array_equal(again, picture)
    more = ('--cfg-options', 'train_dataloader.dataset.length=4', '--seed', 5)
    assert run_tool('browse_dataset.py', *arguments, *more) == 0
    assert '4 of 4 samples' in capsys.readouterr().out


@pytest.mark.usefixtures('stub_dataset')
def test_browse_dataset_says_what_is_wrong(
    tmp_path: Path, run_tool: Tool, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    assert run_tool('browse_dataset.py', tmp_path / 'none.py') == 1
    assert 'none.py does not exist' in capsys.readouterr().err
    assert run_tool('browse_dataset.py', config, '--split', 'val') == 1
    assert 'has no val_dataloader' in capsys.readouterr().err
    assert run_tool('browse_dataset.py', config, '--num', '0') == 1
    assert 'num=0 samples of 20' in capsys.readouterr().err


def test_plot_scores(tmp_path: Path, run_tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        FrameScore(f'toy/{method}/raw/{video}', frame, '', 'toy', method, label, score)
        for method, label, score in (('youtube', 0, 0.2), ('A', 1, 0.9), ('B', 1, 0.2))
        for video in range(3)
        for frame in range(2)
    ]
    path = write_scores(FrameScores.from_records(records), tmp_path / 'scores.parquet')
    assert run_tool('plot_scores.py', path, '--out', tmp_path / 'pictures') == 0
    rows = [line.split('|') for line in capsys.readouterr().out.splitlines() if '|' in line]
    table = {row[1].strip(): row[3].strip() for row in rows}
    assert table['A'] == '100.00'
    assert table['B'] == '50.00'
    assert table['overall'] == '75.00'
    assert len(list((tmp_path / 'pictures').iterdir())) == 4

    genuine = [record for record in records if record.label == 0]
    path = write_scores(FrameScores.from_records(genuine), tmp_path / 'genuine.parquet')
    assert run_tool('plot_scores.py', path, '--out', tmp_path / 'none') == 1
    assert "set 'toy': all 6 frames are genuine" in capsys.readouterr().err
    assert not (tmp_path / 'none').exists()


@pytest.mark.parametrize(
    ('total', 'num', 'expected'),
    [(10, 4, [0, 3, 6, 9]), (3, 8, [0, 1, 2]), (100, 1, [0]), (1, 1, [0]), (5, 5, [0, 1, 2, 3, 4])],
)
def test_evenly_chosen(total: int, num: int, expected: list[int]) -> None:
    assert evenly_chosen(total, num) == expected


def test_a_panel_shows_window_canvas_and_class() -> None:
    drawn, caption, color = sample_panel(StubDataset()[1], cell=128)
    assert drawn.shape == (128, 128, 3)
    # The window's lower edge at 80, its right one at 96; the whole canvas along the image's edge.
    assert tuple(drawn[80, 64]) == VERMILION
    assert tuple(drawn[50, 96]) == VERMILION
    assert tuple(drawn[64, 2]) == SKY
    assert caption == ['fake  A', '1  frame 7', 'fake into genuine']
    assert color == VERMILION
    _, caption, color = sample_panel(StubDataset()[0], cell=128)
    assert caption == ['genuine  youtube', '0  frame 7']
    assert color == BLUE


def test_samples_that_are_not_packed_are_refused() -> None:
    with pytest.raises(InputError, match='a sample has img; the pipeline must end with a packing'):
        sample_panel({'img': np.zeros((8, 8, 3))})
    sample = StubDataset()[0]
    sample['inputs'] = sample['inputs'].float()
    with pytest.raises(InputError, match=r'inputs are torch\.float32'):
        sample_panel(sample)
