# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from iid_mm.datasets.index import read_index
from iid_mm.errors import InputError
from iid_mm.faces.analyzers import ANALYZERS
from iid_mm.preparation.driver import RunOptions, make_settings, prepare
from iid_mm.preparation.parts import PartStore
from iid_mm.preparation.report import format_report
from iid_mm.preparation.shards import Shard
from iid_mm.utils.cli import run_tool
from support.paths import REPOSITORY

TOOL = REPOSITORY / 'tools' / 'prepare_data.py'


def run(tree, out, *, num_workers=0, overwrite=False, shard=(0, 1), layout='ffpp', **kwargs):
    options = RunOptions(num_workers, Shard(*shard), overwrite, progress=False)
    choices = {'analyzer': 'precomputed', 'frames': 3, **kwargs}
    return prepare(tree.root, out, make_settings(layout, options, **choices), options)


def rows_of(out, key=None):
    rows = read_index(out / 'index.parquet').to_pylist()
    return [row for row in rows if key is None or row['video_key'] == key]


def test_rows_are_those_worked_out_by_hand(tree, tmp_path, square_points):
    out = tmp_path / 'out'
    run(tree, out)
    rows = {(r['video_key'], r['frame']): r for r in rows_of(out)}
    # 12 frames, 3 wanted: 2, 6, 10. The FaceSwap fake has 8: 1, 4, 6.
    numbers = {
        'ffpp/Deepfakes/c23/000_001': [2, 6, 10],
        'ffpp/Deepfakes/c23/ä #1_002': [2, 6, 10],
        'ffpp/FaceSwap/c23/000_001': [1, 4, 6],
        'ffpp/youtube/c23/000': [2, 6, 10],
        'ffpp/youtube/c23/001': [2, 6, 10],
        'ffpp/youtube/c23/ä #1': [2, 6, 10],
    }
    assert list(rows) == [(key, n) for key, frames in numbers.items() for n in frames]
    # Genuine face in frame t: box (10 + t, 14)-(30 + t, 34); 6 px forehead; longer side 26; window of
    # 39 around (20.5 + t, 21.5).
    genuine = rows['ffpp/youtube/c23/000', 6]
    landmarks = genuine.pop('landmarks')
    np.testing.assert_array_equal(np.reshape(landmarks, (-1, 2)), square_points(10 + 6 - 7, 14 - 2))
    assert genuine == {
        'image': 'frames/ffpp/youtube/c23/000/00006.webp',
        'source_image': None,
        'label': 0,
        'dataset': 'ffpp',
        'method': 'youtube',
        'compression': 'c23',
        'video_key': 'ffpp/youtube/c23/000',
        'frame': 6,
        'split': 'train',
        'target_id': '000',
        'source_id': None,
        'crop_window': [7, 2, 46, 41],
        'detector_score': 1.0,
        'mask': None,
    }
    fake = rows['ffpp/FaceSwap/c23/000_001', 4]
    landmarks = fake.pop('landmarks')
    # Its own landmarks (2 px further right) in the window of genuine frame 4.
    np.testing.assert_array_equal(np.reshape(landmarks, (-1, 2)), square_points(16 - 5, 14 - 2))
    assert fake == {
        'image': 'frames/ffpp/FaceSwap/c23/000_001/00004.webp',
        'source_image': 'frames/ffpp/youtube/c23/000/00004.webp',
        'label': 1,
        'dataset': 'ffpp',
        'method': 'FaceSwap',
        'compression': 'c23',
        'video_key': 'ffpp/FaceSwap/c23/000_001',
        'frame': 4,
        'split': 'train',
        'target_id': '000',
        'source_id': '001',
        'crop_window': [5, 2, 44, 41],
        'detector_score': 1.0,
        'mask': None,
    }
    assert rows['ffpp/Deepfakes/c23/ä #1_002', 2]['split'] == 'val'


