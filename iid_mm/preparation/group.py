# SPDX-License-Identifier: Apache-2.0
"""Preparation of one group: a genuine video and its fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import process_time
from typing import TYPE_CHECKING

import numpy as np

from iid_mm.faces.analyzers.base import Face, FaceAnalyzer
from iid_mm.faces.appearance import describe
from iid_mm.faces.cropping import crop_image
from iid_mm.faces.registration import MIN_LAID_LIKENESS, MIN_LIKENESS, register_crop, scene_correlation
from iid_mm.media.readers import FrameReader
from iid_mm.media.sources import SourceOpener
from iid_mm.preparation.faces import FaceCrop, FaceFinder, Track, VideoFaces
from iid_mm.preparation.people import apart, differences, main_candidates, mask_overlaps
from iid_mm.preparation.records import GroupResult, VideoGroup
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.video_access import OpenVideo, VideoAccess
from iid_mm.preparation.writer import FRAMES, MASKS, CropWriter, Sample, fit_mask, make_row
from iid_mm.structures.video_record import FrameSource
from iid_mm.utils.sampling import evenly_spaced

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray, Size

# Frames sampled to decide which person is manipulated.
CHOICE_FRAMES = 8
# How much more a fake must differ in another place than in the weightiest person's.
CHOICE_RATIO = 1.2
# Crops of the same scene that others have cut differ by a few pixels; what differs by more was scaled.
MAX_SIZE_CHANGE = 0.1


class GroupProcessor:
    """Turns groups into crops and rows.

    Genuine frames are analyzed first; a fake takes the crop window of its genuine frame, and the face
    is looked for where the genuine one was, so that both show the same face in the same place. Where
    a genuine video shows several people, each fake follows the one it manipulates: the one under its
    mask, or without a mask the one in whose place it differs from the genuine video.

    Args:
        settings: What to write.
        analyzer: Finds the faces.
        opener: Opens the frames.
        writer: Writes the crops.
    """

    def __init__(
        self, settings: Settings, analyzer: FaceAnalyzer, opener: SourceOpener, writer: CropWriter
    ) -> None:
        self.settings = settings
        self.analyzer = analyzer
        self.finder = FaceFinder(settings, analyzer)
        self.opener = opener
        self.writer = writer
        self.videos = VideoAccess(settings, analyzer, opener, writer)

    def process(self, group: VideoGroup) -> GroupResult:
        """Prepare one group.

        Args:
            group: The videos.

        Returns:
            Rows, reports and times; videos that are broken give fewer rows and a problem.
        """
        start = process_time()
        self.writer.seconds = self.videos.seconds = 0.0
        self.videos.analyzed = 0
        self.analyzer.seconds.clear()
        videos = [self.videos.open(record) for record in group.records]
        genuine = videos[0] if group.genuine and videos[0].numbers else None
        fakes = [video for video in videos if video.record is not group.genuine and video.numbers]
        self.videos.choose_numbers(genuine, fakes)
        samples: dict[str, list[Sample]] = {}
        if genuine is not None:
            there = set(genuine.reader.numbers)
            paired = [fake for fake in fakes if not there.isdisjoint(fake.numbers)]
            samples = self._process_pairs(genuine, paired)
        for fake in (fake for fake in fakes if fake.record.key not in samples):
            if fake.record.pair:
                reason = 'has no frame numbers in common' if genuine else 'is missing or unusable'
                fake.report.problems.append(f'its genuine video {reason}: stored without pairs')
            samples[fake.record.key] = self._process_own(fake)[0]
        rows = [make_row(r, s) for r in group.records for s in samples.get(r.key, ())]
        seconds = {'decode': self.videos.seconds, 'write': self.writer.seconds, **self.analyzer.seconds}
        reports = [video.report for video in videos]
        return GroupResult(group.name, rows, reports, seconds, process_time() - start, self.videos.analyzed)

    # Videos

    def _process_pairs(self, genuine: OpenVideo, fakes: Sequence[OpenVideo]) -> dict[str, list[Sample]]:
        """Prepare a genuine video and the fakes that follow it; samples by video key."""
        there = set(genuine.reader.numbers)
        union = sorted({n for video in (genuine, *fakes) for n in video.numbers if n in there})
        faces = self.finder.find(genuine.record, self.videos.read(genuine, union, keep=True))
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
            samples[fake.record.key] = process(fake, genuine, people[person], paths[person])
        return samples

    def _choose_person(self, fake: OpenVideo, people: Sequence[Track]) -> int:
        """Whom of the people in a genuine video a fake manipulates."""
        if len(people) < 2:
            return 0
        if fake.record.mask is not None:
            scores = self._mask_scores(fake, people)
            if max(scores) > 0:
                return int(np.argmax(scores))
        numbers = [fake.numbers[i] for i in evenly_spaced(len(fake.numbers), CHOICE_FRAMES)]
        scores = differences(people, self.videos.read(fake, numbers), self.settings.max_side)
        best = int(np.argmax(scores))
        return best if scores[best] > CHOICE_RATIO * scores[0] else 0

    def _process_fake(
        self, fake: OpenVideo, genuine: OpenVideo, track: Track, paths: dict[int, str]
    ) -> list[Sample]:
        """Cut a fake with the windows of its genuine video."""
        if not set(fake.numbers) & set(track.faces):
            fake.report.problems.append('its genuine video shows no face: stored without pairs')
            return self._process_own(fake)[0]
        there = set(genuine.reader.numbers)
        samples, decoded, correlations = [], [], []
        own, unpaired = Track(), {}
        for number, image in self.videos.read(fake, fake.numbers, keep=True):
            decoded.append(number)
            lead = track.faces.get(number)
            if lead is None:
                if number not in there and (alone := self._find_unpaired(fake, number, image, track)):
                    unpaired[number] = alone
                continue
            size = (image.shape[1], image.shape[0])
            if size != lead.size:
                reason = (
                    f'its frames are {size[0]}x{size[1]}, those of its genuine video '
                    f'{lead.size[0]}x{lead.size[1]}'
                )
                return self._process_moved(fake, track, reason)
            if crop := self._cut_along(fake, number, image, lead):
                path = self.writer.write_face(crop, fake.record.key, number)
                samples.append(self.writer.sample(crop, number, path))
                samples[-1].source_image = paths[number]
                correlations.append(scene_correlation(crop.crop, lead.crop, samples[-1].landmarks))
                if not there.issuperset(fake.numbers):
                    own.faces[number] = replace(crop, look=describe(image, [crop.face])[0])
        if correlations and (likeness := float(np.median(correlations))) < MIN_LIKENESS:
            reason = f'its frames do not show the scene of its genuine video (correlation {likeness:.2f})'
            return self._process_moved(fake, track, reason)
        for number, crop in unpaired.items():
            if own.stays(crop.look):
                own.faces[number] = crop
                path = self.writer.write_face(crop, fake.record.key, number)
                samples.append(self.writer.sample(crop, number, path))
            else:
                own.others.add(number)
        samples.sort(key=lambda sample: sample.number)
        if extra := sorted(set(decoded) - there - own.others):
            fake.report.problems.append(_no_counterpart(extra))
        if lost := sorted(set(decoded) & there - set(track.faces) - track.others):
            fake.report.problems.append(f'{len(lost)} frames have no face in the genuine video: {lost}')
        return self._close(fake, decoded, samples, (track.others - set(track.faces)) | own.others)

    def _cut_along(self, fake: OpenVideo, number: int, image: ImageArray, lead: FaceCrop) -> FaceCrop | None:
        """Cut the face of a fake with the window of its genuine frame; None if there is no face."""
        found = self.finder.find_at(fake.record, number, image, lead.face)
        if found is None:
            return None
        # The detector has seen the genuine frame; the fake's face was looked for in its place.
        face = Face(found.box, lead.face.score, found.landmarks)
        return FaceCrop(lead.size, lead.window, face, crop_image(image, lead.window, self.settings.max_side))

    def _find_unpaired(
        self, fake: OpenVideo, number: int, image: ImageArray, track: Track
    ) -> FaceCrop | None:
        """Cut a frame out that the genuine video does not have, where the person is in the nearest one."""
        face = self.finder.find_at(fake.record, number, image, track.nearest(number))
        crop = self.finder.cut(fake.record, image, face) if face else None
        return None if face is None or crop is None else replace(crop, look=describe(image, [face])[0])

    def _process_moved(self, fake: OpenVideo, track: Track, reason: str) -> list[Sample]:
        """Prepare a fake that does not match its genuine video as it is: others may have cropped both.

        Args:
            fake: The fake.
            track: The person in its genuine video.
            reason: What does not fit.
        """
        samples, own = self._process_own(fake, track)
        pairs = {
            sample.number: (own.faces[sample.number], track.faces[sample.number])
            for sample in samples
            if sample.number in track.faces
        }
        laid = {}
        for number, (crop, lead) in pairs.items():
            if _alike(crop.size, lead.size):
                points = self.writer.points(crop)
                genuine = register_crop(crop.crop, lead.crop, points, self.writer.points(lead))
                # Portraits of two people can be laid over each other, too.
                if genuine is not None and scene_correlation(crop.crop, genuine, points) >= MIN_LAID_LIKENESS:
                    laid[number] = genuine
        if 2 * len(laid) <= len(pairs):
            fake.report.problems.append(f'{reason}: stored without pairs')
            return samples
        for sample in samples:
            if sample.number in laid:
                sample.source_image = self._write_laid(fake, sample.number, laid[sample.number])
        fake.report.paired = len(laid)
        fake.report.problems.append(
            f'{reason}: genuine crops are laid over those of {len(laid)} of {len(samples)} frames'
        )
        return samples

    def _process_cropped(
        self, fake: OpenVideo, genuine: OpenVideo, track: Track, paths: dict[int, str]
    ) -> list[Sample]:
        """Take over the crops of a fake, and lay those of its genuine video over them."""
        faces = self.finder.find(fake.record, self.videos.read(fake, fake.numbers, keep=True))
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
                sample.source_image = self._write_laid(fake, sample.number, laid)
        fake.report.paired = sum(sample.source_image is not None for sample in samples)
        extra = sorted({sample.number for sample in samples} - set(genuine.reader.numbers))
        if extra:
            fake.report.problems.append(_no_counterpart(extra))
        if lost := len(samples) - fake.report.paired - len(extra):
            fake.report.problems.append(f'{lost} frames do not fit those of the genuine video: unpaired')
        return samples

    def _write_laid(self, fake: OpenVideo, number: int, genuine: ImageArray) -> str:
        """Write a genuine crop that was registered to the crop of a fake."""
        return self.writer.write(genuine, FRAMES, fake.record.key, number, '_genuine')

    def _process_own(self, video: OpenVideo, like: Track | None = None) -> tuple[list[Sample], Track]:
        """Prepare a video with windows of its own; its samples, and who is shown.

        Args:
            video: The video.
            like: The person in its genuine video; None takes the one under the mask, or the weightiest.
        """
        self.writer.clear(video.record.key)
        faces = self.finder.find(video.record, self.videos.read(video, video.numbers, keep=True))
        people = main_candidates(faces) or [Track()]
        person = 0
        if like is not None:
            person = int(np.argmin([apart(track, like) for track in people]))
        elif len(people) > 1 and video.record.mask is not None:
            person = int(np.argmax(self._mask_scores(video, people)))
        self._retry(video, faces, people[person], set(video.numbers))
        paths = self._write_faces(video, people[person], set(video.numbers))
        return self._collect(video, faces.decoded, people[person], paths), people[person]

    def _retry(self, video: OpenVideo, faces: VideoFaces, track: Track, numbers: set[int]) -> None:
        """Look again where a person was missed."""
        missed = sorted((numbers & set(faces.decoded)) - set(track.faces))
        if missed and track.faces and self.analyzer.searches:
            self.finder.retry(video.record, self.videos.read(video, missed), track, faces.tracks)

    def _write_faces(
        self, video: OpenVideo, track: Track, numbers: set[int], note: str = ''
    ) -> dict[int, str]:
        """Write the crops of a person; paths by frame number."""
        return {
            number: self.writer.write_face(track.faces[number], video.record.key, number, note)
            for number in sorted(numbers & set(track.faces))
        }

    def _collect(
        self, video: OpenVideo, decoded: Sequence[int], track: Track, paths: dict[int, str]
    ) -> list[Sample]:
        """Samples of a video from crops that were written."""
        wanted = [number for number in video.numbers if number in paths]
        samples = [self.writer.sample(track.faces[number], number, paths[number]) for number in wanted]
        return self._close(video, decoded, samples, track.others - set(track.faces))

    def _close(
        self, video: OpenVideo, decoded: Sequence[int], samples: list[Sample], others: set[int]
    ) -> list[Sample]:
        """Count, and add the masks; ``others`` are frames that show somebody else."""
        report = video.report
        report.found = len(samples)
        report.paired = sum(sample.source_image is not None for sample in samples)
        wanted = set(decoded) & set(video.numbers)
        report.given_up = sorted(wanted - {sample.number for sample in samples})
        if strange := sorted(others.intersection(report.given_up)):
            report.problems.append(
                f'{len(strange)} of {len(wanted)} frames show another person and are left out: '
                f'{_list(strange)}'
            )
        if none := len(report.given_up) - len(strange):
            report.problems.append(f'no face in {none} of {len(wanted)} frames')
        if problem := self.analyzer.take_problems():
            report.problems.append(problem)
        if video.record.mask is not None and self.settings.masks:
            self._add_masks(video, video.record.mask, {sample.number: sample for sample in samples})
        return samples

    # Masks

    def _mask_scores(self, video: OpenVideo, people: Sequence[Track]) -> list[float]:
        """How well each person covers the mask of a video."""
        if video.record.mask is None:
            return [0.0] * len(people)
        sizes = {number: crop.size for track in people for number, crop in track.faces.items()}
        wanted = [number for number in video.numbers if number in sizes]
        numbers = [wanted[i] for i in evenly_spaced(len(wanted), CHOICE_FRAMES)]
        reader = self.videos.open_source(video.record.mask)
        return mask_overlaps(people, self._read_masks(reader, numbers, sizes))

    def _read_masks(
        self, reader: FrameReader, numbers: Sequence[int], sizes: dict[int, Size]
    ) -> Iterator[tuple[int, ImageArray]]:
        """Masks in the size of their frames; those of another shape are left out."""
        for number, mask in self.videos.read_timed(reader, numbers):
            fitted = fit_mask(mask, sizes[number])
            if fitted is not None:
                yield number, fitted

    def _add_masks(self, video: OpenVideo, source: FrameSource, samples: dict[int, Sample]) -> None:
        """Write the mask crops of a fake."""
        reader = self.videos.open_source(source)
        sizes = {number: sample.size for number, sample in samples.items()}
        for number, mask in self._read_masks(reader, sorted(samples), sizes):
            gray = np.ascontiguousarray(mask.max(axis=2))
            crop = crop_image(gray, samples[number].window, self.settings.max_side)
            samples[number].mask = self.writer.write(crop, MASKS, video.record.key, number)
            video.report.masks += 1
        if lost := len(samples) - video.report.masks:
            reason = reader.problem or 'missing, or of another shape than the frames'
            video.report.problems.append(f'{lost} frames have no mask ({reason})')


def _no_counterpart(numbers: Sequence[int]) -> str:
    return (
        f'{len(numbers)} frames have no counterpart in the genuine video: stored without pairs: '
        f'{_list(numbers)}'
    )


def _list(numbers: Sequence[int]) -> str:
    return f'{numbers[:8]} ...' if len(numbers) > 8 else f'{numbers}'


def _alike(size: Size, other: Size) -> bool:
    """Whether two frames differ so little in size that they may show the same at the same scale."""
    return all(abs(a - b) <= MAX_SIZE_CHANGE * max(a, b) for a, b in zip(size, other, strict=True))
