# SPDX-License-Identifier: Apache-2.0
"""From frames to a result, with bounded memory."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from iid_mm.errors import InputError
from iid_mm.inference.faces import FaceFollower, FoundFace
from iid_mm.inference.media import Media
from iid_mm.inference.results import (
    NO_FACE,
    SCORED,
    UNREADABLE,
    FaceScore,
    FaceView,
    MediaResult,
    PersonTrack,
)
from iid_mm.inference.sampling import FrameStream, TimedFrame
from iid_mm.inference.scorer import FaceScorer

MAX_VIEWS = 6
"""Face images kept of each person."""

Progress = Callable[[int, int], None]
"""Called with the number of analyzed frames and of all frames to analyze."""
ScoredFrame = Callable[[TimedFrame, list[tuple[int, FaceScore]]], None]
"""Called with each frame, in order, and its faces: number of the person and score."""


@dataclass
class _Pending:
    """A frame whose faces are not all scored yet."""

    frame: TimedFrame
    waiting: int
    faces: list[tuple[int, FaceScore]] = field(default_factory=list)


@dataclass
class _Views:
    """The most suspicious faces of a person: a heap with the least suspicious on top."""

    heap: list[tuple[float, int, FaceView]] = field(default_factory=list)

    def add(self, view: FaceView) -> None:
        # The later of two equal faces goes first; the number also keeps views from being compared.
        item = (view.score.probability, -view.score.frame, view)
        if len(self.heap) < MAX_VIEWS:
            heapq.heappush(self.heap, item)
        else:
            heapq.heappushpop(self.heap, item)

    def sorted(self) -> list[FaceView]:
        return [view for _, _, view in sorted(self.heap, key=lambda item: item[:2], reverse=True)]


class MediaAnalyzer:
    """Detects, tracks and scores the faces of one input.

    Memory: at most ``batch_size`` faces and their frames, a few face images of each person, and the scores.

    Args:
        follower: Builds the face tracker; called once for each input.
        scorer: Scores faces.
        batch_size: Faces a batch.
        aggregation: How frame scores are aggregated for a person, see
            :func:`~iid_mm.evaluation.functional.aggregate.video_scores`.
        top_k: Number of frames that ``aggregation='topk'`` averages.
        threshold: Probability from which the verdict is "fake".
    """

    def __init__(
        self,
        follower: Callable[[], FaceFollower],
        scorer: FaceScorer,
        batch_size: int = 32,
        *,
        aggregation: str = 'mean',
        top_k: int = 3,
        threshold: float = 0.5,
    ) -> None:
        if batch_size < 1:
            raise InputError(f'batch_size={batch_size}: give at least 1')
        self.follower = follower
        self.scorer = scorer
        self.batch_size = batch_size
        self.aggregation = aggregation
        self.top_k = top_k
        self.threshold = threshold

    def analyze(
        self,
        media: Media,
        stream: FrameStream,
        *,
        on_frame: ScoredFrame | None = None,
        progress: Progress | None = None,
    ) -> MediaResult:
        """Analyze an input.

        Args:
            media: The input.
            stream: Its frames.
            on_frame: Called with every frame, in order, as soon as its faces are scored.
            progress: Called after each frame.

        Returns:
            The result. If the stream breaks, it covers the frames before, and ``problems`` says so.
        """
        result = MediaResult(
            media.source, media.name, media.kind, rate=stream.rate if media.kind != 'image' else 0
        )
        result.threshold = self.threshold
        follower = self.follower()
        tracks: dict[int, PersonTrack] = {}
        views: dict[int, _Views] = {}
        for pending in self._scored(stream, follower, views, progress):
            result.times[pending.frame.number] = pending.frame.time
            result.size = (pending.frame.image.shape[1], pending.frame.image.shape[0])
            for number, face in pending.faces:
                track = tracks.setdefault(
                    number, PersonTrack(number, aggregation=self.aggregation, top_k=self.top_k)
                )
                track.faces.append(face)
            if on_frame is not None:
                on_frame(pending.frame, pending.faces)
        result.tracks = _gather(tracks, views, follower.final_tracks())
        result.total_frames = stream.total
        if stream.problem:
            result.problems.append(stream.problem)
        if problem := follower.analyzer.take_problems():
            result.problems.append(problem)
        if count := follower.frames_with_small:
            result.problems.append(
                f'faces smaller than {follower.min_face} pixels were ignored in {count} of '
                f'{len(result.times)} frames'
            )
        result.problems.extend(result.notes())
        if not result.times:
            result.status = UNREADABLE
            result.problems = result.problems or ['holds no frame']
        else:
            result.status = SCORED if result.tracks else NO_FACE
        return result

    def _scored(
        self,
        stream: FrameStream,
        follower: FaceFollower,
        views: dict[int, _Views],
        progress: Progress | None,
    ) -> Iterator[_Pending]:
        """Yield frames in order, each as soon as its faces are scored."""
        queue: deque[_Pending] = deque()
        batch: list[tuple[_Pending, FoundFace, dict[str, Any]]] = []

        def score() -> None:
            scored = self.scorer.score([(pending.frame, found, packed) for pending, found, packed in batch])
            for (pending, found, _), (face, view) in zip(batch, scored, strict=True):
                pending.faces.append((found.track, face))
                pending.waiting -= 1
                views.setdefault(found.track, _Views()).add(view)
            batch.clear()

        for count, frame in enumerate(stream, 1):
            found = follower.find(frame)
            queue.append(_Pending(frame, len(found)))
            for face in found:
                batch.append((queue[-1], face, self.scorer.prepare(frame, face)))
                if len(batch) == self.batch_size:
                    score()
            if len(queue) > self.batch_size:
                # Stretches with few faces must not accumulate frames.
                score()
            while queue and not queue[0].waiting:
                yield queue.popleft()
            if progress is not None:
                progress(count, max(stream.expected, count))
        score()
        yield from queue


def _gather(
    tracks: dict[int, PersonTrack], views: dict[int, _Views], owner: Sequence[int]
) -> list[PersonTrack]:
    """Join the tracks of each person, numbered in the order of appearance; ``owner`` names the person."""
    people: dict[int, PersonTrack] = {}
    kept: dict[int, _Views] = {}
    for number in sorted(tracks):
        track = tracks[number]
        person = people.setdefault(owner[number], replace(track, number=len(people), faces=[]))
        person.faces.extend(track.faces)
        for _, _, view in views[number].heap:
            kept.setdefault(owner[number], _Views()).add(view)
    for key, person in people.items():
        person.faces.sort(key=lambda face: face.frame)
        person.views = kept[key].sorted()
    return list(people.values())
