# SPDX-License-Identifier: Apache-2.0
"""tools/test_robustness.py from end to end on the tiny set."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from mmengine.config import Config

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import find_eval_sets
from iid_mm.evaluation.scores import read_scores
from iid_mm.utils.config import load_config
from robustness.cells import Cell, CellStore, cell_loader, make_cells
from robustness.runner import RobustnessRunner
from support.media import make_frames, write_video
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'projects/robustness/test_robustness.py'
PICTURES = {'curves.png', 'distortions.png'}


@pytest.fixture
def settings(tiny_config: Path, tmp_path: Path) -> list[Any]:
    return ['--work-dir', tmp_path / 'work', '--out-dir', tmp_path / 'out']


def test_whole_run_and_resume(
    run: Any,
    tiny_config: Path,
    checkpoint: Path,
    settings: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tested: list[str] = []
    loads: list[str] = []
    test_on, load = RobustnessRunner.test_on, RobustnessRunner.load_checkpoint

    def spy_test(self: Any, dataloader: Any, evaluator: Any) -> Any:
        tested.append(Path(evaluator['scores_file']).stem)
        return test_on(self, dataloader, evaluator)

    def spy_load(self: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        loads.append(filename)
        return load(self, filename, *args, **kwargs)

    monkeypatch.setattr(RobustnessRunner, 'test_on', spy_test)
    monkeypatch.setattr(RobustnessRunner, 'load_checkpoint', spy_load)
    chosen = ['--distortions', 'video_compression', 'gaussian_noise', '--levels', 5, 1]
    status, out, error = run(tiny_config, checkpoint, *settings, *chosen, '--per-method')
    assert (status, error) == (0, '')
    cells = ['gaussian_noise_1', 'gaussian_noise_5', 'video_compression_1', 'video_compression_5']
    assert tested == ['clean', *cells]
    # One model for all cells.
    assert loads == [str(checkpoint)]
    folder = tmp_path / 'out'
    assert {path.name for path in folder.iterdir()} == {'cells', 'report.json', 'report.md', *PICTURES}
    assert 'overall: video AUC (%)' in out
    assert 'FaceSwap: video AUC (%)' in out
    for cell in ['clean', *cells]:
        scores = read_scores(folder / f'cells/{cell}.parquet')
        assert len(scores) == 27
        # Relative to the prepared folder.
        assert scores.image[0].startswith('frames/ffpp/')
    clean, noisy = (read_scores(folder / f'cells/{name}.parquet').score for name in ('clean', cells[1]))
    assert (clean != noisy).any()
    report = json.loads((folder / 'report.json').read_text())
    assert report['protocol']['faces'] == 27
    assert len(report['results']) == 3
    text = (folder / 'report.md').read_text() + json.dumps(report)
    assert str(tmp_path) not in text
    assert str(checkpoint.parent) not in text

    before = {path: path.read_bytes() for path in sorted(folder.glob('cells/*.parquet'))}
    tested.clear()
    # One cell is damaged, another was stopped before its end; a third level is new.
    (folder / 'cells/gaussian_noise_1.parquet').write_bytes(b'damaged')
    (folder / 'cells/video_compression_5.json').unlink()
    chosen += [3]
    status, out, error = run(tiny_config, checkpoint, *settings, *chosen, '--resume')
    assert (status, error) == (0, '')
    assert tested == [cells[0], 'gaussian_noise_3', 'video_compression_3', cells[3]]
    # The same bits again.
    assert all(path.read_bytes() == content for path, content in before.items())

    tested.clear()
    monkeypatch.setattr('sys.argv', [])
    status, out, error = run(tiny_config, checkpoint, *settings, *chosen, '--resume')
    assert (status, tested) == (0, [])
    again = json.loads((folder / 'report.json').read_text())
    assert again['results'][0]['clean_video_auc'] == report['results'][0]['clean_video_auc']


class TestStore:
    """What makes finished scores worthless."""

    @pytest.fixture
    def cfg(self, tiny_config: Path) -> Config:
        return load_config(tiny_config)

    def store(self, cfg: Config, checkpoint: Path, folder: Path, originals: Any = None) -> CellStore:
        return CellStore(folder, cfg, checkpoint, find_eval_sets(cfg)[0], originals)

    @pytest.fixture
    def done(self, cfg: Config, checkpoint: Path, tmp_path: Path) -> Path:
        """A folder with two finished cells."""
        store = self.store(cfg, checkpoint, tmp_path)
        for cell in (Cell('jpeg', 1), Cell('video_compression', 1)):
            store.begin(cell)
            store.scores_file(cell).write_bytes(b'scores')
            store.finish(cell, 1.234)
            assert store.finished(cell)
        return tmp_path

    def test_record(self, cfg: Config, checkpoint: Path, done: Path) -> None:
        store = self.store(cfg, checkpoint, done)
        record = store.record(Cell('jpeg', 1))
        assert record is not None
        assert record['seconds'] == 1.23
        assert not store.finished(Cell('jpeg', 2))
        store.begin(Cell('jpeg', 1))
        assert not store.finished(Cell('jpeg', 1))
        (done / 'jpeg_1.json').write_text('{')
        assert not store.finished(Cell('jpeg', 1))

    def test_other_checkpoint(self, cfg: Config, done: Path, tmp_path: Path) -> None:
        other = tmp_path / 'other.pth'
        other.write_bytes(b'other')
        assert not self.store(cfg, other, done).finished(Cell('jpeg', 1))

    @pytest.mark.parametrize(
        'options',
        [
            {'model.forgery_head.dropout': 0.1},
            {'test_dataloader.dataset.frames_per_video': 2},
            {'test_dataloader.dataset.split': 'val'},
            {'test_dataloader.batch_size': 8},
            {'test_dataloader.dataset.pipeline.1.scale': 0.8},
        ],
    )
    def test_other_settings(self, options: dict[str, Any], cfg: Config, checkpoint: Path, done: Path) -> None:
        assert not self.store(load_config(cfg, options), checkpoint, done).finished(Cell('jpeg', 1))

    def test_other_workers_are_no_matter(self, cfg: Config, checkpoint: Path, done: Path) -> None:
        changed = load_config(cfg, {'test_dataloader.num_workers': 3})
        assert self.store(changed, checkpoint, done).finished(Cell('jpeg', 1))

    def test_moved_set_and_other_index(
        self, cfg: Config, checkpoint: Path, done: Path, tiny_prepared: Path, tmp_path: Path
    ) -> None:
        root = Path(shutil.copytree(tiny_prepared, tmp_path / 'moved'))
        moved = load_config(cfg, {'data_root': str(root)})
        assert self.store(moved, checkpoint, done).finished(Cell('jpeg', 1))
        table = pq.read_table(root / 'index.parquet')
        pq.write_table(table.slice(0, table.num_rows - 1), root / 'index.parquet')
        assert not self.store(moved, checkpoint, done).finished(Cell('jpeg', 1))

    def test_original_videos(self, cfg: Config, checkpoint: Path, done: Path) -> None:
        store = self.store(cfg, checkpoint, done, dict(root='/anywhere', layout='ffpp'))
        assert store.finished(Cell('jpeg', 1))
        assert not store.finished(Cell('video_compression', 1))

    def test_loaders(self, cfg: Config) -> None:
        test_set = find_eval_sets(cfg)[0]
        clean = cell_loader(test_set, Cell())
        assert clean == test_set.dataloader
        jpeg = cell_loader(test_set, Cell('jpeg', 4))
        assert [step['type'] for step in jpeg['dataset']['pipeline']] == [
            *('LoadForgeryPair', 'DistortFace', 'AlignFace', 'PackForgeryInputs')
        ]
        assert jpeg['sampler'] == clean['sampler']
        video = cell_loader(test_set, Cell('video_compression', 4))
        assert video['batch_sampler'] == dict(type='VideoBatchSampler')
        assert cell_loader(test_set, Cell()) == clean
        assert [cell.name for cell in make_cells(['jpeg'], [1, 2])] == ['clean', 'jpeg_1', 'jpeg_2']
        assert (Cell().value, Cell('jpeg', 2).value) == (None, 18)

    def test_pipelines_that_cannot_be_distorted(self, cfg: Config) -> None:
        test_set = find_eval_sets(cfg)[0]
        test_set.dataset['type'] = 'OtherDataset'
        with pytest.raises(InputError, match='needs the dataset ForgeryDataset, the config has OtherDataset'):
            cell_loader(test_set, Cell('video_compression', 1))
        test_set.dataset['pipeline'] = test_set.dataset['pipeline'][1:]
        with pytest.raises(InputError, match=r'AlignFace, PackForgeryInputs.* has no LoadForgeryPair'):
            cell_loader(test_set, Cell('jpeg', 1))


class TestBadInput:
    @pytest.fixture
    def fails(
        self, run: Any, tiny_config: Path, checkpoint: Path, settings: list[Any], tmp_path: Path
    ) -> Any:
        def call(*arguments: Any, checkpoint: Path = checkpoint) -> str:
            status, _, message = run(tiny_config, checkpoint, *settings, *arguments)
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
    run: Any, tiny_config: Path, checkpoint: Path, settings: list[Any], tiny_prepared: Path, tmp_path: Path
) -> None:
    chosen = ['--distortions', 'contrast', '--levels', 2, '--split', 'train', '--frames-per-video', 1]
    status, _, _ = run(
        tiny_config, checkpoint, *settings, *chosen, '--index', tiny_prepared / 'index.parquet'
    )
    assert status == 0
    scores = read_scores(tmp_path / 'out/cells/contrast_2.parquet')
    # 4 people with 3 videos each.
    assert len(scores) == 12
    assert set(scores.split.tolist()) == {'train'}
    assert '--split train --frames-per-video 1' in (tmp_path / 'out/report.md').read_text()


def test_two_processes_give_the_scores_of_one(
    run: Any, tiny_config: Path, checkpoint: Path, settings: list[Any], tmp_path: Path
) -> None:
    chosen = ['--distortions', 'gaussian_noise', 'video_compression', '--levels', '3']
    status, _, error = run(tiny_config, checkpoint, *settings, *chosen)
    assert (status, error) == (0, '')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    launch = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master_port={port}']
    two = ['--work-dir', tmp_path / 'work2', '--out-dir', tmp_path / 'out2', '--launcher', 'pytorch']
    result = subprocess.run(
        [*launch, str(TOOL), *map(str, [tiny_config, checkpoint, *two, *chosen])],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ('clean', 'gaussian_noise_3', 'video_compression_3'):
        one, other = (read_scores(tmp_path / f'{folder}/cells/{name}.parquet') for folder in ('out', 'out2'))
        assert one.image.tolist() == other.image.tolist()
        np.testing.assert_allclose(one.score, other.score, atol=1e-6)
    reports = [json.loads((tmp_path / f'{folder}/report.json').read_text()) for folder in ('out', 'out2')]
    assert reports[0]['results'] == reports[1]['results']
