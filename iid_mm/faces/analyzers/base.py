# SPDX-License-Identifier: Apache-2.0
"""Interface of face analyzers."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from iid_mm.structures.video_record import VideoRecord
    from iid_mm.utils.typing import BoxesArray, ImageArray, PointsArray

Detection = tuple['BoxesArray', float]
"""(4,) box and score."""


@dataclass(frozen=True)
class AnalyzerOptions:
    """Options to build an analyzer.

    Attributes:
        name: One of :data:`iid_mm.faces.analyzers.ANALYZERS`.
        model_dir: Folder of the models, for analyzers whose models do not come with their package; None
            takes the default folder.
        device: ``auto``, ``cpu`` or ``cuda``; ``auto`` uses the GPU if the analyzer can.
        max_faces: Maximum number of faces per image, those with the best scores; None for all.
    """

    name: str = 'mediapipe'
    model_dir: Path | None = None
    device: str = 'auto'
    max_faces: int | None = None


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Attributes:
        box: (4,) float32 box x0, y0, x1, y1 in pixels; what the box covers depends on the analyzer.
        score: Confidence of the detector in [0, 1]; 0 if the detector was skipped.
        landmarks: (K, 2) float32 iBUG points in pixels, K 68 or 81.
    """

    box: BoxesArray
    score: float
    landmarks: PointsArray


@dataclass(frozen=True)
class FrameRef:
    """The frame that an image shows.

    Attributes:
        record: The video.
        frame: Its number in the video.
    """

    record: VideoRecord
    frame: int


class FaceAnalyzer(ABC):
    """Finds faces and their landmarks.

    The result for an image depends only on the arguments of the call, so that the order of videos does not
    matter.

    Attributes:
        searches: Whether faces are searched for in the image, so that a second, harder search may find more.
        seconds: Time spent so far in each stage, e.g. ``detection`` and ``landmarks``.
    """

    searches: ClassVar[bool] = True

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._problems: list[str] = []

    @abstractmethod
    def analyze(
        self,
        image: ImageArray,
        hint_box: BoxesArray | None = None,
        *,
        where: FrameRef | None = None,
    ) -> list[Face]:
        """Find faces.

        Args:
            image: (H, W, 3) uint8 BGR.
            hint_box: (4,) box of a face that this analyzer found in a frame with the same scene. Only the
                face there is returned then. The whole image is not searched, but the place is searched
                harder: with several margins, enlarged, and with a lower threshold.
            where: The frame that the image shows, for analyzers that look results up.

        Returns:
            The faces, best first; empty if there is none.
        """

    def analyze_all(self, image: ImageArray) -> list[Face]:
        """Find faces, also small ones beside large ones, at a higher cost.

        The default is :meth:`analyze`.

        Args:
            image: (H, W, 3) uint8 BGR.
        """
        return self.analyze(image)

    def check_video(self, record: VideoRecord) -> str:
        """Reason why no frame of a video can be analyzed; empty if there is none."""
        return ''

    def limit(self, detections: list[Detection], max_faces: int | None) -> list[Detection]:
        """The first ``max_faces`` detections, or all; notes a problem if some are left out."""
        if max_faces is None or len(detections) <= max_faces:
            return detections
        self._problems.append(f'{len(detections)} faces found, {max_faces} analyzed')
        return detections[:max_faces]

    def take_problems(self) -> str:
        """Problems with single frames since the last call; empty if there were none."""
        problems, self._problems = list(dict.fromkeys(self._problems)), []
        if not problems:
            return ''
        return problems[0] + (f' (and {len(problems) - 1} more like that)' if problems[1:] else '')

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[stage]``."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what libraries write to the standard error of the process, bypassing Python's ``sys.stderr``.

    They write before their logging can be configured. The environment variable ``IID_DEBUG=1`` keeps it.
    """
    if os.environ.get('IID_DEBUG') == '1':
        yield
        return
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(sink)
        os.close(kept)
