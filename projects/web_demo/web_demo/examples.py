# SPDX-License-Identifier: Apache-2.0
"""Examples for visitors: generated people, who do not exist."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from mmengine.logging import MMLogger

from iid_mm.media.video_reader import VideoReader
from iid_mm.toy import ToyConfig, generate_toy_set

TOY = ToyConfig(
    num_identities=2,
    frames=24,
    size=288,
    methods=('FaceSwap',),
    split_fractions=(1.0, 0.0, 0.0),
    strength=1.5,
)
_GENUINE = 'original_sequences/youtube/c23/videos/000.mp4'
_FAKE = 'manipulated_sequences/FaceSwap/c23/videos/000_001.mp4'


@dataclass(frozen=True)
class Example:
    """An example.

    Attributes:
        name: Name of the file, for display.
        words: Short description.
        path: The file.
        thumbnail: JPEG for the button.
    """

    name: str
    words: str
    path: Path
    thumbnail: bytes


class Examples:
    """Generates examples in its own thread, which takes seconds.

    Args:
        folder: Output folder.
        config: Config of the generator; None: no examples.
    """

    def __init__(self, folder: Path, config: ToyConfig | None = TOY) -> None:
        self.folder = folder
        self.config = config
        self._found: Sequence[Example] = ()
        self._thread = threading.Thread(target=self._make, name='examples', daemon=True)
        if config is not None:
            self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether all examples are complete."""
        return not self._thread.is_alive()

    def all(self) -> Sequence[Example]:
        """The complete examples."""
        return self._found

    def close(self) -> None:
        """Wait until the generator has ended."""
        if self.config is not None:
            self._thread.join()

    def _make(self) -> None:
        try:
            root = generate_toy_set(self.folder, self.config, progress=False)
            genuine, fake = _middle(root / _GENUINE), _middle(root / _FAKE)
            still = root / 'swapped.jpg'
            still.write_bytes(fake)
        except OSError as error:
            MMLogger.get_current_instance().warning('no examples: %s', error)
            return
        self._found = (
            Example('example_untouched.mp4', 'untouched video', root / _GENUINE, genuine),
            Example('example_face_swap.mp4', 'face swap, video', root / _FAKE, fake),
            Example('example_face_swap.jpg', 'face swap, image', still, fake),
        )


def _middle(path: Path) -> bytes:
    reader = VideoReader(path)
    ((_, image),) = reader.read([reader.count // 2])
    return bytes(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1])