def test_stored_crops(tree, tmp_path):
    out = tmp_path / 'out'
    run(tree, out)
    names = sorted(p.name for p in (out / 'frames/ffpp/youtube/c23/000').iterdir())
    # Samples 2, 6, 10 and what the shorter fake is paired with: 1, 4, 6.
    assert names == ['00001.webp', '00002.webp', '00004.webp', '00006.webp', '00010.webp']
    for row in rows_of(out):
        image = cv2.imread(str(out / row['image']))
        x0, y0, x1, y1 = row['crop_window']
        assert image.shape == (y1 - y0, x1 - x0, 3)
        assert abs(image.mean() - (20 + 8 * row['frame'])) < 4
        if row['source_image']:
            assert cv2.imread(str(out / row['source_image'])).shape == image.shape


def test_report(tree, tmp_path):
    report = run(tree, tmp_path / 'out')
    assert report == json.loads((tmp_path / 'out/report.json').read_text())
    assert (report['videos'], report['frames_asked'], report['frames_found']) == (6, 18, 18)
    assert report['methods']['FaceSwap'] == {
        'videos': 1,
        'videos_without_face': 0,
        'frames_asked': 3,
        'frames_found': 3,
        'frames_paired': 3,
        'masks': 0,
    }
    assert report['splits'] == {
        'train': {'Deepfakes': 3, 'FaceSwap': 3, 'youtube': 6},
        'val': {'Deepfakes': 3, 'youtube': 3},
    }
    assert report['problems'] == []
    assert len(report['left_out']) == 4
    text = format_report(report)
    assert '18 of 18 frames with a face (100.00 %)' in text
    assert 'left out: 1, its id is in no split' in text


def test_index_is_the_same_for_any_number_of_processes(tree, tmp_path):
    run(tree, tmp_path / 'a')
    run(tree, tmp_path / 'b', num_workers=2)
    one, two = ((tmp_path / name / 'index.parquet').read_bytes() for name in 'ab')
    assert one == two


def test_resume_after_a_stop_does_only_what_is_missing(tree, tmp_path, monkeypatch):
    run(tree, tmp_path / 'whole')
    out, saved = tmp_path / 'out', []
    save = PartStore.save

    def save_until_stopped(self, fingerprint, result):
        if len(saved) == 1:
            raise KeyboardInterrupt
        saved.append(result.name)
        save(self, fingerprint, result)

    monkeypatch.setattr(PartStore, 'save', save_until_stopped)
    with pytest.raises(KeyboardInterrupt):
        run(tree, out)
    assert not (out / 'index.parquet').exists()

    def save_and_note(self, fingerprint, result):
        saved.append(result.name)
        save(self, fingerprint, result)

    monkeypatch.setattr(PartStore, 'save', save_and_note)
    run(tree, out)
    names = [f'ffpp/youtube/c23/{video}' for video in ('000', '001', 'ä #1')]
    assert saved == names
    assert (out / 'index.parquet').read_bytes() == (tmp_path / 'whole/index.parquet').read_bytes()
    run(tree, out)
    assert saved == names


def test_changed_or_added_input_is_prepared_again(tree, tmp_path):
    out = tmp_path / 'out'
    run(tree, out)
    tree.video('FaceSwap', '001_000')
    report = run(tree, out)
    assert report['methods']['FaceSwap']['videos'] == 2
    # Landmarks are input too.
    path = tree.landmarks_path('youtube', '001')
    table = np.load(path)
    table[6] = np.nan
    np.save(path, table)
    assert run(tree, out)['methods']['youtube']['frames_found'] == 8


def test_damaged_part_is_prepared_again(tree, tmp_path):
    out = tmp_path / 'out'
    run(tree, out)
    before = (out / 'index.parquet').read_bytes()
    for path in (out / '.parts').glob('*.parquet'):
        path.write_bytes(path.read_bytes()[:100])
    (out / 'index.parquet').unlink()
    run(tree, out)
    assert (out / 'index.parquet').read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(os.name == 'nt', reason='needs SIGKILL')
