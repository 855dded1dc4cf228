# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import runpy
import sys

import av
import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.toy import (
    METHODS,
    Factors,
    FakePlan,
    ToyConfig,
    draw_splits,
    generate_toy_set,
    make_clip,
    make_fake,
    plan_fakes,
)
from iid_mm.toy.generate import write_video
from support.paths import REPOSITORY

TINY = ToyConfig(num_identities=6, frames=3, size=96, methods=('FaceSwap', 'NeuralTextures'))
TOOL = REPOSITORY / 'tools' / 'generate_toy_data.py'


def files_of(root):
    return {p.relative_to(root).as_posix(): p for p in root.rglob('*') if p.is_file()}


def decode(path, form='bgr24'):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format=form) for f in container.decode(video=0)])


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    return generate_toy_set(tmp_path_factory.mktemp('toy') / 'set', TINY, progress=False)


def test_layout(toy):
    expected = {'toy.json', 'train.json', 'val.json', 'test.json'}
    for i in range(6):
        expected.add(f'original_sequences/youtube/c23/videos/{i:03d}.mp4')
        expected.add(f'landmarks/original_sequences/youtube/c23/videos/{i:03d}.npy')
    pairs = [p for s in ('train', 'val', 'test') for p in json.loads((toy / f'{s}.json').read_text())]
    assert len(pairs) == 3
    for method in TINY.methods:
        for a, b in pairs:
            for name in (f'{a}_{b}', f'{b}_{a}'):
                folder = f'manipulated_sequences/{method}'
                expected.add(f'{folder}/c23/videos/{name}.mp4')
                expected.add(f'{folder}/masks/videos/{name}.mp4')
                expected.add(f'landmarks/{folder}/c23/videos/{name}.npy')
    assert set(files_of(toy)) == expected


def test_videos_show_what_was_rendered(toy):
    rendered = make_clip(TINY, Factors.same(0)).render()
    video = decode(toy / 'original_sequences/youtube/c23/videos/000.mp4')
    assert video.shape == (3, 96, 96, 3)
    assert np.abs(video.astype(int) - rendered.frames).mean() < 6
    stored = np.load(toy / 'landmarks/original_sequences/youtube/c23/videos/000.npy', allow_pickle=False)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, rendered.landmarks)


def test_masks_survive_encoding(toy):
    plan = plan_fakes(TINY)[0]
    forgery = make_fake(TINY, plan, make_clip(TINY, Factors.same(plan.target)).render())
    folder = toy / 'manipulated_sequences' / plan.method
    masks = decode(folder / 'masks/videos' / f'{plan.name}.mp4', 'gray')
    assert ((masks > 127) == (forgery.masks > 127)).mean() > 0.999
    # Far from the mask the fake is the genuine video up to its encoding.
    fake = decode(folder / 'c23/videos' / f'{plan.name}.mp4').astype(int)
    genuine = decode(toy / f'original_sequences/youtube/c23/videos/{plan.target:03d}.mp4')
    assert np.abs(fake - genuine)[:, :16].mean() < 3


def test_factors_file(toy):
    content = json.loads((toy / 'toy.json').read_text())
    assert content['config'] == TINY.to_dict()
    assert ToyConfig(**content['config']) == TINY
    assert set(content['genuine']) == {f'{i:03d}' for i in range(6)}
    assert content['genuine']['004']['identity'] == 4
    plan = plan_fakes(TINY)[0]
    entry = content['fakes'][f'{plan.method}/{plan.name}']
    assert (entry['target'], entry['source'], entry['pose']) == (
        plan.target, plan.source, plan.target,
    )  # fmt: skip
    forgery = make_fake(TINY, plan, make_clip(TINY, Factors.same(plan.target)).render())
    assert entry['strength'] == pytest.approx(forgery.strength, abs=1e-6)


def test_workers_do_not_change_the_files(toy, tmp_path):
    other = generate_toy_set(tmp_path / 'set', TINY, num_workers=2, progress=False)
    one, two = files_of(toy), files_of(other)
    assert set(one) == set(two)
    for name, path in one.items():
        assert path.read_bytes() == two[name].read_bytes(), name


def test_resumes(toy):
    files = files_of(toy)
    times = {name: path.stat().st_mtime_ns for name, path in files.items()}
    plan = plan_fakes(TINY)[0]
    lost = f'manipulated_sequences/{plan.method}/c23/videos/{plan.name}.mp4'
    before = files[lost].read_bytes()
    files[lost].unlink()
    generate_toy_set(toy, TINY, progress=False)
    assert files[lost].read_bytes() == before
    untouched = [n for n in times if n.endswith('.mp4') and n != lost]
    assert sum(files[n].stat().st_mtime_ns != times[n] for n in untouched) <= 1


def test_refuses_a_folder_with_other_things(tmp_path):
    (tmp_path / 'thesis.txt').write_text('precious')
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r'holds no toy dataset.*another folder'):
            generate_toy_set(tmp_path, TINY, overwrite=overwrite, progress=False)
    assert os.listdir(tmp_path) == ['thesis.txt']
    with pytest.raises(InputError, match='is a file'):
        generate_toy_set(tmp_path / 'thesis.txt', TINY, progress=False)


