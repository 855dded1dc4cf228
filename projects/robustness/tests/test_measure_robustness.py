# SPDX-License-Identifier: Apache-2.0
"""measure_robustness.py from end to end on the tiny set."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from iid_mm.apis import init_model
from iid_mm.engine import SafeRunner
from iid_mm.evaluation.scores import read_scores
from iid_mm.reporting.scoring import ScoringJob
from support.media import make_frames, write_video
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'projects/robustness/measure_robustness.py'


@pytest.fixture
def run(call_tool: Any) -> Callable[..., tuple[int, str]]:
    """Run the tool in this process: exit status and error line."""
    return functools.partial(call_tool, '../projects/robustness/measure_robustness.py')


@pytest.fixture
def settings(tmp_path: Path) -> list[Any]:
    return ['--work-dir', tmp_path / 'work', '--out-dir', tmp_path / 'out']


def test_whole_run_and_resume(
    run: Any,
    tiny_config: Path,
    tiny_checkpoint: Path,
    settings: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tested: list[str] = []
    loads: list[str] = []
    score, load = ScoringJob._run, SafeRunner.load_checkpoint

    def spy_score(self: Any, runner: Any, test_set: Any) -> Any:
        tested.append(test_set.name)
        return score(self, runner, test_set)

    def spy_load(self: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        loads.append(filename)
        return load(self, filename, *args, **kwargs)

    monkeypatch.setattr(ScoringJob, '_run', spy_score)
    monkeypatch.setattr(SafeRunner, 'load_checkpoint', spy_load)
    chosen = ['--distortions', 'video_compression', 'gaussian_noise', '--levels', 5, 1]
    status, error = run(tiny_config, tiny_checkpoint, *settings, *chosen, '--per-method')
    assert (status, error) == (0, '')
    cells = ['gaussian_noise_1', 'gaussian_noise_5', 'video_compression_1', 'video_compression_5']
    assert tested == ['clean', *cells]
    # One model for all cells.
    assert loads == [str(tiny_checkpoint)]
    folder = tmp_path / 'out'
    files = {'report.json', 'report.md', 'curves.png', 'distortions.png'}
    assert {path.name for path in folder.iterdir()} == {'frame_scores', *files}
    for cell in ['clean', *cells]:
        scores = read_scores(folder / f'frame_scores/{cell}.parquet')
        assert len(scores) == 27
        # Relative to the prepared folder.
        assert scores.image[0].startswith('frames/ffpp/')
    clean, noisy = (
        read_scores(folder / f'frame_scores/{name}.parquet').score for name in ('clean', cells[1])
    )
    assert (clean != noisy).any()
    report = json.loads((folder / 'report.json').read_text())
    assert report['protocol']['faces'] == 27
    assert len(report['results']) == 3
    text = (folder / 'report.md').read_text() + json.dumps(report)
    assert '## FaceSwap: 3 genuine and 3 fake videos' in text
    assert str(tmp_path) not in text
    assert str(tiny_checkpoint.parent) not in text

    before = {path: path.read_bytes() for path in sorted(folder.glob('frame_scores/*.parquet'))}
    tested.clear()
    # One cell is damaged, another was stopped before its end; a third level is new.
    (folder / 'frame_scores/gaussian_noise_1.parquet').write_bytes(b'damaged')
    (folder / 'frame_scores/video_compression_5.json').unlink()
    chosen += [3]
    status, error = run(tiny_config, tiny_checkpoint, *settings, *chosen, '--resume')
    assert (status, error) == (0, '')
    assert tested == [cells[0], 'gaussian_noise_3', 'video_compression_3', cells[3]]
    # The same bits again.
    assert all(path.read_bytes() == content for path, content in before.items())

    again = json.loads((folder / 'report.json').read_text())
    assert again['results'][0]['clean_video_auc'] == report['results'][0]['clean_video_auc']


class TestBadInput:
    @pytest.fixture
    def fails(
        self, run: Any, tiny_config: Path, tiny_checkpoint: Path, settings: list[Any], tmp_path: Path
    ) -> Any:
        def call(*arguments: Any, checkpoint: Path = tiny_checkpoint) -> str:
            status, message = run(tiny_config, checkpoint, *settings, *arguments)
            assert status == 1
            assert '\n' not in message
            assert not (tmp_path / 'out').exists()
            return message

        return call

    def test_choice(self, fails: Any) -> None:
        assert "distortion 'fog' is unknown; choose from saturation" in fails('--distortions', 'jpeg', 'fog')
        assert 'level 7 is out of range' in fails('--levels', 7)
        assert 'nothing to test' in fails('--levels', 0)

    def test_test_set(self, fails: Any, tmp_path: Path) -> None:
        assert 'index /nowhere/index.parquet does not exist' in fails('--index', '/nowhere/index.parquet')
        assert "folder '/nowhere/set' does not exist" in fails('--test-set', '/nowhere/set')
        (tmp_path / 'a.parquet').write_text('')
        assert 'give a prepared folder' in fails('--test-set', tmp_path / 'a.parquet')

    def test_checkpoint(self, fails: Any, tiny_config: Path, tmp_path: Path) -> None:
        assert 'checkpoint /nowhere.pth does not exist' in fails(checkpoint=Path('/nowhere.pth'))
        other = {
            'model.neck': None,
            'model.artifact_head': None,
            'model.forgery_head.artifact_channels': None,
        }
        state = init_model(tiny_config, cfg_options=other).state_dict()
        torch.save(dict(state_dict=state), tmp_path / 'other.pth')
        assert 'other.pth is of another model' in fails(checkpoint=tmp_path / 'other.pth')

    def test_one_class(self, fails: Any, tiny_prepared: Path, tmp_path: Path) -> None:
        root = Path(shutil.copytree(tiny_prepared, tmp_path / 'set'))
        table = pq.read_table(root / 'index.parquet')
        pq.write_table(table.filter(pc.field('label') == 1), root / 'index.parquet')
        assert "all videos of 'ffpp' in split 'test' are fake" in fails('--index', root / 'index.parquet')
        assert "split 'test' is empty" not in fails('--test-set', root)

    def test_videos(self, fails: Any, tmp_path: Path) -> None:
        assert '--videos and --layout go together' in fails('--videos', tmp_path)
        assert '--videos and --layout go together' in fails('--layout', 'ffpp')
        layout = ['--layout', 'ffpp']
        assert "none' is not a folder" in fails('--videos', tmp_path / 'none', *layout)
        message = fails('--videos', tmp_path, *layout, '--distortions', 'jpeg')
        assert '--videos is for video_compression, which is not among --distortions' in message
        make = tmp_path / 'original_sequences/youtube/c23/videos/999.mp4'
        write_video(make, make_frames(3))
        (tmp_path / 'dataset/splits').mkdir(parents=True)
        for split in ('train', 'val', 'test'):
            (tmp_path / f'dataset/splits/{split}.json').write_text(
                '[["999", "998"]]' * (split == 'test') or '[]'
            )
        message = fails('--videos', tmp_path, *layout)
        assert '9 of 9 videos of the index are not in' in message


def test_other_split_and_fewer_frames(
    run: Any,
    tiny_config: Path,
    tiny_checkpoint: Path,
    settings: list[Any],
    tiny_prepared: Path,
    tmp_path: Path,
) -> None:
    chosen = ['--distortions', 'contrast', '--levels', 2, '--split', 'train', '--frames-per-video', 1]
    status, _ = run(
        tiny_config, tiny_checkpoint, *settings, *chosen, '--index', tiny_prepared / 'index.parquet'
    )
    assert status == 0
    scores = read_scores(tmp_path / 'out/frame_scores/contrast_2.parquet')
    # 4 people with 3 videos each.
    assert len(scores) == 12
    assert set(scores.split.tolist()) == {'train'}
    assert '--split train --frames-per-video 1' in (tmp_path / 'out/report.md').read_text()


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_give_the_scores_of_one(
    run: Any, tiny_config: Path, tiny_checkpoint: Path, settings: list[Any], tmp_path: Path
) -> None:
    chosen = ['--distortions', 'gaussian_noise', 'video_compression', '--levels', '3']
    status, error = run(tiny_config, tiny_checkpoint, *settings, *chosen)
    assert (status, error) == (0, '')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    launch = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={port}']
    two = ['--work-dir', tmp_path / 'work2', '--out-dir', tmp_path / 'out2', '--launcher', 'pytorch']
    result = subprocess.run(
        [*launch, str(TOOL), *map(str, [tiny_config, tiny_checkpoint, *two, *chosen])],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ('clean', 'gaussian_noise_3', 'video_compression_3'):
        one, other = (
            read_scores(tmp_path / f'{folder}/frame_scores/{name}.parquet') for folder in ('out', 'out2')
        )
        assert one.image.tolist() == other.image.tolist()
        np.testing.assert_allclose(one.score, other.score, atol=1e-6)
    reports = [json.loads((tmp_path / f'{folder}/report.json').read_text()) for folder in ('out', 'out2')]
    assert reports[0]['results'] == reports[1]['results']
