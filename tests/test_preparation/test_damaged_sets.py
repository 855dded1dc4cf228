# SPDX-License-Identifier: Apache-2.0
"""A dataset most of whose files are damaged is prepared as far as it can be."""

from __future__ import annotations

import json

import cv2
import numpy as np

from iid_mm.datasets.index import read_index
from iid_mm.preparation.checking.runner import check_indexes
from iid_mm.preparation.driver import RunOptions, make_settings, prepare
from support.damage import damage_bytes
from support.media import SIZE, make_frame, write_image, write_landmarks, write_video

FRAMES = 12
STRIP = 10


def sound_frames():
    """The frames of a video: a face that moves, below a strip that is another one in each frame."""
    frames = [make_frame(number) for number in range(FRAMES)]
    for number, frame in enumerate(frames):
        frame[:STRIP] = make_frame(0, seed=number)[:STRIP]
    return frames


def write_set(root, seed=None):
    """100 videos and 100 images; with a seed, all but every tenth are damaged. Returns how many are."""
    # Every frame differs from the others, so that a wrong number is noticed, and shows the same person.
    frames = sound_frames()
    video = write_video(root / 'real' / 'v.mp4', frames).read_bytes()
    (root / 'real' / 'v.mp4').unlink()
    count = 0
    for number in range(100):
        photo = write_image(root / 'real' / f'p{number:03d}.png', make_frame(0, seed=number))
        files = {root / 'real' / f'v{number:03d}.mp4': video, photo: photo.read_bytes()}
        for position, (path, data) in enumerate(files.items()):
            write_landmarks(root, path, FRAMES if position == 0 else 1)
            if seed is not None and number % 10:
                data = damage_bytes(data, np.random.default_rng([seed, number, position]))[1]
                count += 1
            path.write_bytes(data)
    return count


def run(root, out):
    options = RunOptions(progress=False)
    return prepare(root, out, make_settings('folder', options, analyzer='precomputed', frames=4), options)


def crops(out):
    rows = read_index(out / 'index.parquet').to_pylist()
    return {(r['video_key'], r['frame']): (r, cv2.imread(str(out / r['image']))) for r in rows}


def test_most_files_damaged(tmp_path):
    write_set(tmp_path / 'sound' / 'set')
    assert write_set(tmp_path / 'damaged' / 'set', seed=1) == 180
    run(tmp_path / 'sound' / 'set', tmp_path / 'a')
    report = run(tmp_path / 'damaged' / 'set', tmp_path / 'b')
    assert report == json.loads((tmp_path / 'b' / 'report.json').read_text())
    assert report['videos'] == 200
    with_problem = {problem['video'] for problem in report['problems']}
    assert len(with_problem) > 90
    sound, damaged = crops(tmp_path / 'a'), crops(tmp_path / 'b')
    assert len(sound) == 500
    assert 90 < len(damaged) < 500
    # All frames of the sound video, at a place that only depends on the frame.
    originals = np.stack(sound_frames()).astype(int)
    wrong = 0
    for (key, frame), (row, image) in damaged.items():
        x0, y0, x1, y1 = row['crop_window']
        assert (x0, y0, x1, y1) == (frame + 1, 2, frame + 40, 41)
        assert x1 <= SIZE[0]
        if key.rpartition('/')[2].startswith('p'):
            # An image is right or refused.
            np.testing.assert_array_equal(image, sound[key, frame][1])
            continue
        distances = np.abs(originals[:, y0:y1, x0:x1] - image).mean(axis=(1, 2, 3))
        wrong += int(distances.argmin() != frame)
    # H.264 has no checksums: see docs/storage.md and tests of damaged files for what is measured.
    assert wrong <= 0.02 * len(damaged)
    # The videos that were left alone are complete.
    for number in range(0, 100, 10):
        assert sum(key.endswith(f'/v{number:03d}') for key, _ in damaged) == 4
    findings = check_indexes([tmp_path / 'b' / 'index.parquet'], num_workers=0, progress=False).findings
    assert not [finding for finding in findings if finding.severity == 'error']