def test_refuses_another_configuration_and_overwrites(tmp_path):
    small = ToyConfig(num_identities=6, frames=1, size=96, methods=())
    generate_toy_set(tmp_path, small, progress=False)
    stray = tmp_path / 'notes.txt'
    stray.write_text('mine')
    other = ToyConfig(num_identities=6, frames=2, size=96, methods=())
    with pytest.raises(InputError, match=r'frames: 1 there, 2 wanted.*--overwrite'):
        generate_toy_set(tmp_path, other, progress=False)
    generate_toy_set(tmp_path, other, overwrite=True, progress=False)
    landmarks = tmp_path / 'landmarks/original_sequences/youtube/c23/videos/000.npy'
    assert np.load(landmarks).shape == (2, 68, 2)
    assert stray.read_text() == 'mine'
    (tmp_path / 'toy.json').write_text('{')
    with pytest.raises(InputError, match='cannot be read'):
        generate_toy_set(tmp_path, other, progress=False)


@pytest.mark.parametrize('count', [6, 8, 24, 26, 100])
@pytest.mark.parametrize('rounds', [1, 2])
def test_splits_are_disjoint_and_complete(count, rounds):
    shares = (0.5, 0.25, 0.25) if count >= 16 else (0.5, 0.5, 0.0)
    if rounds == 2 and count < 8:
        pytest.skip('two people form one pair only')
    config = ToyConfig(num_identities=count, pairs_per_identity=rounds, split_fractions=shares)
    splits = draw_splits(config)
    people = [sorted({person for pair in pairs for person in pair}) for pairs in splits.values()]
    assert sorted(person for members in people for person in members) == list(range(count))
    for pairs in splits.values():
        assert len({frozenset(pair) for pair in pairs}) == len(pairs)
        for person in {p for pair in pairs for p in pair}:
            assert sum(person in pair for pair in pairs) == rounds
    fakes = plan_fakes(config)
    assert len(fakes) == count * rounds * len(METHODS)
    assert len(set(fakes)) == len(fakes)
    assert {(f.source, f.target) for f in fakes} == {(f.target, f.source) for f in fakes}


def test_default_split_sizes():
    # 12 pairs: 8.4, 1.8 and 1.8 rounded so that they sum to 12.
    assert ToyConfig().split_sizes() == (16, 4, 4)
    assert ToyConfig(num_identities=6).split_sizes() == (2, 2, 2)
    assert len(plan_fakes(ToyConfig())) == 4 * 24


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'num_identities': 4}, 'too few for a pair in each of 3 splits; give at least 6'),
        ({'num_identities': 7}, 'give an even number'),
        ({'num_identities': 2000}, 'num_identities is 2000'),
        ({'methods': ('FaceShifter',)}, "unknown manipulation 'FaceShifter'.*Deepfakes"),
        ({'methods': ('FaceSwap', 'FaceSwap')}, 'twice'),
        ({'size': 97}, 'even size'),
        ({'size': 32}, 'between 96 and'),
        ({'frames': 0}, 'frames is 0'),
        ({'crf': 60}, 'crf is 60'),
        ({'strength': 0.0}, 'strength is 0.0'),
        ({'strength': 3.5}, 'strength is 3.5'),
        ({'split_fractions': (0.5, 0.2, 0.2)}, 'sum to 1'),
        ({'pairs_per_identity': 4}, 'smallest split has 4 people; give at most 3'),
    ],
)
def test_config_refuses(values, message):
    with pytest.raises(InputError, match=message):
        ToyConfig(**values)


def test_num_workers_is_checked(tmp_path):
    with pytest.raises(InputError, match='num_workers is 0'):
        generate_toy_set(tmp_path, TINY, num_workers=0)


def test_failed_video_leaves_nothing(tmp_path):
    path = tmp_path / 'a.mp4'
    with pytest.raises((ValueError, cv2.error)):
        write_video(path, np.zeros((2, 8, 8, 5), np.uint8), 25, 23)
    assert list(tmp_path.iterdir()) == []


def test_tool(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'set'
    options = ['--num-identities', '6', '--frames', '1', '--size', '96', '--methods', 'FaceSwap']
    monkeypatch.setattr(sys, 'argv', ['generate_toy_data.py', str(out), *options])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert stop.value.code == 0
    assert '6 genuine and 6 manipulated videos' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', ['generate_toy_data.py', str(out), '--num-identities', '5'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert stop.value.code == 1
    assert 'give an even number' in capsys.readouterr().err


def test_fake_plan_name():
    assert FakePlan('FaceSwap', 3, 12).name == '003_012'


def test_takes_show_the_same_people_in_other_recordings(toy, tmp_path):
    config = ToyConfig(**{**TINY.to_dict(), 'take': 1})
    other = generate_toy_set(tmp_path / 'set', config, progress=False)
    one, two = files_of(toy), files_of(other)
    assert set(one) == set(two)
    for name in ('train.json', 'val.json', 'test.json'):
        assert one[name].read_bytes() == two[name].read_bytes()
    content = json.loads((other / 'toy.json').read_text())
    assert content['config']['take'] == 1
    entry = content['genuine']['004']
    assert (entry['identity'], entry['pose'], entry['light'], entry['camera']) == (4, 1004, 1004, 1004)
    assert all(one[name].read_bytes() != two[name].read_bytes() for name in one if name.endswith('.mp4'))
    rendered = make_clip(config, Factors(0, *[1000] * 5)).render()
    stored = np.load(two['landmarks/original_sequences/youtube/c23/videos/000.npy'], allow_pickle=False)
    np.testing.assert_array_equal(stored, rendered.landmarks)


def test_take_zero_is_described_as_before():
    assert 'take' not in TINY.to_dict()
    with pytest.raises(InputError, match='take is 1000'):
        ToyConfig(take=1000)