def test_tool_killed_five_times_goes_on(tree, tmp_path):
    for number in range(10, 40):
        tree.video('youtube', f'{number:03d}')
    ids = [f'{number:03d}' for number in range(10, 40)]
    pairs = [['000', '001'], *([a, b] for a, b in zip(ids[::2], ids[1::2], strict=True))]
    tree.splits(train=pairs, val=[['002', 'ä #1']])
    run(tree, tmp_path / 'whole')
    out = tmp_path / 'out'
    command = [sys.executable, str(TOOL), 'ffpp', str(tree.root), str(out), '--frames', '3']
    command += ['--analyzer', 'precomputed', '--num-workers', '2']
    rng = random.Random(0)
    parts = []
    for _ in range(5):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        # Anywhere between the start of the workers and the last video; only the driver is killed.
        goal = len(list(out.glob('.parts/*.parquet'))) + rng.randrange(5)
        deadline = time.monotonic() + 60
        while len(list(out.glob('.parts/*.parquet'))) < min(goal, 31) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.wait()
        parts.append(len(list(out.glob('.parts/*.parquet'))))
    assert parts[0] < parts[-1]
    run(tree, out)
    assert (out / 'index.parquet').read_bytes() == (tmp_path / 'whole/index.parquet').read_bytes()
    files = [
        {p.relative_to(folder) for p in folder.rglob('*') if p.is_file() and '.parts' not in p.parts}
        for folder in (out, tmp_path / 'whole')
    ]
    assert files[0] == files[1]


def test_other_settings_need_overwrite(tree, tmp_path):
    out = tmp_path / 'out'
    run(tree, out)
    with pytest.raises(InputError, match=r'frames: 3 there, 2 now.*--overwrite'):
        run(tree, out, frames=2)
    run(tree, out, frames=2, overwrite=True)
    assert len(rows_of(out)) == 12
    assert not (out / 'frames/ffpp/youtube/c23/000/00010.webp').exists()


