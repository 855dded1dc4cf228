# SPDX-License-Identifier: Apache-2.0
"""Preparation of one group: a genuine video and its fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np

from iid_mm.preparation.analysers.base import Face, FaceAnalyser
from iid_mm.preparation.cropping import crop_image
from iid_mm.preparation.faces import (
    FaceCrop,
    FaceFinder,
    Track,
    VideoFaces,
    differences,
    main_candidates,
    mask_overlaps,
)
from iid_mm.preparation.readers import FrameReader
from iid_mm.preparation.records import FrameSource, VideoGroup, VideoRecord
from iid_mm.preparation.registration import MIN_LIKENESS, register_crop, scene_correlation
from iid_mm.preparation.results import GroupResult, VideoReport
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.sources import SourceOpener
from iid_mm.preparation.video import evenly_spaced
from iid_mm.preparation.writer import MASKS, WHOLE_FRAMES, CropWriter, Sample, fit_mask, make_row

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, Size

# In how many frames it is looked which of several people a fake manipulates.
CHOICE_FRAMES = 8
# How much more a fake must differ in another place than in the weightiest person's.
CHOICE_RATIO = 1.2


@dataclass
class _Video:
    """A video that is being worked on, with the numbers of the frames that are wanted."""

    record: VideoRecord
    reader: FrameReader
    report: VideoReport
    numbers: list[int]


class GroupProcessor:
    """Turns groups into crops and rows.

    Genuine frames are analysed first; a fake takes the crop window of its genuine frame, and the face
    is looked for where the genuine one was, so that both show the same face in the same place. Where
    a genuine video shows several people, each fake follows the one it manipulates: the one under its
    mask, or without a mask the one in whose place it differs from the genuine video.

    Args:
        settings: What to write.
        analyser: Finds the faces.
        opener: Opens the frames.
        writer: Writes the crops.
    """

    def __init__(
        self, settings: Settings, analyser: FaceAnalyser, opener: SourceOpener, writer: CropWriter
    ) -> None:
        self.settings = settings
        self.analyser = analyser
        self.finder = FaceFinder(settings, analyser)
        self.opener = opener
        self.writer = writer
        self._decode = 0.0
        self._analysed = 0

    def process(self, group: VideoGroup) -> GroupResult:
        """Prepare one group.

        Args:
            group: The videos.

        Returns:
            Rows, reports and times; videos that are broken give fewer rows and a problem.
        """
        start = process_time()
        self._decode = self.writer.seconds = 0.0
        self._analysed = 0
        self.analyser.seconds.clear()
        videos = [self._open(record) for record in group.records]
        genuine = videos[0] if group.genuine and videos[0].numbers else None
        fakes = [video for video in videos if video.record is not group.genuine and video.numbers]
        self._choose_numbers(genuine, fakes)
        samples: dict[str, list[Sample]] = {}
        paired = []
        if genuine is not None:
            paired = [fake for fake in fakes if set(fake.numbers) <= set(genuine.reader.numbers)]
            samples |= self._process_pairs(genuine, paired)
        for fake in (fake for fake in fakes if fake not in paired):
            if fake.record.pair:
                reason = 'has no frame numbers in common' if genuine else 'is missing or unusable'
                fake.report.problems.append(f'its genuine video {reason}: stored without pairs')
            samples[fake.record.key] = self._process_alone(fake)
        rows = [make_row(r, s) for r in group.records for s in samples.get(r.key, ())]
        seconds = {'decode': self._decode, 'write': self.writer.seconds, **self.analyser.seconds}
        reports = [video.report for video in videos]
        return GroupResult(group.name, rows, reports, seconds, process_time() - start, self._analysed)

    # Frames

    def _open(self, record: VideoRecord) -> _Video:
        self.writer.clear(record.key)
        report = VideoReport(record.key, record.method, record.split, record.label)
        reader = self._open_source(record.source)
        numbers = list(reader.numbers)
        report.total = len(numbers)
        report.asked = self.settings.frames
        if reader.problem:
            report.problems.append(reader.problem)
        if problem := self.analyser.check_video(record):
            report.problems.append(problem)
            numbers = []
        return _Video(record, reader, report, numbers)

    def _open_source(self, source: FrameSource) -> FrameReader:
        start = perf_counter()
        reader = self.opener.open(source)
        self._decode += perf_counter() - start
        return reader

    def _choose_numbers(self, genuine: _Video | None, fakes: Sequence[_Video]) -> None:
        """Choose evenly spaced frames; those of a fake are among the ones of its genuine video."""
        there = set(genuine.numbers) if genuine else set()
        for video in [*([genuine] if genuine else []), *fakes]:
            numbers = [number for number in video.numbers if number in there] or video.numbers
            video.numbers = [numbers[i] for i in evenly_spaced(len(numbers), self.settings.frames)]
            video.report.asked = len(video.numbers)

    def _read(
        self, video: _Video, numbers: Sequence[int], *, keep: bool = False
    ) -> Iterator[tuple[int, ImageArray]]:
        """Decode frames of a video; ``keep`` writes them whole if the settings ask for it."""
        for number, image in self._read_timed(video.reader, numbers):
            if keep and self.settings.keep_frames:
                self.writer.write(image, WHOLE_FRAMES, video.record.key, number)
            self._analysed += keep
            yield number, image
        if problem := video.reader.problem:
            known = [text for text in video.report.problems if text not in problem]
            video.report.problems = [*known, problem]

    def _read_timed(self, reader: FrameReader, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        frames = reader.read(numbers)
        while True:
            start = perf_counter()
            item = next(frames, None)
            self._decode += perf_counter() - start
            if item is None:
                return
            yield item

    # Videos

    def _process_pairs(self, genuine: _Video, fakes: Sequence[_Video]) -> dict[str, list[Sample]]:
        """Prepare a genuine video and the fakes that follow it; samples by video key."""
        union = sorted({number for video in (genuine, *fakes) for number in video.numbers})
        faces = self.finder.find(genuine.record, self._read(genuine, union, keep=True))
        people = main_candidates(faces) or [Track()]
        choices = [self._choose_person(fake, people) for fake in fakes]
        # The genuine video's own samples show the person whom most of its fakes manipulate.
        main = min(range(len(people)), key=lambda person: (-choices.count(person), person))
        needed: dict[int, set[int]] = {main: set(genuine.numbers)}
        for fake, person in zip(fakes, choices, strict=True):
            needed.setdefault(person, set()).update(fake.numbers)
        paths = {}
        for person, numbers in needed.items():
            self._retry(genuine, faces, people[person], numbers)
            note = '' if person == main else f'_person{person}'
            paths[person] = self._write_faces(genuine, people[person], numbers, note)
        samples = {
            genuine.record.key: self._collect(genuine, faces.decoded, people[main], paths[main]),
        }
        for fake, person in zip(fakes, choices, strict=True):
            process = self._process_cropped if fake.record.cropped else self._process_fake
            samples[fake.record.key] = process(fake, people[person], paths[person])
        return samples

    def _choose_person(self, fake: _Video, people: Sequence[Track]) -> int:
        """Whom of the people in a genuine video a fake manipulates."""
        if len(people) < 2:
            return 0
        if fake.record.mask is not None:
            scores = self._mask_scores(fake, people)
            if max(scores) > 0:
                return int(np.argmax(scores))
        numbers = [fake.numbers[i] for i in evenly_spaced(len(fake.numbers), CHOICE_FRAMES)]
        scores = differences(people, self._read(fake, numbers), self.settings.max_side)
        best = int(np.argmax(scores))
        return best if scores[best] > CHOICE_RATIO * scores[0] else 0

    def _process_fake(self, fake: _Video, track: Track, paths: dict[int, str]) -> list[Sample]:
        """Cut a fake with the windows of its genuine video."""
        if not set(fake.numbers) & set(track.faces):
            fake.report.problems.append('its genuine video shows no face: stored without pairs')
            return self._process_alone(fake)
        samples = []
        decoded = []
        correlations = []
        for number, image in self._read(fake, fake.numbers, keep=True):
            decoded.append(number)
            lead = track.faces.get(number)
            if lead is None:
                continue
            size = (image.shape[1], image.shape[0])
            if size != lead.size:
                fake.report.problems.append(
                    f'its frames are {size[0]}x{size[1]}, those of its genuine video '
                    f'{lead.size[0]}x{lead.size[1]}: stored without pairs'
                )
                return self._process_alone(fake)
            found = self.finder.find_at(fake.record, number, image, lead.face)
            if found:
                # The detector has seen the genuine frame; the fake's face was looked for in its place.
                face = Face(found.box, lead.face.score, found.landmarks)
                stored = crop_image(image, lead.window, self.settings.max_side)
                crop = FaceCrop(size, lead.window, face, stored)
                path = self.writer.write_face(crop, fake.record.key, number)
                samples.append(self.writer.sample(crop, number, path))
                samples[-1].source_image = paths[number]
                correlations.append(scene_correlation(stored, lead.crop, samples[-1].landmarks))
        if correlations and (likeness := float(np.median(correlations))) < MIN_LIKENESS:
            fake.report.problems.append(
                'its frames do not show the scene of its genuine video '
                f'(correlation {likeness:.2f}): stored without pairs'
            )
            return self._process_alone(fake)
        if lost := sorted(set(decoded) - set(track.faces)):
            fake.report.problems.append(f'{len(lost)} frames have no face in the genuine video: {lost}')
        return self._close(fake, decoded, samples)

    def _process_cropped(self, fake: _Video, track: Track, paths: dict[int, str]) -> list[Sample]:
        """Take over the crops of a fake, and lay those of its genuine video over them."""
        faces = self.finder.find(fake.record, self._read(fake, fake.numbers, keep=True))
        own = faces.tracks[0] if faces.tracks else Track()
        samples = self._collect(fake, faces.decoded, own, self._write_faces(fake, own, set(fake.numbers)))
        for sample in samples:
            lead, crop = track.faces.get(sample.number), own.faces[sample.number]
            if lead is None:
                continue
            laid = register_crop(crop.crop, lead.crop, sample.landmarks, self.writer.points(lead))
            if laid is lead.crop:
                sample.source_image = paths[sample.number]
            elif laid is not None:
                stored = FaceCrop(crop.size, crop.window, lead.face, laid)
                sample.source_image = self.writer.write_face(
                    stored, fake.record.key, sample.number, '_genuine'
                )
        fake.report.paired = sum(sample.source_image is not None for sample in samples)
        if lost := len(samples) - fake.report.paired:
            fake.report.problems.append(f'{lost} frames do not fit those of the genuine video: unpaired')
        return samples

    def _process_alone(self, video: _Video) -> list[Sample]:
        """Prepare a video without a genuine counterpart."""
        self.writer.clear(video.record.key)
        faces = self.finder.find(video.record, self._read(video, video.numbers, keep=True))
        people = main_candidates(faces) or [Track()]
        person = 0
        if len(people) > 1 and video.record.mask is not None:
            person = int(np.argmax(self._mask_scores(video, people)))
        self._retry(video, faces, people[person], set(video.numbers))
        paths = self._write_faces(video, people[person], set(video.numbers))
        return self._collect(video, faces.decoded, people[person], paths)

    def _retry(self, video: _Video, faces: VideoFaces, track: Track, numbers: set[int]) -> None:
        """Look again where a person was missed."""
        missed = sorted((numbers & set(faces.decoded)) - set(track.faces))
        if missed and track.faces and self.analyser.searches:
            self.finder.retry(video.record, self._read(video, missed), track, faces.tracks)

    def _write_faces(self, video: _Video, track: Track, numbers: set[int], note: str = '') -> dict[int, str]:
        """Write the crops of a person; paths by frame number."""
        return {
            number: self.writer.write_face(track.faces[number], video.record.key, number, note)
            for number in sorted(numbers & set(track.faces))
        }

    def _collect(
        self, video: _Video, decoded: Sequence[int], track: Track, paths: dict[int, str]
    ) -> list[Sample]:
        """Samples of a video from crops that were written."""
        wanted = [number for number in video.numbers if number in paths]
        samples = [self.writer.sample(track.faces[number], number, paths[number]) for number in wanted]
        return self._close(video, decoded, samples)

    def _close(self, video: _Video, decoded: Sequence[int], samples: list[Sample]) -> list[Sample]:
        """Count, and add the masks."""
        report = video.report
        report.found = len(samples)
        report.paired = sum(sample.source_image is not None for sample in samples)
        wanted = set(decoded) & set(video.numbers)
        report.given_up = sorted(wanted - {sample.number for sample in samples})
        if report.given_up:
            report.problems.append(f'no face in {len(report.given_up)} of {len(wanted)} frames')
        if problem := self.analyser.take_problems():
            report.problems.append(problem)
        if video.record.mask is not None and self.settings.masks:
            self._add_masks(video, video.record.mask, {sample.number: sample for sample in samples})
        return samples

    # Masks

    def _mask_scores(self, video: _Video, people: Sequence[Track]) -> list[float]:
        """How well each person covers the mask of a video."""
        if video.record.mask is None:
            return [0.0] * len(people)
        sizes = {number: crop.size for track in people for number, crop in track.faces.items()}
        wanted = [number for number in video.numbers if number in sizes]
        numbers = [wanted[i] for i in evenly_spaced(len(wanted), CHOICE_FRAMES)]
        reader = self._open_source(video.record.mask)
        return mask_overlaps(people, self._read_masks(reader, numbers, sizes))

    def _read_masks(
        self, reader: FrameReader, numbers: Sequence[int], sizes: dict[int, Size]
    ) -> Iterator[tuple[int, ImageArray]]:
        """Masks in the size of their frames; those of another shape are left out."""
        for number, mask in self._read_timed(reader, numbers):
            fitted = fit_mask(mask, sizes[number])
            if fitted is not None:
                yield number, fitted

    def _add_masks(self, video: _Video, source: FrameSource, samples: dict[int, Sample]) -> None:
        """Write the mask crops of a fake."""
        reader = self._open_source(source)
        sizes = {number: sample.size for number, sample in samples.items()}
        for number, mask in self._read_masks(reader, sorted(samples), sizes):
            gray = np.ascontiguousarray(mask.max(axis=2))
            crop = crop_image(gray, samples[number].window, self.settings.max_side)
            samples[number].mask = self.writer.write(crop, MASKS, video.record.key, number)
            video.report.masks += 1
        if lost := len(samples) - video.report.masks:
            reason = reader.problem or 'missing, or of another shape than the frames'
            video.report.problems.append(f'{lost} frames have no mask ({reason})')
