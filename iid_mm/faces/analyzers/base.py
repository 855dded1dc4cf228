# SPDX-License-Identifier: Apache-2.0
"""The interface of face analyzers."""

from __future__ import annotations

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
"""A (4,) box and its score."""


@dataclass(frozen=True)
class AnalyzerOptions:
    """Which analyzer and how it runs.

    Attributes:
        name: One of :data:`iid_mm.faces.analyzers.ANALYZERS`.
        model_dir: Folder of the models, for analyzers whose models do not come with their package; None
            takes the usual place.
        device: ``auto``, ``cpu`` or ``cuda``; ``auto`` takes the GPU where the analyzer can.
        max_faces: How many faces of an image are analyzed, by score; None analyzes all.
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
        record: The video.
        frame: Frame number in it.
    """

    record: VideoRecord
    frame: int


class FaceAnalyzer(ABC):
    """Finds faces and their landmarks.

    The result for an image depends on the arguments of the call only, not on earlier calls, so that
    the order in which videos are worked on does not matter.

    Attributes:
        searches: Whether the faces are searched in the image, so that another look may find more.
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
            hint_box: (4,) box of a face that this analyzer found in a frame with the same scene.
                Only the face there is returned then; the whole image is not searched, but the place is
                searched harder: with several margins, and enlarged.
            where: Which frame the image is, for analyzers that look results up.

        Returns:
            The faces, best first; empty if there is none.
        """

    def analyze_all(self, image: ImageArray) -> list[Face]:
        """Find faces, small ones beside large ones too, at a higher cost.

        Like :meth:`analyze` where it is not overridden.

        Args:
            image: (H, W, 3) uint8 BGR.
        """
        return self.analyze(image)

    def check_video(self, record: VideoRecord) -> str:
        """Say why no frame of a video can be analyzed; empty if they can be."""
        return ''

    def limit(self, detections: list[Detection], max_faces: int | None) -> list[Detection]:
        """The first ``max_faces`` detections, or all; :meth:`take_problems` tells of those left out."""
        if max_faces is None or len(detections) <= max_faces:
            return detections
        self._problems.append(f'{len(detections)} faces found, {max_faces} analyzed')
        return detections[:max_faces]

    def take_problems(self) -> str:
        """Say what was wrong with single frames since the last call; empty if nothing was."""
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
