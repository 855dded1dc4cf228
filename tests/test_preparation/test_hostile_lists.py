# SPDX-License-Identifier: Apache-2.0
"""Landmark files and lists of strangers: each costs its own video, or one line; never a traceback."""

from __future__ import annotations

import io
import json
import os
import struct

import numpy as np
import pytest

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.faces.analyzers import precomputed_analyzer
from iid_mm.faces.analyzers.precomputed_analyzer import load_faces, load_table
from iid_mm.preparation.driver import RunOptions, make_settings, prepare
from iid_mm.preparation.layouts import scan_layout
from iid_mm.preparation.layouts.base import LayoutOptions
from support import image_trees
from support.video_trees import VIDEO_TREES

TABLE = np.zeros((12, 68, 2), np.float32).tobytes()


def npy(shape, descr="'<f4'", order='False', body=TABLE):
    """A file of an array with a header of one's own."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b' ' * (63 - (10 + len(text)) % 64) + b'\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + body


BROKEN = {
    'negative': npy('(-1, 68, 2)'),
    'negative, but positive all in all': npy('(12, -68, -2)'),
    'terabytes': npy('(10000000000, 68, 2)'),
    'more than an int': npy('(1' + '0' * 30 + ', 68, 2)'),
    'more digits than Python reads': npy('(1' + '0' * 5000 + ', 68, 2)'),
    'no numbers': npy("('a', None, 2.5)"),
    'no tuple': npy('12'),
    'bool of another size': npy('(True, 68, 3)'),
    'nothing': npy('()'),
    'nested': npy('(' * 2000 + ')' * 2000),
    'signs': npy('-' * 5000 + '1'),
    'objects': npy('(12, 68, 2)', "'|O'"),
    'complex': npy('(12, 68, 2)', "'<c8'"),
    'structured': npy('(12, 68, 2)', "[('x', '<f4')]"),
    'one field': npy('(12, 68, 2)', "('<f4',)"),
    'no type': npy('(12, 68, 2)', '3'),
    'no size': npy('(12, 68, 2)', "'|V0'"),
    'cut off': npy('(12, 68, 2)')[:-40],
    'only its start': npy('(12, 68, 2)')[:9],
    'empty': b'',
    'text': b'nonsense' * 100,
}


def write_npz():
    file = io.BytesIO()
    np.savez(file, np.zeros((12, 68, 2)))
    return file.getvalue()


@pytest.mark.parametrize(
    'data', [*BROKEN.values(), write_npz(), write_npz()[:200]], ids=[*BROKEN, 'npz', 'cut npz']
)
def test_broken_landmark_files(tmp_path, data):
    (tmp_path / 'a.npy').write_bytes(data)
    for load in (load_table, load_faces):
        with pytest.raises(InputError) as error:
            load(tmp_path / 'a.npy')
        assert '\n' not in str(error.value)


def test_randomly_damaged_headers(tmp_path):
    rng = np.random.default_rng(0)
    whole = {'npy': npy('(12, 68, 2)'), 'npz': write_npz()}
    refused = 0
    for number in range(600):
        data = bytearray(whole['npz' if number % 3 == 0 else 'npy'])
        for place in rng.integers(0, 128, rng.integers(1, 8)):
            data[place] = rng.integers(0, 256)
        (tmp_path / 'a.npy').write_bytes(data)
        for load in (load_table, load_faces):
            try:
                assert load(tmp_path / 'a.npy').shape[-2:] == (68, 2)
            except InputError:
                refused += 1
    assert refused > 600


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'pipe.npy')
    (tmp_path / 'folder.npy').mkdir()
    for name in ('pipe.npy', 'folder.npy', 'absent.npy'):
        with pytest.raises(InputError, match=name):
            load_table(tmp_path / name)


def test_a_sparse_file_that_holds_what_its_header_promises(tmp_path, monkeypatch):
    monkeypatch.setattr(precomputed_analyzer, 'MAX_FRAMES', 100)
    path = tmp_path / 'a.npy'
    path.write_bytes(npy('(101, 68, 2)', body=b''))
    os.truncate(path, path.stat().st_size + 101 * 68 * 2 * 4)
    with pytest.raises(InputError, match=r'found float32 \(101, 68, 2\)'):
        load_table(path)


def test_the_order_of_fortran(tmp_path):
    table = np.random.default_rng(0).uniform(0, 99, (5, 68, 2))
    np.save(tmp_path / 'a.npy', np.asfortranarray(table))
    loaded = load_table(tmp_path / 'a.npy')
    np.testing.assert_array_equal(loaded, table.astype(np.float32))
    np.testing.assert_array_equal(loaded[2].reshape(-1), table[2].astype(np.float32).reshape(-1))


def test_a_broken_landmark_file_costs_its_own_video(tree, tmp_path):
    paths = [tree.landmarks_path('youtube', name) for name in ('000', '001')]
    good = np.load(paths[0])
    videos = ('youtube/c23/000', 'youtube/c23/001', 'youtube/c23/ä #1')
    for name, data in BROKEN.items():
        paths[0].write_bytes(data)
        strange = good.astype(np.float64)
        strange[2], strange[6, 5, 1] = np.inf, -1e300
        np.save(paths[1], strange)
        options = RunOptions(progress=False)
        out = tmp_path / name[:20]
        report = prepare(
            tree.root, out, make_settings('ffpp', options, analyzer='precomputed', frames=3), options
        )
        found = [row['video_key'] for row in read_index(out / 'index.parquet').to_pylist()]
        assert [found.count(f'ffpp/{video}') for video in videos] == [0, 1, 3]
        problems = {problem['video']: problem['reason'] for problem in report['problems']}
        assert '000.npy' in problems['ffpp/youtube/c23/000']
        assert problems['ffpp/youtube/c23/001'] == 'no face in 2 of 3 frames'


# Lists

TREES = {
    **VIDEO_TREES,
    'deepfakebench': image_trees.write_deepfakebench_tree,
    'caddm': image_trees.write_caddm_tree,
    'sbi': image_trees.write_sbi_tree,
    'folder': image_trees.write_folder_tree,
}
LISTS = {
    'ffpp': 'dataset/splits/val.json',
    'celebdf_v2': 'List_of_testing_videos.txt',
    'dfdc': 'dfdc_train_part_0/metadata.json',
    'dfdcp': 'dataset.json',
    'deeperforensics': 'lists/splits/val.txt',
    'deepfakebench': 'preprocessing/dataset_json/FaceForensics++.json',
    'caddm': 'train_images/ldm.json',
    'folder': 'pairs.csv',
}
NONSENSE = {
    'invalid UTF-8': b'{"a\xff": 1}',
    'UTF-16': '{"a": 1}'.encode('utf-16'),
    'NUL': b'{"a\0": {"label": "REAL"}}\0',
    'deep lists': b'[' * 100_000,
    'deep objects': b'{"a":' * 100_000,
    'closed deep lists': b'[' * 3000 + b']' * 3000,
    'deep value': b'{"a.mp4": ' + b'[' * 400 + b']' * 400 + b'}',
    'a number of many digits': b'{"a": ' + b'9' * 10_000 + b'}',
    'infinite': b'{"a/b": {"label": 1e999, "landmark": [[1e999, 1e999]]}}',
    'not a number': b'{"a/b.mp4": {"label": NaN, "set": NaN}}',
    'wrong types': b'{"a/b.mp4": {"label": [0], "set": {"train": 1}, "original": 7, "source_path": {}}}',
    'null': b'null',
    'a string': b'"x"',
    'a long cell': b'fake,genuine\n"' + b'x' * 200_000,
}


@pytest.mark.parametrize('name', LISTS)
@pytest.mark.parametrize('text', NONSENSE.values(), ids=list(NONSENSE))
def test_nonsense_in_a_list_is_one_line(tmp_path, name, text):
    TREES[name](tmp_path)
    path = tmp_path / LISTS[name]
    assert path.is_file()
    path.write_bytes(text)
    with pytest.raises((InputError, FileNotFoundError)) as error:
        scan_layout(name, tmp_path, LayoutOptions())
    message = str(error.value).removesuffix('x' * 100)
    assert path.name in message
    assert len(message.splitlines()[0]) < 700


@pytest.mark.parametrize(
    ('name', 'entry'),
    [
        ('dfdc', '"owxbbpjpch.mp4": {"label": "REAL"}'),
        ('dfdcp', '"original_videos/643049/643049_A_001.mp4": {"label": "real", "set": "test"}'),
        ('caddm', None),
    ],
)
def test_a_name_with_two_values(tmp_path, name, entry):
    TREES[name](tmp_path)
    path = tmp_path / LISTS[name]
    text = path.read_text()
    first = next(iter(json.loads(text)))
    entry = entry or f'{json.dumps(first)}: {{"label": 1, "source_path": ""}}'
    path.write_text('{' + entry + ',' + text.lstrip()[1:])
    with pytest.raises(InputError, match='twice'):
        scan_layout(name, tmp_path, LayoutOptions())
    # The same again says the same.
    path.write_text('{' + f'{json.dumps(first)}: {json.dumps(json.loads(text)[first])},' + text.lstrip()[1:])
    assert scan_layout(name, tmp_path, LayoutOptions()).records


@pytest.mark.parametrize('person', [True, 1.5, [1], {'a': 1}, float('inf')])
def test_a_person_that_is_no_name(tmp_path, person):
    VIDEO_TREES['dfdcp'](tmp_path)
    path = tmp_path / 'dataset.json'
    data = json.loads(path.read_text())
    next(iter(data.values()))['target_id'] = person
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match='has the person'):
        scan_layout('dfdcp', tmp_path, LayoutOptions())


def test_names_in_a_list_that_no_file_can_have(tmp_path):
    VIDEO_TREES['dfdc'](tmp_path)
    path = tmp_path / 'dfdc_train_part_0/metadata.json'
    data = json.loads(path.read_text())
    before = scan_layout('dfdc', tmp_path, LayoutOptions())
    odd = ['\ud800.mp4', 'a\0b.mp4', 'a\nb.mp4', 'x' * 5000 + '.mp4', '../../etc/passwd', '']
    data |= {name: {'label': 'FAKE', 'original': name} for name in odd}
    path.write_text(json.dumps(data))
    scan = scan_layout('dfdc', tmp_path, LayoutOptions())
    assert scan.records == before.records
    for text in set(scan.missing) - set(before.missing):
        text.encode()
        assert text.isprintable()
    assert len(scan.missing) == len(before.missing) + len(odd)


def test_names_in_a_list_of_frames_that_no_file_can_have(tmp_path):
    image_trees.write_deepfakebench_tree(tmp_path)
    path = tmp_path / LISTS['deepfakebench']
    data = json.loads(path.read_text())
    before = scan_layout('deepfakebench', tmp_path, LayoutOptions())
    videos = data['FaceForensics++']['FF-real']['train']['c23']
    entry = next(iter(videos.values()))
    for name in ('\ud800', 'a\0b', 'x' * 300, 'a\x1b[2J'):
        videos[name] = entry
        videos[f'{name}2'] = {**entry, 'frames': [f'{name}/{name}/0.png']}
    path.write_text(json.dumps(data))
    scan = scan_layout('deepfakebench', tmp_path, LayoutOptions())
    assert len(scan.records) == len(before.records) + 3
    for record in scan.records:
        assert record.key.isprintable()
        assert max(len(part.encode()) for part in record.key.split('/')) <= 255
    assert '\0' not in ''.join([*scan.missing, *scan.left_out])
