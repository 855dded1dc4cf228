# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import resource
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from iid_mm.errors import InputError
from iid_mm.utils.latest_checkpoint import POINTER, checkpoint_folders, find_checkpoint, stored_position


def write(path: Path, iteration: int, epoch: int = 0, *, weights_only: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        'meta': dict(iter=iteration, epoch=epoch, cfg='text'),
        'state_dict': OrderedDict(weight=torch.zeros(8)),
        'message_hub': dict(log_scalars=OrderedDict(loss=HistoryBuffer([1.0], [1]))),
    }
    if not weights_only:
        content['optimizer'] = dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[])
    torch.save(content, path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three checkpoints, the newest of which was copied first."""
    folder = tmp_path / 'run'
    for name, iteration, epoch in (
        ('epoch_2.pth', 20, 2),
        ('epoch_1.pth', 10, 1),
        ('interrupted.pth', 15, 1),
    ):
        write(folder / name, iteration, epoch)
    write(folder / 'best_auc_epoch_2.pth', 20, 2, weights_only=True)
    return folder


def test_the_pointer_counts(run: Path) -> None:
    for text in (run / 'epoch_1.pth', 'epoch_1.pth', f'{run / "epoch_1.pth"}\n'):
        (run / POINTER).write_text(str(text))
        assert find_checkpoint(run) == (run / 'epoch_1.pth', '')


def test_position_is_read_without_running_anything(run: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / 'marker'),)

    assert stored_position(run / 'epoch_2.pth') == (20, 2)
    assert stored_position(run / 'best_auc_epoch_2.pth') is None
    torch.save(dict(meta=dict(iter=3, epoch=0), optimizer={}, extra=Hostile()), run / 'iter_3.pth')
    assert stored_position(run / 'iter_3.pth') == (3, 0)
    assert not (tmp_path / 'marker').exists()


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'is empty'),
        (b' \n\t', 'is empty'),
        (b'\xff\xfe\x00bin\x80', 'is no text'),
        (b'x' * 1_000_000, 'larger than 8192 bytes'),
        (b'/gone/epoch_9.pth', "names 'epoch_9.pth', which is not in that folder"),
        (b'..', 'names no file'),
        (b'/', 'names no file'),
        (b'a\x00b.pth', 'names no file'),
        (b'epoch_3.pth', "names 'epoch_3.pth', which cannot be read"),
        (b'best_auc_epoch_2.pth', 'which cannot be read'),
        (b'C:\\runs\\epoch_8.pth', "names 'epoch_8.pth'"),
    ],
    ids=range(11),
)
def test_a_pointer_that_points_nowhere(content: bytes, reason: str, run: Path) -> None:
    whole = (run / 'epoch_2.pth').read_bytes()
    (run / 'epoch_3.pth').write_bytes(whole[: len(whole) // 2])
    (run / POINTER).write_bytes(content)
    found, told = find_checkpoint(run)
    assert found == run / 'epoch_2.pth'
    assert reason in told
    assert '\n' not in told
    assert 'epoch_2.pth' in told


def test_another_run_is_never_taken(run: Path, tmp_path: Path) -> None:
    other = write(tmp_path / 'other' / 'epoch_9.pth', 90, 9)
    (run / POINTER).write_text(str(other))
    assert find_checkpoint(run)[0] == run / 'epoch_2.pth'
    same_name = write(tmp_path / 'other' / 'epoch_1.pth', 90, 9)
    (run / POINTER).write_text(str(same_name))
    assert find_checkpoint(run) == (run / 'epoch_1.pth', '')


def test_moved_linked_and_relative_folders(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / POINTER).write_text(str(run / 'interrupted.pth'))
    moved = tmp_path / 'moved'
    shutil.move(run, moved)
    assert find_checkpoint(moved) == (moved / 'interrupted.pth', '')
    (tmp_path / 'link').symlink_to(moved)
    assert find_checkpoint(tmp_path / 'link') == (tmp_path / 'link/interrupted.pth', '')
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint('moved') == (Path('moved/interrupted.pth'), '')
    # A link that the user set within the folder is the folder's, one that leads nowhere is none.
    shutil.move(moved / 'interrupted.pth', tmp_path / 'stored.pth')
    (moved / 'interrupted.pth').symlink_to(tmp_path / 'stored.pth')
    assert find_checkpoint(moved)[0] == moved / 'interrupted.pth'
    (tmp_path / 'stored.pth').unlink()
    assert find_checkpoint(moved)[0] == moved / 'epoch_2.pth'


def test_a_pointer_that_is_a_folder(run: Path) -> None:
    (run / POINTER).mkdir()
    found, told = find_checkpoint(run)
    assert found == run / 'epoch_2.pth'
    assert 'cannot be read' in told


def test_nothing_there(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / 'missing') == (None, '')
    write(tmp_path / 'pretrained.pth', 0, weights_only=True)
    assert find_checkpoint(tmp_path) == (None, '')


def test_no_pointer_takes_the_newest(run: Path) -> None:
    (run / '.epoch_5.pth.tmp').write_bytes(b'half')
    assert find_checkpoint(run) == (run / 'epoch_2.pth', '')


def test_a_run_without_a_whole_checkpoint_is_not_begun_anew_in_silence(tmp_path: Path) -> None:
    (tmp_path / 'epoch_1.pth').write_bytes(b'half')
    with pytest.raises(
        InputError, match=r'none of its checkpoints \(epoch_1\.pth\) is complete.*to start from scratch'
    ):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ('hooks', 'expected'),
    [
        (None, []),
        (dict(checkpoint=None), []),
        (dict(checkpoint=dict(out_dir='s3://bucket')), []),
        (dict(checkpoint=dict(out_dir='/large')), ['/large/run']),
    ],
)
def test_other_folders_of_a_run(hooks: object, expected: list[str]) -> None:
    assert checkpoint_folders('/somewhere/run/', hooks) == expected


def test_a_record_with_large_numbers_takes_no_memory(tmp_path: Path) -> None:
    """The number of an object, here 300 million, is no length of anything."""
    with zipfile.ZipFile(tmp_path / 'epoch_1.pth', 'w') as archive:
        archive.writestr('a/data.pkl', b'\x80\x02}r' + (300_000_000).to_bytes(4, 'little') + b'.')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert stored_position(tmp_path / 'epoch_1.pth') is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20
