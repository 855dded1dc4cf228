# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from iid_mm.errors import InputError
from iid_mm.preparation import driver
from iid_mm.preparation.driver import RunOptions, make_settings, merge, prepare
from iid_mm.preparation.group import GroupProcessor
from iid_mm.preparation.records import group_records
from iid_mm.preparation.shards import Shard
from support.image_trees import write_wilddeepfake_tree
from support.poison import PoisonGroup


@pytest.fixture
def wide_tree(make_tree):
    """Five genuine videos, two of them with a fake: five groups."""
    tree = make_tree()
    tree.splits(train=[['000', '001'], ['002', '003']], test=[['004', '005']])
    for number in range(5):
        tree.video('youtube', f'{number:03d}')
    tree.video('Deepfakes', '000_001', shift=1.0)
    tree.video('FaceSwap', '003_002', shift=1.0)
    return tree


def run(tree, out, index=0, total=1, num_workers=0, **choices):
    options = RunOptions(num_workers, Shard(index, total), progress=False)
    settings = make_settings('ffpp', options, **{'analyzer': 'precomputed', 'frames': 3, **choices})
    return prepare(tree.root, out, settings, options)


def contents(folder: Path) -> dict[str, bytes]:
    """All that users read of a prepared folder; the times in the report differ."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and '.parts' not in path.parts
    }
    report = json.loads(files.pop('report.json'))
    for name in ('seconds', 'cpu_seconds'):
        report.pop(name)
    return {**files, 'report.json': json.dumps(report).encode()}


@pytest.mark.parametrize('shared', [True, False])
def test_four_shards_and_a_merge_are_one_run(wide_tree, tmp_path, shared):
    run(wide_tree, tmp_path / 'whole')
    out = tmp_path / 'out'
    folders = [out if shared else tmp_path / f'shard{index}' for index in range(4)]
    for index in (2, 0, 3, 1):
        report = run(wide_tree, folders[index], index, 4)
        # Every fourth of the groups 000 (two videos), 001, 002, 003 (two videos), 004.
        assert report['videos'] == {0: 3, 1: 1, 2: 1, 3: 2}[index]
        assert not (folders[index] / 'index.parquet').exists()
    merge(out, () if shared else folders)
    assert contents(out) == contents(tmp_path / 'whole')
    # Once more changes nothing.
    merge(out, () if shared else folders)
    assert contents(out) == contents(tmp_path / 'whole')


def test_stopped_shard_goes_on(wide_tree, tmp_path, monkeypatch):
    run(wide_tree, tmp_path / 'whole')
    out = tmp_path / 'out'
    run(wide_tree, out, 1, 2)
    part = sorted((out / '.parts').glob('*.parquet'))[0]
    part.unlink()
    with pytest.raises(FileNotFoundError, match='shard 0 of 2 is not finished'):
        merge(out)
    run(wide_tree, out, 0, 2)
    with pytest.raises(
        FileNotFoundError, match=r'the part of ffpp/youtube/c23/\d+ is gone; run the shard again'
    ):
        merge(out)
    run(wide_tree, out, 1, 2)
    merge(out)
    assert contents(out) == contents(tmp_path / 'whole')


def test_shards_that_do_not_belong_together(wide_tree, tmp_path):
    run(wide_tree, tmp_path / 'a', 0, 2)
    run(wide_tree, tmp_path / 'b', 1, 3)
    with pytest.raises(InputError, match='shards of 2 and of 3'):
        merge(tmp_path / 'out', [tmp_path / 'a', tmp_path / 'b'])
    run(wide_tree, tmp_path / 'a2', 0, 2)
    with pytest.raises(InputError, match=r'a shard occurs twice among \[0, 0\]'):
        merge(tmp_path / 'out', [tmp_path / 'a', tmp_path / 'a2'])
    run(wide_tree, tmp_path / 'c', 1, 2, frames=2)
    with pytest.raises(InputError, match='frames: 2 there, 3 now'):
        merge(tmp_path / 'out', [tmp_path / 'a', tmp_path / 'c'])
    wide_tree.video('youtube', '005')
    run(wide_tree, tmp_path / 'd', 1, 2)
    with pytest.raises(InputError, match='have seen different videos'):
        merge(tmp_path / 'out', [tmp_path / 'a', tmp_path / 'd'])
    with pytest.raises(FileNotFoundError, match='no finished shard in'):
        merge(tmp_path / 'nothing')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('index', 'total'), [(-1, 2), (2, 2), (0, 0)])
def test_bad_shard(index, total):
    with pytest.raises(InputError, match='numbered from 0 to num_shards - 1'):
        Shard(index, total)


def test_shards_may_start_at_the_same_moment(wide_tree, tmp_path):
    # The other shard has made the folder, but not yet written its settings.
    (tmp_path / 'out' / '.parts').mkdir(parents=True)
    run(wide_tree, tmp_path / 'out', 0, 2)


@pytest.mark.slow
def test_a_group_that_cannot_be_prepared_does_not_stop_the_merge(wide_tree, tmp_path, monkeypatch):
    def poison(records):
        groups = group_records(records)
        return [PoisonGroup(g.name, g.genuine, g.fakes) if g.name.endswith('001') else g for g in groups]

    monkeypatch.setattr(driver, 'group_records', poison)
    run(wide_tree, tmp_path / 'whole', num_workers=1)
    out = tmp_path / 'out'
    for index in range(4):
        # A process of its own for the shard whose worker dies.
        run(wide_tree, out, index, 4, num_workers=int(index == 1))
    report = merge(out)
    assert [problem['video'] for problem in report['problems']] == ['ffpp/youtube/c23/001']
    assert report['problems'][0]['reason'].startswith('the worker process died 2 times on it')
    assert contents(out) == contents(tmp_path / 'whole')
    # Started again when the reason is gone, the shard completes the set.
    monkeypatch.undo()
    run(wide_tree, out, 1, 4)
    assert merge(out)['problems'] == []
    run(wide_tree, tmp_path / 'good')
    assert contents(out) == contents(tmp_path / 'good')


def test_a_shard_that_starts_leaves_what_others_have_unpacked(tmp_path, monkeypatch):
    write_wilddeepfake_tree(tmp_path / 'data')

    def run_shard(out, index, total):
        options = RunOptions(shard=Shard(index, total), progress=False)
        settings = make_settings('wilddeepfake', options, analyzer='precomputed', frames=2)
        return prepare(tmp_path / 'data', out, settings, options)

    run_shard(tmp_path / 'whole', 0, 1)
    process, calls = GroupProcessor.process, []

    def start_other_first(self, group):
        calls.append(group.name)
        if len(calls) == 2:
            # This archive is unpacked: its first sequence is done.
            run_shard(tmp_path / 'out', 1, 2)
        return process(self, group)

    monkeypatch.setattr(GroupProcessor, 'process', start_other_first)
    run_shard(tmp_path / 'out', 0, 2)
    assert calls[0].rpartition('/')[0] == calls[1].rpartition('/')[0]
    # Archives and folders of them: nothing stays behind.
    assert not list((tmp_path / 'out' / '.parts' / 'unpacked').glob('*/*'))
    merge(tmp_path / 'out')
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_shards_do_not_delete_the_work_of_each_other():
    with pytest.raises(InputError, match=r'overwrite with num_shards=2: .*delete the folder first'):
        RunOptions(shard=Shard(0, 2), overwrite=True)


@pytest.mark.parametrize(
    'text', [b'', b'[1]', b'{}', b'\xff', b'[' * 5000, b'{"groups": [], "index": 0, "total": 1, "scan": "x"}']
)
def test_a_damaged_manifest_is_one_line(wide_tree, tmp_path, text):
    run(wide_tree, tmp_path / 'out', 0, 2)
    run(wide_tree, tmp_path / 'out', 1, 2)
    (tmp_path / 'out/.parts/shard-1-of-2.json').write_bytes(text)
    with pytest.raises(InputError, match=r'shard-1-of-2\.json is unreadable .* run this shard again'):
        merge(tmp_path / 'out')


@pytest.mark.parametrize('field', ['groups', 'left_out', 'missing', 'total'])
def test_a_manifest_with_values_of_another_kind(wide_tree, tmp_path, field):
    run(wide_tree, tmp_path / 'out', 0, 2)
    path = tmp_path / 'out/.parts/shard-0-of-2.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), field: None}))
    with pytest.raises(InputError, match='is unreadable'):
        merge(tmp_path / 'out')
