# SPDX-License-Identifier: Apache-2.0
"""Preparation of one group: a genuine video and its fakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from iid_mm.preparation.analysers.base import Face, FaceAnalyser, FrameRef
from iid_mm.preparation.cropping import Window, crop_image, crop_points, crop_window, face_box
from iid_mm.preparation.records import VideoGroup, VideoRecord
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.storage import crop_path, write_image
from iid_mm.preparation.tracking import select_track
from iid_mm.preparation.video import VideoReader, evenly_spaced

if TYPE_CHECKING:
    from iid_mm.utils.typing import BoxesArray, ImageArray, Size


@dataclass
class VideoReport:
    """How a video went.

    Attributes:
        key: Video key.
        method: Its method.
        split: Its split.
        label: 0 = genuine, 1 = fake.
        total: Frames in the video.
        asked: Frames that were wanted as samples; of an unreadable video all that could have been.
        found: Frames that became samples.
        paired: Samples with a genuine counterpart.
        masks: Samples with a mask.
        problems: What went wrong, in words.
    """

    key: str
    method: str
    split: str
    label: int
    total: int = 0
    asked: int = 0
    found: int = 0
    paired: int = 0
    masks: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class GroupResult:
    """What came out of a group.

    Attributes:
        name: Name of the group.
        rows: Rows of the index.
        videos: One report a video.
        seconds: Time spent in each stage.
    """

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    videos: list[VideoReport] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """All but the rows, as plain data."""
        return {
            'name': self.name,
            'videos': [asdict(video) for video in self.videos],
            'seconds': {stage: round(value, 4) for stage, value in sorted(self.seconds.items())},
        }


@dataclass(frozen=True)
class _Lead:
    """A genuine frame that fakes follow."""

    image: str
    size: Size
    window: Window
    box: BoxesArray
    score: float


class GroupProcessor:
    """Turns groups into crops and rows.

    Genuine frames are analysed first; a fake takes the crop window of its genuine frame, and the
    face is looked for where the genuine one was, so that both show the same face in the same place.
    Windows are not smoothed over time: the frames of a video lie far apart, a smoothed window would
    lag behind a moving head, and alignment by the landmarks takes the jitter out later.

    Memory: the wanted frames of one genuine video are held until its faces are chosen; fakes are
    worked on frame by frame.

    Args:
        settings: What to write.
        analyser: Finds the faces.
        out_dir: The prepared folder.
    """

    def __init__(self, settings: Settings, analyser: FaceAnalyser, out_dir: Path) -> None:
        self.settings = settings
        self.analyser = analyser
        self.out_dir = out_dir
        self._seconds: dict[str, float] = {}

    def process(self, group: VideoGroup) -> GroupResult:
        """Prepare one group.

        Args:
            group: The videos.

        Returns:
            Rows, reports and times; videos that are broken give fewer rows and a problem.
        """
        self._seconds = {'decode': 0.0, 'write': 0.0}
        self.analyser.seconds.clear()
        result = GroupResult(group.name)
        readers = {record.key: self._open(record, result) for record in group.records}
        reports = {video.key: video for video in result.videos}
        genuine = group.genuine if group.genuine and readers[group.name].count else None
        numbers = self._choose_numbers(group, genuine, readers)
        leads: dict[int, _Lead] = {}
        if genuine:
            union = sorted({n for chosen in numbers.values() for n in chosen})
            leads, rows = self._process_lead(
                genuine, readers[genuine.key], union, numbers[genuine.key], reports[genuine.key]
            )
            result.rows.extend(rows)
        for fake in group.fakes:
            reader, report, chosen = readers[fake.key], reports[fake.key], numbers[fake.key]
            if not reader.count:
                continue
            if genuine:
                rows = self._process_fake(fake, reader, chosen, leads, report)
            else:
                report.problems.append('its genuine video is missing or unusable: stored without pairs')
                rows = self._process_unpaired(fake, reader, chosen, report)
            result.rows.extend(rows)
        result.seconds = {**self._seconds, **self.analyser.seconds}
        return result

    def _open(self, record: VideoRecord, result: GroupResult) -> VideoReader:
        report = VideoReport(record.key, record.method, record.split, record.label)
        start = perf_counter()
        reader = VideoReader(record.path)
        self._seconds['decode'] += perf_counter() - start
        report.total = reader.count
        if reader.problem:
            report.problems.append(reader.problem)
        if problem := self.analyser.check_video(record.path):
            report.problems.append(problem)
            reader.count = 0
        if not reader.count:
            report.asked = self.settings.frames
        result.videos.append(report)
        return reader

    def _choose_numbers(
        self, group: VideoGroup, genuine: VideoRecord | None, readers: dict[str, VideoReader]
    ) -> dict[str, list[int]]:
        """Frame numbers of each video; those of a fake lie within its genuine video."""
        limit = readers[genuine.key].count if genuine else None
        numbers = {}
        for record in group.records:
            count = readers[record.key].count
            if limit is not None:
                count = min(count, limit)
            numbers[record.key] = evenly_spaced(count, self.settings.frames)
        return numbers

    def _read(self, reader: VideoReader, numbers: Sequence[int]) -> Any:
        """Decode with the time taken; problems that come up are the caller's to collect."""
        frames = reader.read(numbers)
        while True:
            start = perf_counter()
            item = next(frames, None)
            self._seconds['decode'] += perf_counter() - start
            if item is None:
                return
            yield item

    def _process_lead(
        self,
        record: VideoRecord,
        reader: VideoReader,
        numbers: Sequence[int],
        samples: Sequence[int],
        report: VideoReport,
    ) -> tuple[dict[int, _Lead], list[dict[str, Any]]]:
        """Analyse a video on its own and write its crops.

        Args:
            record: The video.
            reader: Its reader.
            numbers: Frames to write.
            samples: Those of them that become rows; the others serve as pairs only.
            report: Takes the outcome.

        Returns:
            What fakes need to follow, by frame number, and the rows.
        """
        report.asked = len(samples)
        images = dict(self._read(reader, numbers))
        faces = self._find_track(record, images)
        leads: dict[int, _Lead] = {}
        rows = []
        for number, face in faces.items():
            size = (images[number].shape[1], images[number].shape[0])
            window = crop_window(face_box(face.landmarks), size, self.settings.margin)
            if window is None:
                continue
            path = self._write(images[number], window, 'frames', record.key, number)
            leads[number] = _Lead(path, size, window, face.box, face.score)
            if number in samples:
                rows.append(self._row(record, number, face, window, path))
        self._close(reader, report, len(rows), set(images) & set(samples))
        return leads, rows

    def _find_track(self, record: VideoRecord, images: dict[int, ImageArray]) -> dict[int, Face]:
        """The face that runs through a video, by frame number."""
        numbers = sorted(images)
        found = [
            self.analyser.analyse(images[number], where=FrameRef(record.path, number)) for number in numbers
        ]
        faces = {n: face for n, face in zip(numbers, select_track(found), strict=True) if face}
        known = sorted(faces)
        for number in numbers:
            if number in faces or not known:
                continue
            # A face the detector missed is probably where it is in the nearest frame.
            nearest = min(known, key=lambda other: (abs(other - number), other))
            retry = self.analyser.analyse(
                images[number], faces[nearest].box, where=FrameRef(record.path, number)
            )
            if retry:
                faces[number] = retry[0]
        return faces

    def _process_fake(
        self,
        record: VideoRecord,
        reader: VideoReader,
        numbers: Sequence[int],
        leads: dict[int, _Lead],
        report: VideoReport,
    ) -> list[dict[str, Any]]:
        """Write the crops of a fake in the windows of its genuine video."""
        report.asked = len(numbers)
        rows = []
        decoded = set()
        for number, image in self._read(reader, numbers):
            decoded.add(number)
            lead = leads.get(number)
            if lead is None:
                continue
            if (image.shape[1], image.shape[0]) != lead.size:
                report.problems.append(
                    f'its frames are {image.shape[1]}x{image.shape[0]}, those of its genuine video '
                    f'{lead.size[0]}x{lead.size[1]}: stored without pairs'
                )
                return self._process_unpaired(record, reader, numbers, report)
            where = FrameRef(record.path, number)
            found = self.analyser.analyse(image, lead.box, where=where)
            if found:
                face = Face(found[0].box, lead.score, found[0].landmarks)
                path = self._write(image, lead.window, 'frames', record.key, number)
                row = self._row(record, number, face, lead.window, path)
                rows.append({**row, 'source_image': lead.image})
        report.paired = len(rows)
        if lost := sorted(decoded - set(leads)):
            report.problems.append(f'{len(lost)} frames have no face in the genuine video: {lost}')
        self._close(reader, report, len(rows), decoded & set(leads))
        if record.mask:
            self._add_masks(record.mask, rows, leads, report)
        return rows

    def _process_unpaired(
        self, record: VideoRecord, reader: VideoReader, numbers: Sequence[int], report: VideoReport
    ) -> list[dict[str, Any]]:
        leads, rows = self._process_lead(record, reader, numbers, numbers, report)
        if record.mask:
            self._add_masks(record.mask, rows, leads, report)
        return rows

    def _close(self, reader: VideoReader, report: VideoReport, found: int, decoded: set[int]) -> None:
        report.found = found
        if found < len(decoded):
            report.problems.append(f'no face in {len(decoded) - found} of {len(decoded)} frames')
        if reader.problem:
            report.problems = [p for p in report.problems if p not in reader.problem]
            report.problems.append(reader.problem)

    def _add_masks(
        self, path: Path, rows: list[dict[str, Any]], leads: dict[int, _Lead], report: VideoReport
    ) -> None:
        """Write the mask crops of a fake and name them in its rows."""
        by_number = {row['frame']: row for row in rows}
        reader = VideoReader(path)
        for number, image in self._read(reader, sorted(by_number)):
            lead, row = leads[number], by_number[number]
            if (image.shape[1], image.shape[0]) != lead.size:
                report.problems.append('its masks have another size than its frames: left out')
                break
            gray = np.ascontiguousarray(image.max(axis=2))
            row['mask'] = self._write(gray, lead.window, 'masks', report.key, number)
            report.masks += 1
        if reader.problem:
            report.problems.append(f'mask video: {reader.problem}')

    def _write(self, image: ImageArray, window: Window, kind: str, key: str, number: int) -> str:
        start = perf_counter()
        # Masks are kept without loss whatever the format of the frames.
        suffix = self.settings.image_format if kind == 'frames' else 'png'
        path = crop_path(kind, key, number, suffix)
        write_image(crop_image(image, window, self.settings.max_side), self.out_dir / path)
        self._seconds['write'] += perf_counter() - start
        return path

    def _row(self, record: VideoRecord, number: int, face: Face, window: Window, path: str) -> dict[str, Any]:
        points = crop_points(face.landmarks, window, self.settings.max_side)
        return {
            'image': path,
            'source_image': None,
            # A thousandth of a pixel is far below what detectors resolve and packs better.
            'landmarks': np.round(points, 3).reshape(-1),
            'label': record.label,
            'dataset': record.dataset,
            'method': record.method,
            'compression': record.compression,
            'video_key': record.key,
            'frame': number,
            'split': record.split,
            'target_id': record.target_id,
            'source_id': record.source_id,
            'crop_window': list(window),
            'detector_score': face.score,
            'mask': None,
        }
