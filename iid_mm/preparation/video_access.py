# SPDX-License-Identifier: Apache-2.0
"""Videos that are being prepared: opened, their frames chosen and decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from iid_mm.faces.analyzers.base import FaceAnalyzer
from iid_mm.media.readers import FrameReader
from iid_mm.media.sources import SourceOpener
from iid_mm.preparation.records import VideoReport
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.writer import WHOLE_FRAMES, CropWriter
from iid_mm.structures.video_record import FrameSource, VideoRecord
from iid_mm.utils.sampling import evenly_spaced

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray


@dataclass
class OpenVideo:
    """A video that is being prepared, with the numbers of the frames that are wanted."""

    record: VideoRecord
    reader: FrameReader
    report: VideoReport
    numbers: list[int]


class VideoAccess:
    """Opens videos and decodes their frames.

    Args:
        settings: Number of frames, and whether whole frames are stored.
        analyzer: Says which videos it cannot work on.
        opener: Opens the frames.
        writer: Writes whole frames.

    Attributes:
        seconds: Time spent on decoding so far.
        analyzed: Frames decoded for the analyzer so far.
    """

    def __init__(
        self, settings: Settings, analyzer: FaceAnalyzer, opener: SourceOpener, writer: CropWriter
    ) -> None:
        self.settings = settings
        self.analyzer = analyzer
        self.opener = opener
        self.writer = writer
        self.seconds = 0.0
        self.analyzed = 0

    def open(self, record: VideoRecord) -> OpenVideo:
        """Open a video and delete what an interrupted run left of it; one without frames has no numbers."""
        self.writer.clear(record.key)
        report = VideoReport(record.key, record.method, record.split, record.label)
        reader = self.open_source(record.source)
        numbers = list(reader.numbers)
        report.total = len(numbers)
        report.asked = self.settings.frames
        if reader.problem:
            report.problems.append(reader.problem)
        if problem := self.analyzer.check_video(record):
            report.problems.append(problem)
            numbers = []
        return OpenVideo(record, reader, report, numbers)

    def open_source(self, source: FrameSource) -> FrameReader:
        """Open the frames of a video or mask."""
        start = perf_counter()
        reader = self.opener.open(source)
        self.seconds += perf_counter() - start
        return reader

    def choose_numbers(self, genuine: OpenVideo | None, fakes: Sequence[OpenVideo]) -> None:
        """Choose evenly spaced frames; of a fake first those that its genuine video has, too."""
        there = set(genuine.numbers) if genuine else set()
        for video in [*([genuine] if genuine else []), *fakes]:
            common = [number for number in video.numbers if number in there]
            others = [number for number in video.numbers if number not in there]
            chosen = [common[i] for i in evenly_spaced(len(common), self.settings.frames)]
            free = self.settings.frames - len(chosen)
            if free and others:
                chosen += [others[i] for i in evenly_spaced(len(others), free)]
            video.numbers = sorted(chosen)
            video.report.asked = len(video.numbers)

    def read(
        self, video: OpenVideo, numbers: Sequence[int], *, keep: bool = False
    ) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames of a video; ``keep`` writes them whole if the settings ask for it."""
        for number, image in self.read_timed(video.reader, numbers):
            if keep and self.settings.keep_frames:
                self.writer.write(image, WHOLE_FRAMES, video.record.key, number)
            self.analyzed += keep
            yield number, image
        if problem := video.reader.problem:
            known = [text for text in video.report.problems if text not in problem]
            video.report.problems = [*known, problem]

    def read_timed(self, reader: FrameReader, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames; their number and image."""
        frames = reader.read(numbers)
        while True:
            start = perf_counter()
            item = next(frames, None)
            self.seconds += perf_counter() - start
            if item is None:
                return
            yield item
