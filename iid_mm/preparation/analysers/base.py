# SPDX-License-Identifier: Apache-2.0
"""The interface of face analysers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Attributes:
        box: (4,) float32 box x0, y0, x1, y1 in pixels; what the box covers depends on the analyser.
        score: Confidence of the detector in [0, 1]; 0 if the detector was not asked.
        landmarks: (K, 2) float32 iBUG points in pixels, K 68 or 81.
    """

    box: BoxesArray
    score: float
    landmarks: PointsArray


@dataclass(frozen=True)
class FrameRef:
    """Which frame an image is.

    Attributes:
        video: Path of the video.
        frame: Frame number, from 0.
    """

    video: Path
    frame: int


class FaceAnalyser(ABC):
    """Finds faces and their landmarks.

    The result for an image depends on the arguments of the call only, not on earlier calls, so that
    the order in which videos are worked on does not matter.

    Attributes:
        seconds: Time spent so far in each stage, e.g. ``detection`` and ``landmarks``.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @abstractmethod
    def analyse(
        self,
        image: ImageArray,
        hint_box: BoxesArray | None = None,
        *,
        where: FrameRef | None = None,
    ) -> list[Face]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 BGR.
            hint_box: (4,) box of a face that this analyser found in a frame with the same scene.
                Only the face there is returned then, without a search of the whole image.
            where: Which frame the image is, for analysers that look results up.

        Returns:
            The faces, best first; empty if there is none.
        """

    def check_video(self, video: Path) -> str:
        """Say why no frame of a video can be analysed; empty if they can be."""
        return ''

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[stage]``."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start
