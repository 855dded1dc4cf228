# SPDX-License-Identifier: Apache-2.0
"""Measure what image formats cost and what they do to the trace of a manipulation."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from iid_mm.errors import InputError
from iid_mm.media.image_reading import decode_image
from iid_mm.media.image_writing import IMAGE_FORMATS, encode_image
from iid_mm.media.suffixes import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import numpy.typing as npt

    from iid_mm.utils.typing import FloatArray, ImageArray

Encoder = Callable[['ImageArray'], bytes]
"""(H, W, 3) uint8 BGR to the bytes of a file that OpenCV can read."""

_STRATEGIES = {
    'default': cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
    'filtered': cv2.IMWRITE_PNG_STRATEGY_FILTERED,
    'huffman': cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
    'rle': cv2.IMWRITE_PNG_STRATEGY_RLE,
}
_CHROMA = {
    '4:4:4': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    '4:2:0': cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


@dataclass(frozen=True)
class Crop:
    """A crop to encode.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        genuine: The genuine crop that it was made from, same shape; None if there is none.
    """

    image: ImageArray
    genuine: ImageArray | None = None


def all_encoders() -> dict[str, Encoder]:
    """The formats that are compared, by name; those that :func:`encode_image` chooses come first."""
    encoders: dict[str, Encoder] = {
        f'{name} (as written)': partial(encode_image, image_format=name) for name in IMAGE_FORMATS
    }
    for level in (1, 3, 6, 9):
        encoders[f'png {level}'] = _opencv('.png', cv2.IMWRITE_PNG_COMPRESSION, level)
    for name, strategy in _STRATEGIES.items():
        options = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, strategy)
        encoders[f'png 1 {name}'] = _opencv('.png', *options)
    # Only newer versions of OpenCV let one choose.
    for name in ('SUB', 'UP', 'AVG', 'PAETH') if hasattr(cv2, 'IMWRITE_PNG_FILTER') else ():
        options = (
            cv2.IMWRITE_PNG_COMPRESSION,
            1,
            cv2.IMWRITE_PNG_FILTER,
            getattr(cv2, f'IMWRITE_PNG_FILTER_{name}'),
        )
        encoders[f'png 1 filter {name.lower()}'] = _opencv('.png', *options)
    encoders['webp lossless, OpenCV'] = _opencv('.webp', cv2.IMWRITE_WEBP_QUALITY, 101)
    for method, effort in ((0, 0), (0, 50), (1, 20), (3, 50), (4, 75), (6, 0)):
        encoders[f'webp lossless, Pillow, method {method}, effort {effort}'] = _pillow_webp(method, effort)
    for quality in (95, 100):
        encoders[f'webp {quality}'] = partial(encode_image, image_format='webp', quality=quality)
    for quality in (95, 98, 100):
        for name, chroma in _CHROMA.items():
            options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chroma)
            encoders[f'jpg {quality} {name}'] = _opencv('.jpg', *options)
    return encoders


def _opencv(suffix: str, *options: int) -> Encoder:
    def encode(image: ImageArray) -> bytes:
        ok, data = cv2.imencode(suffix, image, options)
        if not ok:
            raise OSError(f'cannot encode an image of shape {image.shape} as {suffix}')
        return data.tobytes()

    return encode


def _pillow_webp(method: int, effort: int) -> Encoder:
    def encode(image: ImageArray) -> bytes:
        file = io.BytesIO()
        encoded = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        encoded.save(file, 'WEBP', lossless=True, method=method, quality=effort)
        return file.getvalue()

    return encode


def load_crops(source: Path, count: int, *, split: str | None = None, max_side: int = 0) -> list[Crop]:
    """Load crops spread evenly over a prepared set or a folder of images.

    Args:
        source: ``index.parquet``, of which fakes with a genuine counterpart are taken, or a folder.
        count: How many.
        split: Split of the index; None for all.
        max_side: Larger crops are made smaller to this longest side; 0 leaves them.

    Returns:
        At most ``count`` crops.

    Raises:
        InputError: If there is none.
    """
    pairs = _list_pairs(source, split) if source.is_file() else _list_images(source)
    if not pairs or count < 1:
        raise InputError(
            f'{source}: no crop to measure (a fake with its pair, or an image of {IMAGE_SUFFIXES})'
        )
    spread = np.linspace(0, len(pairs), min(count, len(pairs)), endpoint=False).astype(int)
    crops = []
    for image, genuine in (pairs[number] for number in spread):
        loaded = _load(image, max_side)
        crops.append(Crop(loaded, _load(genuine, max_side) if genuine else None))
    return crops


def _list_pairs(index: Path, split: str | None) -> list[tuple[Path, Path | None]]:
    # Not at the top: the workers of the preparation need neither.
    from iid_mm.datasets.index import read_index, resolve_inside

    table = read_index(index, columns=['image', 'source_image', 'split'])
    return [
        (resolve_inside(index.parent, row['image']), resolve_inside(index.parent, row['source_image']))
        for row in table.to_pylist()
        if row['source_image'] and split in (None, row['split'])
    ]


def _list_images(folder: Path) -> list[tuple[Path, Path | None]]:
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such index or folder')
    return [(path, None) for path in sorted(folder.rglob('*')) if path.suffix.lower() in IMAGE_SUFFIXES]


def _load(path: Path, max_side: int) -> ImageArray:
    image = decode_image(path.read_bytes())
    scale = max_side / max(image.shape[:2]) if max_side else 1.0
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def measure_storage(
    crops: Sequence[Crop], encoders: dict[str, Encoder], *, rounds: int = 3
) -> dict[str, dict[str, float | None]]:
    """Encode and decode crops in every format.

    Args:
        crops: The crops.
        encoders: The formats.
        rounds: Every time is the best of so many.

    Returns:
        For each format: ``bytes``, ``encode_ms`` and ``decode_ms`` (OpenCV, as training does), means over
        the crops; ``psnr`` in dB over all crops, None if nothing changed; ``changed``, the share of pixels
        that changed; ``error_to_trace`` and ``high_error_to_trace`` (:func:`compare_to_trace`, None without
        pairs).
    """
    return {name: _measure(crops, encode, rounds) for name, encode in encoders.items()}


def _measure(crops: Sequence[Crop], encode: Encoder, rounds: int) -> dict[str, float | None]:
    size = encoding = decoding = squares = values = changed = 0.0
    energies = np.zeros(4)
    for crop in crops:
        seconds, data = _best_time(partial(encode, crop.image), rounds)
        encoding += seconds
        size += len(data)
        decode = partial(cv2.imdecode, np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        seconds, decoded = _best_time(decode, rounds)
        decoding += seconds
        error = decoded.astype(np.float32) - crop.image
        squares += float(np.square(error).sum())
        values += error.size
        changed += float(np.any(error != 0, axis=2).mean())
        if crop.genuine is not None:
            energies += compare_to_trace(error, crop.image, crop.genuine)
    error_energy, trace, high_error, high_trace = energies
    return {
        'bytes': size / len(crops),
        'encode_ms': 1e3 * encoding / len(crops),
        'decode_ms': 1e3 * decoding / len(crops),
        'psnr': float(10 * np.log10(255**2 * values / squares)) if squares else None,
        'changed': changed / len(crops),
        'error_to_trace': float(error_energy / trace) if trace else None,
        'high_error_to_trace': float(high_error / high_trace) if high_trace else None,
    }


def _best_time(run: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    best, result = float('inf'), None
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    return best, result


def compare_to_trace(
    error: FloatArray, fake: ImageArray, genuine: ImageArray
) -> tuple[float, float, float, float]:
    """Energies of a coding error and of the trace of a manipulation, where the manipulation is.

    Args:
        error: (H, W, 3) float32, decoded minus original crop.
        fake: (H, W, 3) uint8, the original crop.
        genuine: Its genuine counterpart, same shape.

    Returns:
        Sums of squares over :func:`manipulated`: of the error, of fake minus genuine, and of both without
        what a Gaussian of 1 px keeps (fine structure).
    """
    trace = fake.astype(np.float32) - genuine
    region = manipulated(fake, genuine)

    def energy(values: FloatArray) -> float:
        return float(np.square(values[region]).sum())

    def fine(values: FloatArray) -> FloatArray:
        return values - cv2.GaussianBlur(values, (0, 0), 1.0)

    return energy(error), energy(trace), energy(fine(error)), energy(fine(trace))


def manipulated(fake: ImageArray, genuine: ImageArray) -> npt.NDArray[np.bool_]:
    """Pixels that differ by 10 gray values in a channel, and those within 4 px of one.

    Compression of the videos makes smaller differences all over the image.

    Args:
        fake: (H, W, 3) uint8.
        genuine: The same.

    Returns:
        (H, W) bool.
    """
    differs = (cv2.absdiff(fake, genuine).max(axis=2) >= 10).astype(np.uint8)
    return cv2.dilate(differs, np.ones((9, 9), np.uint8)).astype(bool)
