# SPDX-License-Identifier: Apache-2.0
"""A full disk, Ctrl+C and odd names: one line, nothing that is done is lost, and never a hang."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.media import image_writing as storage
from iid_mm.media import sources
from iid_mm.preparation import parts, writer
from iid_mm.preparation.checking.runner import check_indexes
from iid_mm.preparation.driver import RunOptions, make_settings, merge, prepare
from iid_mm.preparation.group import GroupProcessor
from iid_mm.preparation.layouts import wilddeepfake
from iid_mm.preparation.lmdb_packing import stored_names
from iid_mm.preparation.report import format_report
from iid_mm.preparation.shards import Shard
from support.image_trees import write_wilddeepfake_tree
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'prepare_data.py'
PATIENCE = 90


def run(root, out, layout='ffpp', shard=(0, 1), **choices):
    options = RunOptions(0, Shard(*shard), progress=False)
    settings = make_settings(layout, options, **{'analyzer': 'precomputed', 'frames': 3, **choices})
    return prepare(root, out, settings, options)


def rows_of(out):
    return read_index(out / 'index.parquet').to_pylist()


def command(root, out, layout='ffpp', *extra):
    choices = ['--analyzer', 'precomputed', '--frames', '3', '--num-workers', '2', *extra]
    return [sys.executable, str(TOOL), layout, str(root), str(out), *choices]


def lines_of(error):
    """Lines on stderr, without those of the progress bar."""
    lines = error.replace('\r', '\n').split('\n')
    return [line for line in lines if line and '%|' not in line]


@pytest.mark.parametrize('failing', [0, 1, 4, 9, 16])
@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_costs_nothing_that_is_done(tree, tmp_path, monkeypatch, failing, number):
    run(tree.root, tmp_path / 'whole')
    write = storage.write_bytes
    left = [failing]

    def full(data, path):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number), str(path))
        write(data, path)

    with monkeypatch.context() as patch:
        patch.setattr(storage, 'write_bytes', full)
        patch.setattr(parts, 'write_bytes', full)
        with pytest.raises(
            InputError, match=r'^out_dir=.* cannot be written: .*run the same command again$'
        ) as e:
            run(tree.root, tmp_path / 'out')
    assert os.strerror(number) in str(e.value)
    assert '\n' not in str(e.value)
    run(tree.root, tmp_path / 'out')
    assert (tmp_path / 'out/index.parquet').read_bytes() == (tmp_path / 'whole/index.parquet').read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize('limit', [10, 1000])
def test_a_full_disk_of_the_tool(tree, tmp_path, limit):
    # Crops fit, the first rows of a finished group do not; with 10 bytes nothing does.
    done = subprocess.run(
        command(tree.root, tmp_path / 'out'),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    (line,) = lines_of(done.stderr)
    assert line.startswith(f"error: out_dir='{tmp_path / 'out'}' cannot be written: File too large")


def test_ctrl_c_is_one_line_and_the_run_goes_on_later(tree, tmp_path):
    out = tmp_path / 'out'
    process = subprocess.Popen(
        command(tree.root, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The terminal's: Ctrl+C reaches the workers, too.
        start_new_session=True,
    )
    end = time.monotonic() + PATIENCE
    while not (out / '.parts/settings.json').is_file() and time.monotonic() < end:
        time.sleep(0.02)
    # The workers are starting now, which is when they would all tell of it.
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert lines_of(error) == ['interrupted: finished videos are kept; run the same command again to resume']
    run(tree.root, out)
    assert len(rows_of(out)) == 18


def test_a_defect_costs_its_own_group(tree, tmp_path, monkeypatch):
    process = GroupProcessor.process

    def defect(self, group):
        if group.name.endswith('/001'):
            raise RuntimeError('nobody thought of caf\udce9')
        return process(self, group)

    with monkeypatch.context() as patch:
        patch.setattr(GroupProcessor, 'process', defect)
        report = run(tree.root, tmp_path / 'out')
    assert [problem['video'] for problem in report['problems']] == ['ffpp/youtube/c23/001']
    assert 'RuntimeError: nobody thought of caf%E9' in report['problems'][0]['reason']
    assert len({row['video_key'] for row in rows_of(tmp_path / 'out')}) == 5
    assert len({row['video_key'] for row in run_again(tree, tmp_path)}) == 6


def run_again(tree, tmp_path):
    run(tree.root, tmp_path / 'out')
    return rows_of(tmp_path / 'out')


def test_a_path_that_no_file_can_have_costs_its_own_group(tree, tmp_path, monkeypatch):
    write = writer.write_image

    def refuse(image, path, quality=None):
        if '/001/' in str(path):
            raise OSError(errno.ENAMETOOLONG, 'File name too long', str(path))
        write(image, path, quality)

    monkeypatch.setattr(writer, 'write_image', refuse)
    report = run(tree.root, tmp_path / 'out')
    assert 'File name too long' in report['problems'][0]['reason']
    assert len({row['video_key'] for row in rows_of(tmp_path / 'out')}) == 5


@pytest.mark.parametrize('text', [b'', b'{', b'[1]', b'\xff\xfe', b'[' * 5000])
@pytest.mark.parametrize('name', ['report.json', '.parts/settings.json'])
def test_damaged_notes_of_an_earlier_run(tree, tmp_path, name, text):
    out = tmp_path / 'out'
    run(tree.root, out)
    index = (out / 'index.parquet').read_bytes()
    (out / name).write_bytes(text)
    if name == 'report.json':
        run(tree.root, out)
        assert (out / 'index.parquet').read_bytes() == index
        assert json.loads((out / name).read_text())['videos'] == 6
    else:
        with pytest.raises(InputError, match='the record of them is unreadable'):
            run(tree.root, out)


@pytest.fixture
def nested(tmp_path, write_gray_video, square_points):
    """A video ``a`` beside a folder ``a`` of videos."""
    for name in ('real/a', 'real/a/b', 'fake/c'):
        write_gray_video(tmp_path / 'set' / f'{name}.mp4', 6)
        side_file = tmp_path / 'set/landmarks' / f'{name}.npy'
        side_file.parent.mkdir(parents=True, exist_ok=True)
        np.save(side_file, np.stack([square_points(10 + t, 14) for t in range(6)]))
    return tmp_path / 'set'


def test_a_video_does_not_delete_the_crops_of_one_in_a_folder_of_its_name(nested, tmp_path):
    out = tmp_path / 'out'
    run(nested, out, 'folder')
    # `a` is prepared again, and with it what lies in its folder is cleared.
    os.utime(nested / 'real/a.mp4', (1, 1))
    run(nested, out, 'folder')
    assert len(rows_of(out)) == 9
    assert not [row['image'] for row in rows_of(out) if not (out / row['image']).is_file()]


def test_merging_keeps_the_crops_of_a_video_in_a_folder_of_its_name(nested, tmp_path):
    for number in range(3):
        run(nested, tmp_path / f's{number}', 'folder', (number, 3))
    for _ in range(2):
        merge(tmp_path / 'out', [tmp_path / f's{number}' for number in (2, 1, 0)])
    out = tmp_path / 'out'
    assert not [row['image'] for row in rows_of(out) if not (out / row['image']).is_file()]


ODD = [b'caf\xe9', b'a\nb', b'a\x1b[31mb', b'x' * 250, '視'.encode() * 83, b'12:30', b'a\\b', b'"q" \'p\'']


@pytest.mark.slow
@pytest.mark.parametrize('environment', [{}, {'LC_ALL': 'C'}, {'PYTHONIOENCODING': 'ascii:strict'}])
def test_a_folder_of_odd_names(tmp_path, write_gray_video, square_points, environment):
    """Every name is prepared or told, whatever the locale; nothing that is written is not UTF-8."""
    root, out = tmp_path / 'set', tmp_path / 'out'
    write_gray_video(tmp_path / 'a.mp4', 6)
    data = (tmp_path / 'a.mp4').read_bytes()
    table = np.stack([square_points(10 + t, 14) for t in range(6)])
    for label in (b'real', b'fake'):
        os.makedirs(os.fsencode(root / 'landmarks') + b'/' + label)
        os.makedirs(os.fsencode(root) + b'/' + label)
        for name in ODD:
            Path(os.fsdecode(os.fsencode(root) + b'/' + label + b'/' + name + b'.mp4')).write_bytes(data)
            np.save(
                os.fsdecode(os.fsencode(root / 'landmarks') + b'/' + label + b'/' + name + b'.npy'), table
            )
    done = subprocess.run(
        command(root, out, 'folder', '--num-workers', '0'),
        capture_output=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert b'\x1b' not in done.stdout
    report = json.loads((out / 'report.json').read_bytes().decode())
    rows = rows_of(out)
    keys = {row['video_key'] for row in rows}
    assert len(keys) == 2 * (len(ODD) - 1)
    assert {f'set/{method}/native/caf%E9' for method in ('real', 'fake')} <= keys
    assert list(report['left_out']) == ['fake/a\\b.mp4', 'real/a\\b.mp4']
    assert report['problems'] == []
    assert b'left out in all: 2 files or folders' in done.stdout
    assert all((out / row['image']).is_file() for row in rows)
    assert max(map(len, stored_names(out / 'index.parquet'))) < 500
    findings = check_indexes([out], num_workers=0, progress=False).findings
    # The frames of this set are gray.
    assert {finding.check for finding in findings if finding.severity == 'error'} <= {'blank-image'}


def test_the_end_tells_what_was_left_out():
    empty = {'methods': {}, 'splits': {}, 'problems': [], 'missing': [], 'seconds': {}, 'cpu_seconds': 0}
    counts = {'frames_asked': 0, 'frames_found': 0, 'videos': 0}
    text = format_report({**empty, **counts, 'left_out': {'a': 'x', 'b': 'x', 'c': 'y'}})
    assert 'left out: 2, x\nleft out: 1, y\nleft out in all: 3 files or folders; each is listed' in text
    many = format_report({**empty, **counts, 'left_out': {str(n): f'reason {n}' for n in range(500)}})
    assert 'left out in all: 500 files or folders for 500 reasons; each is listed' in many
    assert len(many.splitlines()) < 20
    assert 'left out' not in format_report({**empty, **counts, 'left_out': {}})


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EFBIG])
def test_an_archive_that_the_disk_cannot_take_is_not_given_up(tmp_path, monkeypatch, number):
    write_wilddeepfake_tree(tmp_path / 'set')
    run(tmp_path / 'set', tmp_path / 'whole', 'wilddeepfake')

    def full(archive, folder):
        raise OSError(number, os.strerror(number), str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(sources, 'unpack_images', full)
        with pytest.raises(InputError, match=os.strerror(number)):
            run(tmp_path / 'set', tmp_path / 'out', 'wilddeepfake')
    run(tmp_path / 'set', tmp_path / 'out', 'wilddeepfake')
    assert (tmp_path / 'out/index.parquet').read_bytes() == (tmp_path / 'whole/index.parquet').read_bytes()


def test_a_lister_that_dies_is_one_line(tmp_path, monkeypatch):
    write_wilddeepfake_tree(tmp_path / 'set')
    monkeypatch.setattr(wilddeepfake, 'PARALLEL_FROM', 2)
    monkeypatch.setattr(wilddeepfake.os, 'cpu_count', lambda: 2)
    monkeypatch.setattr(wilddeepfake, 'partial', lambda function, cache_dir: partial(_die))
    with pytest.raises(InputError, match='a process that lists archives died'):
        run(tmp_path / 'set', tmp_path / 'out', 'wilddeepfake')


def _die(path):
    os.kill(os.getpid(), signal.SIGKILL)
