# SPDX-License-Identifier: Apache-2.0
"""A tiny FaceForensics++ tree: 64 x 48 px videos and landmarks whose crops can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np

SIZE = (64, 48)
IMAGE = np.zeros((48, 64, 3), np.uint8)


def write_video(path: Path, count: int, *, size=SIZE, codec='libx264', options=None) -> None:
    """Write a video; frame t is gray with value 20 + 8 t (mod 200)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options={'crf': '10', **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = 'yuv420p'
        if codec != 'libx264':
            stream.bit_rate = 5_000_000
        for number in range(count):
            image = np.full((size[1], size[0], 3), 20 + 8 * number % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode())


def face_points(left: float, top: float, side: float = 20.0) -> np.ndarray:
    """68 points whose bounding box is a square."""
    points = np.full((68, 2), 0.5)
    points[0], points[1] = (0, 0), (1, 1)
    return (points * side + (left, top)).astype(np.float32)


class TinyFFPP:
    """Writes a tree; videos get landmarks that move one pixel to the right each frame."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def splits(self, folder: str = '.', **pairs) -> None:
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        for split in ('train', 'val', 'test'):
            (path / f'{split}.json').write_text(json.dumps(pairs.get(split, [])))

    def path(self, method: str, name: str, compression: str = 'c23') -> Path:
        kind = 'original' if method == 'youtube' else 'manipulated'
        return self.root / f'{kind}_sequences' / method / compression / 'videos' / f'{name}.mp4'

    def landmarks_path(self, method: str, name: str) -> Path:
        video = self.path(method, name)
        return (self.root / 'landmarks' / video.relative_to(self.root)).with_suffix('.npy')

    def video(self, method: str, name: str, count: int = 12, shift: float = 0.0, **kwargs) -> Path:
        path = self.path(method, name)
        write_video(path, count, **kwargs)
        table = np.stack([face_points(10 + t + shift, 14) for t in range(count)])
        side_file = self.landmarks_path(method, name)
        side_file.parent.mkdir(parents=True, exist_ok=True)
        np.save(side_file, table)
        return path
