# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from iid_mm.errors import InputError
from iid_mm.preparation.checking import image_checks
from iid_mm.preparation.checking.image_checks import decode_set
from iid_mm.preparation.checking.image_decoding import GOOD, ImageJob, check_images, read_image, start_worker
from iid_mm.preparation.checking.prepared_set import load_set


@pytest.fixture
def good(tiny):
    tiny.pair('000', '003', 'train')
    tiny.pair('001', '004', 'test')
    return tiny


def kinds(result):
    return {
        f.check: (f.severity, f.count) for f in result.findings if f.check != 'fewer-videos-than-official'
    }


def test_results_of_good_images(good):
    prepared = load_set(good.write())
    results, problems = decode_set(prepared, progress=False)
    assert problems == []
    assert results['row'].tolist() == list(range(8))
    assert set(results['image'].tolist()) == {GOOD}
    assert results['size'].tolist() == [[40, 40]] * 8
    # Sorted by key, the four fakes come first; each is compared with its own genuine frame.
    assert np.isfinite(results['difference']).tolist() == [True] * 4 + [False] * 4
    for row in range(4):
        image, pair = (
            cv2.imread(str(good.root / prepared.texts(name, [row])[0])).astype(float)
            for name in ('image', 'source_image')
        )
        assert results['difference'][row] == pytest.approx(np.abs(image - pair).mean(), rel=1e-6)


def test_processes_give_the_same(good, monkeypatch):
    monkeypatch.setattr(image_checks, 'FEW_IMAGES', 0)
    monkeypatch.setattr(image_checks, 'CHUNK', 3)
    (good.root / good.rows[0]['image']).unlink()
    prepared = load_set(good.write())
    alone = decode_set(prepared, digests=True, num_workers=0, progress=False)
    together = decode_set(prepared, digests=True, num_workers=2, progress=False)
    for name in alone[0].dtype.names:
        np.testing.assert_array_equal(alone[0][name], together[0][name])
    assert {(p.row, p.role) for p in alone[1]} == {(p.row, p.role) for p in together[1]}


def test_a_sample_is_evenly_chosen(good, check):
    prepared = load_set(good.write())
    # Rows 0 to 3 are fakes, 4 to 7 their genuine frames; in the order of work each genuine frame comes
    # before its fake: 4 0 5 1 6 2 7 3. The first, the middle (rounded to even) and the last are taken.
    assert decode_set(prepared, sample=3, progress=False)[0]['row'].tolist() == [3, 4, 6]
    assert check(good.root, sample=3).decoded == 3
    assert check(good.root, sample=100).decoded == 8
    assert check(good.root, images=False).decoded == 0


def test_missing_image_and_missing_pair(good, check):
    (good.root / good.path('youtube', '000', 0)).unlink()
    result = check(good.write())
    found = kinds(result)
    assert found == {'missing-image': ('error', 1), 'missing-pair-image': ('error', 1)}
    assert result.failed()
    finding = next(f for f in result.findings if f.check == 'missing-image')
    assert finding.examples == ('frames/ffpp/youtube/c23/000/00000.png: there is no such file',)
    assert kinds(check(good.root, images=False)) == {}


