# SPDX-License-Identifier: Apache-2.0
"""Tools that write images: browse_dataset, plot_scores, show_localization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from iid_mm.evaluation.scores import write_scores
from iid_mm.registry import DATASETS
from support.paths import REPOSITORY
from support.scores import FrameScore, frame_scores

from .stub_dataset import StubDataset

TOOLS = REPOSITORY / 'tools' / 'analysis_tools'
Tool = Callable[..., tuple[int, str]]


@pytest.fixture
def stub_dataset() -> Iterator[None]:
    DATASETS.register_module(name='StubDataset', module=StubDataset)
    yield
    DATASETS.module_dict.pop('StubDataset')


@pytest.fixture
def run_tool(
    run_as_script: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Tool:
    """Run a tool in an empty folder: exit status and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: object) -> tuple[int, str]:
        status, out, err = run_as_script(TOOLS / name, *arguments)
        return status, out + err

    return run


def write_config(folder: Path) -> Path:
    path = folder / 'stub.py'
    path.write_text("train_dataloader = dict(dataset=dict(type='StubDataset', length=20))\n")
    return path


@pytest.mark.usefixtures('stub_dataset')
def test_browse_dataset(tmp_path: Path, run_tool: Tool) -> None:
    config = write_config(tmp_path)
    arguments = (config, '--num', 6, '--columns', 3, '--cell', 96)
    status, text = run_tool('browse_dataset.py', *arguments, '--out', tmp_path / 'new' / 'a.png')
    assert status == 0
    assert '6 of 20 samples' in text
    image = cv2.imread(str(tmp_path / 'new' / 'a.png'))
    assert image.shape[1] == 3 * 104 + 8
    assert run_tool('browse_dataset.py', *arguments)[0] == 0
    again = cv2.imread(str(tmp_path / 'work_dirs' / 'stub' / 'browse_train.png'))
    np.testing.assert_array_equal(again, image)
    more = ('--cfg-options', 'train_dataloader.dataset.length=4', '--seed', 5)
    status, text = run_tool('browse_dataset.py', *arguments, *more)
    assert status == 0
    assert '4 of 4 samples' in text


@pytest.mark.usefixtures('stub_dataset')
def test_browse_dataset_says_what_is_wrong(tmp_path: Path, run_tool: Tool) -> None:
    config = write_config(tmp_path)
    status, text = run_tool('browse_dataset.py', tmp_path / 'none.py')
    assert status == 1
    assert 'none.py does not exist' in text
    status, text = run_tool('browse_dataset.py', config, '--split', 'val')
    assert status == 1
    assert 'has no val_dataloader' in text
    status, text = run_tool('browse_dataset.py', config, '--num', '0')
    assert status == 1
    assert 'count=0' in text


def test_plot_scores(tmp_path: Path, run_tool: Tool) -> None:
    records = [
        FrameScore(f'toy/{method}/raw/{video}', frame, '', 'toy', method, label, score)
        for method, label, score in (('youtube', 0, 0.2), ('A', 1, 0.9), ('B', 1, 0.2))
        for video in range(3)
        for frame in range(2)
    ]
    path = write_scores(frame_scores(records), tmp_path / 'scores.parquet')
    status, text = run_tool('plot_scores.py', path, '--out', tmp_path / 'plots')
    assert status == 0
    rows = [line.split('|') for line in text.splitlines() if '|' in line]
    table = {row[1].strip(): row[3].strip() for row in rows}
    assert table['A'] == '100.00'
    assert table['B'] == '50.00'
    assert table['overall'] == '75.00'
    assert len(list((tmp_path / 'plots').iterdir())) == 4

    genuine = [record for record in records if record.label == 0]
    path = write_scores(frame_scores(genuine), tmp_path / 'genuine.parquet')
    status, text = run_tool('plot_scores.py', path, '--out', tmp_path / 'none')
    assert status == 1
    assert "set 'toy': all 6 frames are genuine" in text
    assert not (tmp_path / 'none').exists()
