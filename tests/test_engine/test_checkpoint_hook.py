# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are written while disks fill up, runs are killed and folders move."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.fileio.backends import LocalBackend

from iid_mm.errors import InputError
from iid_mm.utils.latest_checkpoint import stored_position


class FullDisk:
    """Writes of checkpoints stop half-way, as on a full disk, from the ``nth`` on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
        self.left = nth
        self.names: list[str] = []
        put = LocalBackend.put

        def half(backend: Any, content: bytes, path: str) -> None:
            self.left -= 1
            self.names.append(os.path.basename(path))
            if self.left > 0:
                put(backend, content, path)
                return
            put(backend, content[: len(content) // 2], path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        monkeypatch.setattr(LocalBackend, 'put', half)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*pth*')}


@pytest.mark.parametrize(
    ('nth', 'expected'),
    [
        # The second epoch, of which one checkpoint is kept.
        (4, {'epoch_1.pth', 'best_forgery_video_auc_epoch_1.pth'}),
        # The best one of the first epoch.
        (2, {'epoch_1.pth'}),
    ],
)
def test_a_full_disk_leaves_the_checkpoints_before(
    nth: int, expected: set[str], make_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work = tmp_path / 'work'
    disk = FullDisk(monkeypatch, nth)
    runner = make_runner(default_hooks__checkpoint__max_keep_ckpts=1)
    with pytest.raises(
        InputError, match=r'could not be written: No space left on device.*--resume'
    ) as caught:
        runner.train()
    assert '\n' not in str(caught.value)
    assert files(work) == expected
    # No file of its final name is written in place.
    assert all(name.startswith('.') and name.endswith('.tmp') for name in disk.names)
    assert stored_position(work / 'epoch_1.pth') == (6, 1)
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_1.pth')


def test_a_full_disk_leaves_interrupted_pth(
    make_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    FullDisk(monkeypatch, 2)
    with pytest.raises(InputError, match=r'interrupted\.pth could not be written'):
        make_runner(save_every=2).train()
    assert files(tmp_path / 'work') == {'interrupted.pth'}
    assert stored_position(tmp_path / 'work/interrupted.pth') == (2, 0)


def test_the_previous_best_goes_when_the_new_one_is_there(
    make_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Metrics that rise: each epoch is the best one."""
    runner = make_runner(default_hooks__checkpoint__max_keep_ckpts=1)
    monkeypatch.setattr(Evaluator, 'evaluate', lambda *args: {'forgery/video_auc': runner.epoch / 10})
    runner.train()
    assert files(tmp_path / 'work') == {'epoch_2.pth', 'best_forgery_video_auc_epoch_2.pth'}


def test_what_a_kill_left_is_removed_at_the_next_start(make_runner: Any, tmp_path: Path) -> None:
    (tmp_path / 'work').mkdir()
    left = tmp_path / 'work/.epoch_7.pth.tmp'
    left.write_bytes(b'half')
    make_runner(train_cfg__max_epochs=1).train()
    assert not left.exists()


@pytest.fixture(scope='module')
def finished(new_runner: Any, tmp_path_factory: Any) -> Path:
    """Work directory of a run of one epoch. Do not write to it."""
    work = tmp_path_factory.mktemp('runs') / 'first'
    new_runner(work, train_cfg__max_epochs=1).train()
    return work


def test_a_copied_run_touches_nothing_of_the_first_one(
    finished: Path, make_runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its pointer and the path of its best checkpoint are those of the first one."""
    first = Path(shutil.copytree(finished, tmp_path / 'first'))
    copy = Path(shutil.copytree(finished, tmp_path / 'copy'))
    for folder in (first, copy):
        (folder / 'last_checkpoint').write_text(str(first / 'epoch_1.pth'))
        content = torch.load(folder / 'epoch_1.pth', weights_only=False)
        content['message_hub']['runtime_info']['best_ckpt'] = str(
            first / 'best_forgery_video_auc_epoch_1.pth'
        )
        content['message_hub']['runtime_info']['best_score'] = 0.1
        torch.save(content, folder / 'epoch_1.pth')
    before = {path.name: path.stat().st_mtime_ns for path in first.rglob('*')}
    monkeypatch.setattr(Evaluator, 'evaluate', lambda *args: {'forgery/video_auc': 0.9})
    resumed = make_runner('copy', resume=True)
    resumed.train()
    assert resumed._load_from == str(copy / 'epoch_1.pth')
    assert {path.name: path.stat().st_mtime_ns for path in first.rglob('*')} == before
    assert [path.name for path in copy.glob('best*')] == ['best_forgery_video_auc_epoch_1.pth']


def test_resuming_without_a_pointer(finished: Path, make_runner: Any, tmp_path: Path) -> None:
    """MMEngine's own way to resume finds what the tools find."""
    copy = Path(shutil.copytree(finished, tmp_path / 'copy'))
    (copy / 'last_checkpoint').write_bytes(b'')
    runner = make_runner('copy', resume=True)
    runner.train()
    assert runner._load_from == str(copy / 'epoch_1.pth')
    assert (copy / 'epoch_2.pth').is_file()


def test_checkpoints_in_another_folder_are_found(make_runner: Any, tmp_path: Path) -> None:
    options = dict(default_hooks__checkpoint__out_dir=str(tmp_path / 'large'))
    make_runner(train_cfg__max_epochs=1, **options).train()
    assert (tmp_path / 'large/work/epoch_1.pth').is_file()
    runner = make_runner(resume=True, **options)
    runner.train()
    assert runner._load_from == str(tmp_path / 'large/work/epoch_1.pth')
