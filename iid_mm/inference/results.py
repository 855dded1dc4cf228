# SPDX-License-Identifier: Apache-2.0
"""Results of an analysis."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iid_mm.evaluation.functional.aggregate import video_scores
from iid_mm.inference.calibration import Calibration
from iid_mm.utils.typing import ImageArray

SCORED, NO_FACE, UNREADABLE = 'scored', 'no_face', 'unreadable'
MAIN_SHARE = 0.25
"""A person counts for the verdict if seen in this share of the frames of the person seen most ..."""
MAIN_FRAMES, MAIN_SHARE_OF_ALL = 4, 0.05
"""... or in this many frames and this share of all analyzed ones, as in an edited interview."""
GROUP_DISTANCE, GROUP_SHARE, GROUP_FRAMES = 0.5, 0.85, 2
"""Scores of a person form two groups if their means differ by this much, the groups explain this share of
the variance, and the smaller group has this many frames."""
UNSEEN_SECONDS = 0.5
"""Gaps between analyzed frames are reported from this length on."""
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Artifact:
    """An artifact box in the original frame.

    Attributes:
        polygon: Its four corners, (4, 2) x, y in pixels of the frame. The face was rotated upright for the
            model, so the box is rotated in the frame.
        score: Its score.
    """

    polygon: tuple[tuple[float, float], ...]
    score: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box: x0, y0, x1, y1."""
        xs, ys = zip(*self.polygon, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class FaceScore:
    """One face in one frame.

    Attributes:
        frame: Number of the frame, from 0.
        time: Seconds from the start.
        box: Face from hairline to chin: x0, y0, x1, y1 in pixels of the frame.
        detection: Confidence of the face detector, 0 to 1.
        probability: Probability of fake, not calibrated.
        artifacts: Artifact boxes, the highest score first.
    """

    frame: int
    time: float
    box: tuple[float, float, float, float]
    detection: float
    probability: float
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class FaceView:
    """A face as the model saw it, kept for display.

    Attributes:
        score: Its score.
        image: (H, W, 3) uint8 BGR, the aligned input.
        boxes: (k, 4) artifact boxes in pixels of ``image``.
        heat: (H, W) heat map; None for models without one.
    """

    score: FaceScore
    image: ImageArray
    boxes: np.ndarray
    heat: np.ndarray | None = None


@dataclass
class PersonTrack:
    """One person, tracked through the frames.

    Attributes:
        number: From 0, in the order of appearance.
        faces: Scores, in the order of time.
        views: The few most suspicious faces, the most suspicious first.
        aggregation: How frame scores are aggregated.
        top_k: Number of frames that ``aggregation='topk'`` averages.
    """

    number: int
    faces: list[FaceScore] = field(default_factory=list)
    views: list[FaceView] = field(default_factory=list)
    aggregation: str = 'mean'
    top_k: int = 3

    @property
    def probability(self) -> float:
        """Probability of fake, aggregated over all frames, not calibrated."""
        scores = np.array([face.probability for face in self.faces])
        keys = np.zeros(scores.size, dtype=np.int64)
        return float(video_scores(scores, keys, keys, self.aggregation, k=self.top_k).scores[0])

    def groups(self) -> str:
        """Describe two groups of scores, which a mean hides; empty if there are none."""
        scores = np.array([face.probability for face in self.faces])
        ordered = np.sort(scores)
        best, cut = 0.0, 0
        for k in range(GROUP_FRAMES, scores.size - GROUP_FRAMES + 1):
            apart = float(ordered[k:].mean() - ordered[:k].mean())
            between = apart**2 * k * (scores.size - k) / scores.size**2
            if apart >= GROUP_DISTANCE and between > max(best, GROUP_SHARE * float(scores.var())):
                best, cut = between, k
        if not cut:
            return ''
        high = [face for face in self.faces if face.probability >= ordered[cut]]
        # In steps of ten percent, rounded away from the gap.
        above = min(int(ordered[cut] * 10), 9) * 10
        below = max(int(np.ceil(ordered[cut - 1] * 10)), 1) * 10
        where = f'between {high[0].time:.2f} s and {high[-1].time:.2f} s'
        return (
            f'{len(high)} of {scores.size} frames score above {above} %, the others below {below} % ({where})'
        )


@dataclass
class MediaResult:
    """The result of one image, video or camera stream.

    Attributes:
        source: The input.
        name: Name of its outputs.
        kind: ``image``, ``video`` or ``camera``.
        status: ``scored``, ``no_face`` or ``unreadable``.
        size: Width and height of the frames; (0, 0) if none could be read.
        total_frames: Frames of the whole video; 1 for an image; frames read from a camera.
        rate: Frames a second; 0 where unknown or for an image.
        times: Time in seconds of each analyzed frame, by its number.
        tracks: The people, in the order of appearance.
        problems: Problems, and remarks that the verdict does not express.
        threshold: Probability from which the verdict is "fake".
        calibration: Calibration of the checkpoint; None if it has none.
        outputs: Names of the written files, by kind.
        output_bytes: Size of each but the JSON, by name; identifies them in later runs.
        unwritten: Files that could not be written, and why; also part of ``problems``.
        path: Absolute path of a file whose outputs were written; empty otherwise.
        model: Config, checkpoint and versions behind the verdict.
    """

    source: str
    name: str
    kind: str
    status: str = UNREADABLE
    size: tuple[int, int] = (0, 0)
    total_frames: int = 0
    rate: float = 0.0
    times: dict[int, float] = field(default_factory=dict)
    tracks: list[PersonTrack] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    threshold: float = 0.5
    calibration: Calibration | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    output_bytes: dict[str, int] = field(default_factory=dict)
    unwritten: list[str] = field(default_factory=list)
    path: str = ''
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def main_tracks(self) -> list[PersonTrack]:
        """The people who count for the verdict; short tracks are often false detections."""
        most = max((len(track.faces) for track in self.tracks), default=0)
        least = min(MAIN_SHARE * most, max(MAIN_FRAMES, MAIN_SHARE_OF_ALL * len(self.times)))
        return [track for track in self.tracks if len(track.faces) >= least]

    @property
    def decisive(self) -> PersonTrack | None:
        """The most suspicious of the people who count; None without a face."""
        return max(self.main_tracks, key=lambda track: track.probability, default=None)

    @property
    def probability(self) -> float | None:
        """Probability of the decisive person, not calibrated; None without a face."""
        return None if self.decisive is None else self.decisive.probability

    def notes(self) -> list[str]:
        """Remarks that the verdict does not express.

        Suspicious people who do not count, frames whose scores the mean hides, and, for a genuine verdict,
        gaps between analyzed frames.
        """
        main = {track.number for track in self.main_tracks}
        notes = []
        for track in self.tracks:
            who, seen = f'person {track.number + 1}', f'{len(track.faces)} of {len(self.times)} frames'
            if track.number not in main and track.probability >= self.threshold:
                notes.append(
                    f'{who}, seen in {seen}, scores {_percent(track.probability)} and does not count for the '
                    'verdict: too few frames'
                )
            if found := track.groups() or self._hidden(track):
                notes.append(f'{who}: {found}')
        unseen = self._longest_unseen()
        if self.kind == 'video' and not self.is_fake and unseen >= UNSEEN_SECONDS:
            notes.append(
                f'{len(self.times)} of {self.total_frames} frames were analyzed, up to {unseen:.1f} s '
                'apart: a shorter manipulation can be missed'
            )
        return notes

    @property
    def has_suspicious_parts(self) -> bool:
        """Whether the verdict is genuine although some frames, or a person who does not count, look fake."""
        if self.is_fake is not False:
            return False
        return any(track.probability >= self.threshold or self._hidden(track) for track in self.tracks)

    def _hidden(self, track: PersonTrack) -> str:
        """Describe the frames of a genuine-looking person that score as fake; empty if there are none.

        A single frame can be chance, unless its neighbors were not analyzed.
        """
        if track.probability >= self.threshold:
            return ''
        usual = float(np.median([face.probability for face in track.faces]))
        limit = max(self.threshold, usual + GROUP_DISTANCE)
        high = [face for face in track.faces if face.probability >= limit]
        near = {face.frame + step for face in high for step in (-1, 1)}
        alone = any(0 <= n < self.total_frames and n not in self.times for n in near)
        if not high or (len(high) < GROUP_FRAMES and not alone):
            return ''
        most = f'{_percent(max(face.probability for face in high))}, against {_percent(usual)}'
        where, counts = f'{high[0].time:.2f} s', f'{len(high)} of {len(track.faces)} frames'
        if len(high) == 1:
            return f'{counts} scores {most} (at {where})'
        return f'{counts} score up to {most} (between {where} and {high[-1].time:.2f} s)'

    def _longest_unseen(self) -> float:
        """The longest gap between analyzed frames in seconds, where frames were skipped."""
        numbers = sorted(self.times)
        pairs = itertools.pairwise(numbers)
        gaps = [self.times[b] - self.times[a] for a, b in pairs if b > a + 1]
        if numbers and self.rate > 0:
            gaps += [numbers[0] / self.rate, (self.total_frames - 1 - numbers[-1]) / self.rate]
        return max(gaps, default=0.0)

    def calibrated(self, probability: float) -> float:
        """Calibrate a probability; unchanged if the checkpoint has no calibration."""
        if self.calibration is None:
            return probability
        return self.calibration.apply(probability, of_video=self.kind != 'image')

    @property
    def is_fake(self) -> bool | None:
        """The verdict; None without a face."""
        return None if self.probability is None else self.probability >= self.threshold

    def as_dict(self) -> dict[str, Any]:
        """Everything but the images, as plain data for JSON."""
        decisive = self.decisive
        verdict = None
        if decisive is not None:
            verdict = {
                'label': 'fake' if self.is_fake else 'genuine',
                'probability': decisive.probability,
                'calibrated_probability': (
                    None if self.calibration is None else self.calibrated(decisive.probability)
                ),
                'threshold': self.threshold,
                'track': decisive.number,
            }
        seen = {face.frame for track in self.tracks for face in track.faces}
        main = {track.number for track in self.main_tracks}
        return {
            'format': FORMAT_VERSION,
            'source': self.source,
            'kind': self.kind,
            'status': self.status,
            'verdict': verdict,
            'frames': {
                'width': self.size[0],
                'height': self.size[1],
                'total': self.total_frames,
                'rate': self.rate,
                'analyzed': len(self.times),
                'without_face': sorted(set(self.times) - seen),
            },
            'tracks': [_track_dict(track, track.number in main) for track in self.tracks],
            'problems': self.problems,
            'outputs': self.outputs,
            'output_bytes': self.output_bytes,
            'path': self.path,
            'model': self.model,
        }


def _track_dict(track: PersonTrack, counts: bool) -> dict[str, Any]:
    return {
        'number': track.number,
        'probability': track.probability,
        'counts_for_verdict': counts,
        'aggregation': track.aggregation,
        'first_time': track.faces[0].time,
        'last_time': track.faces[-1].time,
        'faces': [
            {
                'frame': face.frame,
                'time': round(face.time, 4),
                'box': _rounded(face.box),
                'detection': round(face.detection, 4),
                'probability': face.probability,
                'artifacts': [
                    {
                        'box': _rounded(artifact.box),
                        'polygon': [_rounded(point) for point in artifact.polygon],
                        'score': round(artifact.score, 4),
                    }
                    for artifact in face.artifacts
                ],
            }
            for face in track.faces
        ],
    }


def _percent(value: float) -> str:
    return 'above 99 %' if 0.995 <= value < 1 else f'{100 * value:.0f} %'


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 2) for value in values]
