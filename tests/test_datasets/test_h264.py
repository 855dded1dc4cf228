# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.codec import UnknownCodecError

from iid_mm.datasets.functional import h264
from iid_mm.datasets.functional.distortion import LEVELS, psnr, strength
from iid_mm.errors import InputError
from iid_mm.utils.typing import ImageArray
from support.media import write_video


def moving(photo: ImageArray, count: int) -> list[ImageArray]:
    return [np.roll(photo, 2 * number, axis=1) for number in range(count)]


@pytest.mark.parametrize('size', [(64, 48), (63, 47), (2, 2), (1, 1), (18, 30)])
@pytest.mark.parametrize('count', [1, 2, 60])
def test_as_many_frames_of_the_same_size(size: tuple[int, int], count: int) -> None:
    """Sizes that are odd and no multiples of 16; more frames than the encoder looks ahead."""
    frames = [np.full((size[1], size[0], 3), 4 * number, np.uint8) for number in range(count)]
    found = list(h264.recompress(frames, 20))
    assert [image.shape for image in found] == [image.shape for image in frames]
    # In order: frames brighten by 4.
    assert [float(image.mean()) for image in found] == pytest.approx([4 * n for n in range(count)], abs=1.9)


def test_nothing_in_nothing_out() -> None:
    assert list(h264.recompress([], 30)) == []
    assert h264.recompress_crops([], 30) == []


def test_damage_grows_with_the_level(photo: ImageArray) -> None:
    frames = moving(photo, 12)
    likeness = []
    for level in LEVELS:
        found = h264.recompress(frames, strength('video_compression', level))
        likeness.append(np.mean([psnr(a, b) for a, b in zip(frames, found, strict=True)]))
    assert all(b < a for a, b in pairwise(likeness)), likeness


def test_lossless_leaves_color_conversion_only(photo: ImageArray) -> None:
    """Gray images have no chroma to subsample."""
    gray = np.repeat(photo[..., :1], 3, axis=2)
    (found,) = h264.recompress([gray], 0)
    assert np.abs(found.astype(int) - gray).max() <= 1


def test_like_ffmpeg(photo: ImageArray, tmp_path: Path) -> None:
    """Independent path: a file that the library's container writer encodes with the same CRF."""
    frames = moving(photo, 30)
    path = write_video(tmp_path / 'a.mp4', frames, crf=35)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format='bgr24') for frame in container.decode(video=0)]
    ours = list(h264.recompress(frames, 35))
    theirs = np.mean([psnr(a, b) for a, b in zip(frames, expected, strict=True)])
    assert np.mean([psnr(a, b) for a, b in zip(frames, ours, strict=True)]) == pytest.approx(theirs, abs=0.5)


def test_settings_are_ffmpegs_defaults(photo: ImageArray, monkeypatch: pytest.MonkeyPatch) -> None:
    """x264 writes its settings into the stream."""
    packets = []

    def spy(decoder: Any, given: Any) -> Any:
        given = list(given)
        packets.extend(packet for packet in given if packet is not None)
        return original(decoder, given)

    original = h264._decode
    monkeypatch.setattr(h264, '_decode', spy)
    list(h264.recompress([photo] * 3, 38))
    text = re.search(rb'options: [^\x00]*', b''.join(map(bytes, packets)))
    assert text is not None
    for part in (b'keyint=250', b'bframes=3', b'ref=3', b'subme=7', b'rc=crf', b'crf=38.0', b'threads=1 '):
        assert part in text[0]


def test_twice_the_same_bits(photo: ImageArray) -> None:
    first, second = (h264.recompress_crops(moving(photo, 4), 35) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_frames_of_several_sizes(photo: ImageArray) -> None:
    with pytest.raises(InputError, match=r'frame 1 is \(95, 128\) \(h, w\), the first one is \(96, 128\)'):
        list(h264.recompress([photo, photo[1:]], 30))


class TestCrops:
    def test_sizes_and_places_stay(self, photo: ImageArray) -> None:
        # Gray: without colors nothing is subsampled.
        gray = np.repeat(photo[..., :1], 3, axis=2)
        crops = [gray, gray[:61, :77], gray[10:44, 20:63], gray[:1, :1]]
        found = h264.recompress_crops(crops, 20)
        assert [crop.shape for crop in found] == [crop.shape for crop in crops]
        assert all(crop.flags['C_CONTIGUOUS'] for crop in found)
        for crop, image in zip(crops[:3], found, strict=False):
            shifted = max(psnr(crop, np.roll(image, step, axis)) for step in (-1, 1) for axis in (0, 1))
            assert psnr(crop, image) > shifted + 6

    @pytest.mark.parametrize('hold', [1, 2, 5])
    def test_each_gets_its_own_picture(self, hold: int) -> None:
        crops = [np.full((20, 30, 3), 20 * number, np.uint8) for number in range(1, 12)]
        found = h264.recompress_crops(crops, 30, hold)
        means = [round(float(crop.mean()) / 20) for crop in found]
        assert means == list(range(1, 12))

    def test_longer_hold_keeps_more(self, photo: ImageArray) -> None:
        """Why each crop is held: alone it gets too few bits."""
        crops = [np.roll(photo, 17 * number, axis=(0, 1)) for number in range(6)]
        once, held = (
            np.mean([psnr(a, b) for a, b in zip(crops, h264.recompress_crops(crops, 35, hold), strict=True)])
            for hold in (1, h264.HOLD)
        )
        assert held > once + 0.3


def test_build_without_the_encoder(monkeypatch: pytest.MonkeyPatch, photo: ImageArray) -> None:
    def absent(name: str, mode: str) -> None:
        raise UnknownCodecError(name)

    monkeypatch.setattr(h264.av.codec, 'Codec', absent)
    with pytest.raises(InputError, match='needs PyAV with the encoder libx264'):
        list(h264.recompress([photo], 30))