def test_side_files_are_checked_before_anything_is_written(tree, tmp_path):
    shutil.rmtree(tree.root / 'landmarks')
    with pytest.raises(FileNotFoundError, match=r'landmarks/original_sequences/youtube/c23/videos/000.npy'):
        run(tree, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_folder_of_somebody_else_is_left_alone(tree, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.tex').write_text('x')
    with pytest.raises(InputError, match='not made by prepare_data'):
        run(tree, tmp_path / 'out', overwrite=True)
    assert (tmp_path / 'out' / 'thesis.tex').exists()


def test_broken_videos_are_reported_and_the_rest_is_prepared(tree, tmp_path):
    tree.path('Deepfakes', '000_001').write_bytes(b'')
    tree.path('youtube', 'ä #1').write_bytes(b'nonsense' * 100)
    tree.landmarks_path('youtube', '001').unlink()
    out = tmp_path / 'out'
    report = run(tree, out, num_workers=1)
    problems = {p['video']: p['reason'] for p in report['problems']}
    assert 'cannot be read' in problems['ffpp/Deepfakes/c23/000_001']
    assert 'cannot be read' in problems['ffpp/youtube/c23/ä #1']
    assert '001.npy' in problems['ffpp/youtube/c23/001']
    assert 'stored without pairs' in problems['ffpp/Deepfakes/c23/ä #1_002']
    found = {key: len(rows_of(out, f'ffpp/{key}')) for key in ('youtube/c23/000', 'FaceSwap/c23/000_001')}
    assert found == {'youtube/c23/000': 3, 'FaceSwap/c23/000_001': 3}
    alone = rows_of(out, 'ffpp/Deepfakes/c23/ä #1_002')
    assert [row['source_image'] for row in alone] == [None] * 3
    assert [row['crop_window'] for row in alone] == [[t + 1, 2, t + 40, 41] for t in (2, 6, 10)]
    assert report['methods']['youtube']['videos_without_face'] == 2
    assert report['without_face'][0] == {
        'key': 'ffpp/Deepfakes/c23/000_001',
        'method': 'Deepfakes',
        'split': 'train',
        'label': 1,
    }
    assert len(report['without_face']) == 3
    # Three videos are lost, nine frames of eighteen.
    assert (report['frames_asked'], report['frames_found']) == (18, 9)
    assert str(tmp_path) not in (out / 'report.json').read_text()


def test_frames_without_a_face(tree, tmp_path):
    path = tree.landmarks_path('youtube', '000')
    table = np.load(path)
    table[6] = np.nan
    np.save(path, table)
    report = run(tree, tmp_path / 'out')
    problems = [(p['video'][5:], p['reason']) for p in report['problems']]
    assert ('youtube/c23/000', 'no face in 1 of 3 frames') in problems
    text = '1 frames have no face in the genuine video: [6]'
    assert ('Deepfakes/c23/000_001', text) in problems
    frames = [row['frame'] for row in rows_of(tmp_path / 'out', 'ffpp/Deepfakes/c23/000_001')]
    assert frames == [2, 10]


def test_fake_of_another_size_is_stored_without_pair(tree, tmp_path):
    tree.video('Deepfakes', '000_001', size=(80, 48))
    report = run(tree, tmp_path / 'out')
    assert 'frames are 80x48, those of its genuine video 64x48' in report['problems'][0]['reason']
    rows = rows_of(tmp_path / 'out', 'ffpp/Deepfakes/c23/000_001')
    assert [row['source_image'] for row in rows] == [None] * 3


def test_masks(tree, tmp_path, write_gray_video):
    masks = tree.root / 'manipulated_sequences/Deepfakes/masks/videos'
    write_gray_video(masks / '000_001.mp4', 12)
    write_gray_video(masks / 'ä #1_002.mp4', 4)
    out = tmp_path / 'out'
    report = run(tree, out, masks=True)
    rows = rows_of(out, 'ffpp/Deepfakes/c23/000_001')
    assert [row['mask'] for row in rows] == [
        f'masks/ffpp/Deepfakes/c23/000_001/{n:05d}.png' for n in (2, 6, 10)
    ]
    for row in rows:
        mask = cv2.imread(str(out / row['mask']), cv2.IMREAD_UNCHANGED)
        assert mask.shape == cv2.imread(str(out / row['image'])).shape[:2]
        assert abs(mask.mean() - (20 + 8 * row['frame'])) < 4
    assert report['methods']['Deepfakes']['masks'] == 4
    assert rows_of(out, 'ffpp/FaceSwap/c23/000_001')[0]['mask'] is None


def test_image_formats(tree, tmp_path):
    for suffix in ('jpg', 'webp'):
        run(tree, tmp_path / suffix, image_format=suffix)
        row = rows_of(tmp_path / suffix)[0]
        assert row['image'].endswith(suffix)
        assert cv2.imread(str(tmp_path / suffix / row['image'])) is not None


def test_no_face_at_all(tree, tmp_path):
    for path in tree.root.glob('landmarks/**/*.npy'):
        np.save(path, np.full_like(np.load(path), np.nan))
    with pytest.raises(InputError, match='no frame of 6 videos has a face'):
        run(tree, tmp_path / 'out')
    assert (tmp_path / 'out' / 'report.json').exists()


@pytest.mark.parametrize(
    ('name', 'value'),
    [('frames', 0), ('margin', -0.1), ('max_side', 8), ('image_format', 'bmp')],
)
def test_bad_settings(name, value):
    with pytest.raises(InputError, match=f'{name}='):
        make_settings('ffpp', RunOptions(), analyzer='precomputed', **{name: value})


def test_bad_num_workers(tree, tmp_path):
    with pytest.raises(InputError, match='num_workers=-1'):
        run(tree, tmp_path / 'out', num_workers=-1)


@pytest.mark.slow
def test_tool_answers_bad_input_with_status_1(tree, tmp_path, monkeypatch, capsys):
    command = [sys.executable, str(TOOL), 'ffpp', str(tree.root), str(tmp_path / 'out')]
    done = subprocess.run([*command, '--analyzer', 'dlib'], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: analyzer='dlib' is unknown; choose from {', '.join(ANALYZERS)}\n"

    spec = importlib.util.spec_from_file_location('prepare_data_tool', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for arguments, message in (
        (['ffpp', 'nowhere', 'out'], "error: data root 'nowhere' is not a folder"),
        (['ffpp', str(tree.root), 'out', '--compression', 'c1'], "error: compression='c1'"),
    ):
        extra = ['--analyzer', 'precomputed', '--num-workers', '0']
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *arguments, *extra])
        assert run_tool(tool.main) == 1
        assert message in capsys.readouterr().err
    assert not Path('out').exists()


def test_moved_folder_stays_usable(tree, tmp_path):
    run(tree, tmp_path / 'out')
    shutil.move(tmp_path / 'out', tmp_path / 'moved')
    text = (tmp_path / 'moved' / 'report.json').read_text()
    assert str(tmp_path) not in text
    row = rows_of(tmp_path / 'moved')[0]
    assert (tmp_path / 'moved' / row['image']).is_file()