def broken_bytes(kind: str) -> bytes:
    image = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8), (40, 40))
    if kind == 'empty':
        return b''
    if kind == 'text':
        return b'this is no image'
    suffix = {'half jpeg': '.jpg', 'half webp': '.webp'}.get(kind, '.png')
    data = cv2.imencode(suffix, image)[1].tobytes()
    return data[: len(data) // 2]


@pytest.mark.parametrize('kind', ['empty', 'text', 'half png', 'half jpeg', 'half webp'])
def test_unreadable_image(good, check, kind):
    (good.root / good.path('Deepfakes', '000_003', 1)).write_bytes(broken_bytes(kind))
    assert kinds(check(good.write())) == {'unreadable-image': ('error', 1)}


def test_folder_pipe_and_forbidden_sizes_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match='not a regular file'):
        read_image(str(tmp_path))
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(InputError, match='not a regular file'):
        read_image(str(tmp_path / 'pipe.png'))
    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack('>I', 13) + b'IHDR' + header + struct.pack('>I', zlib.crc32(b'IHDR' + header))
    end = struct.pack('>I', 0) + b'IEND' + struct.pack('>I', zlib.crc32(b'IEND'))
    (tmp_path / 'huge.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunk + end)
    with pytest.raises(InputError, match=r'pixels|not a readable image'):
        read_image(str(tmp_path / 'huge.png'))
    monkeypatch.setattr('iid_mm.preparation.checking.image_decoding.MAX_BYTES', 3)
    with pytest.raises(InputError, match='bytes'):
        read_image(str(tmp_path / 'huge.png'))
    with pytest.raises(FileNotFoundError):
        read_image(str(tmp_path / 'nothing.png'))


def test_masks(good, check):
    fake = next(row for row in good.rows if row['label'])
    fake['mask'] = 'masks/0.png'
    assert kinds(check(good.write())) == {'missing-mask': ('error', 1)}
    good.draw('masks/0.png', np.zeros((40, 39), np.uint8))
    assert kinds(check(good.root)) == {'mask-of-other-size': ('error', 1)}
    good.draw('masks/0.png', np.zeros((40, 40), np.uint8))
    assert kinds(check(good.root)) == {}
    (good.root / 'masks/0.png').write_bytes(b'x')
    assert kinds(check(good.root)) == {'unreadable-mask': ('error', 1)}


def test_pair_of_another_size(good, check):
    name = good.path('Deepfakes', '000_003', 0)
    good.draw(name, cv2.resize(cv2.imread(str(good.root / name)), (40, 44)))
    assert kinds(check(good.write())) == {'pair-of-other-size': ('error', 1)}


def test_blank_and_colorless_images(good, check):
    good.draw(good.path('youtube', '000', 0), np.full((40, 40, 3), 128, np.uint8))
    image = cv2.imread(str(good.root / good.path('youtube', '001', 0)))
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    good.draw(good.path('youtube', '001', 0), gray)
    found = kinds(check(good.write()))
    assert found['blank-image'] == ('error', 1)
    assert found['colorless-image'] == ('note', 1)


def test_fakes_equal_to_their_genuine_frame(good, check):
    for frame in (0, 1):
        image = cv2.imread(str(good.root / good.path('youtube', '000', frame)))
        good.draw(good.path('Deepfakes', '000_003', frame), image)
    (finding,) = [f for f in check(good.write()).findings if f.check == 'fake-equals-genuine']
    assert (finding.severity, finding.count) == ('warning', 2)
    assert finding.where.endswith(': ffpp/Deepfakes/c23')
    assert finding.message.startswith('2 of 4 fake frames equal to the genuine frame')
    # A mouth of 4 x 2 pixels that differs is a manipulation.
    image[28:30, 18:22] += 30
    good.draw(good.path('Deepfakes', '000_003', 1), image)
    assert kinds(check(good.root))['fake-equals-genuine'] == ('warning', 1)


def test_pair_of_another_scene(good, check):
    name = good.path('Deepfakes', '000_003', 0)
    pair = cv2.imread(str(good.root / good.path('youtube', '000', 0)))
    good.draw(name, np.where(pair > 127, pair - 60, pair + 60).astype(np.uint8))
    assert kinds(check(good.write()))['pair-of-other-scene'] == ('warning', 1)


def test_copies_in_other_splits(good, check):
    copied = (good.root / good.path('youtube', '000', 0)).read_bytes()
    (good.root / good.path('youtube', '001', 1)).write_bytes(copied)
    assert 'copy-in-two-splits' not in kinds(check(good.write()))
    result = check(good.root, deep=True)
    (finding,) = [f for f in result.findings if f.check == 'copy-in-two-splits']
    assert (finding.severity, finding.count) == ('error', 1)
    assert good.path('youtube', '000', 0) in finding.examples[0]
    assert '(train)' in finding.examples[0]
    assert '(test)' in finding.examples[0]


def test_copies_in_one_split(good, check):
    copied = (good.root / good.path('youtube', '000', 0)).read_bytes()
    # A frozen video is no leak; a fake that is a copy has the wrong label.
    (good.root / good.path('youtube', '000', 1)).write_bytes(copied)
    assert kinds(check(good.write(), deep=True)) == {}
    (good.root / good.path('Deepfakes', '000_003', 1)).write_bytes(copied)
    assert kinds(check(good.root, deep=True))['copy-with-both-labels'] == ('warning', 1)


def test_copies_in_two_indexes(good, make_tiny, check):
    other = make_tiny('other', dataset='mine')
    other.video('real', 'a', 'test')
    other.video('swap', 'b', 'test', fake=True)
    copied = (good.root / good.path('youtube', '000', 0)).read_bytes()
    (other.root / other.path('real', 'a', 0)).write_bytes(copied)
    result = check(good.write(), other.write(), deep=True)
    assert kinds(result)['copy-in-two-splits'] == ('error', 1)


def test_a_pair_is_decoded_once(good, monkeypatch):
    """The genuine frame and five fakes of it are six images, not eleven."""
    good.write()
    opened = []

    def read(path):
        opened.append(path)
        return read_image(path)

    monkeypatch.setattr('iid_mm.preparation.checking.image_decoding.read_image', read)
    genuine, fake = (
        str(good.root / good.path(*v, 0)) for v in (('youtube', '000'), ('Deepfakes', '000_003'))
    )
    jobs = [ImageJob(0, genuine, None, None), *(ImageJob(n, fake, genuine, None) for n in range(1, 6))]
    check_images(jobs, False)
    assert opened.count(genuine) == 1


def test_worker_start_is_harmless():
    threads = cv2.getNumThreads()
    try:
        start_worker()
    finally:
        cv2.setNumThreads(threads)
        cv2.setLogLevel(3)
