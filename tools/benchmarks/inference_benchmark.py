# SPDX-License-Identifier: Apache-2.0
"""How fast videos are analyzed, from the file to the score of every frame."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.faces.analyzers.base import FaceAnalyzer
from iid_mm.faces.cropping import CropSettings
from iid_mm.inference.analysis import MediaAnalyzer
from iid_mm.inference.faces import FaceFollower, FoundFace
from iid_mm.inference.media import find_media
from iid_mm.inference.sampling import FrameStream, Sampling, TimedFrame, open_stream
from iid_mm.inference.scorer import FaceScorer, face_pipeline
from turns import take_turns, torch_threads


class _Clock:
    """Adds up the time of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started


class _TimedFollower(FaceFollower):
    def __init__(self, clock: _Clock, analyzer: FaceAnalyzer) -> None:
        super().__init__(analyzer, CropSettings())
        self.clock = clock

    def find(self, frame: TimedFrame) -> list[FoundFace]:
        with self.clock.step('find and cut out faces'):
            return super().find(frame)


class _TimedScorer(FaceScorer):
    clock: _Clock

    def prepare(self, frame: TimedFrame, found: FoundFace) -> dict[str, Any]:
        with self.clock.step('align'):
            return super().prepare(frame, found)

    def score(self, items: Any) -> Any:
        with self.clock.step('score'):
            return super().score(items)


class _TimedStream:
    """A stream whose decoding is timed."""

    def __init__(self, stream: FrameStream, clock: _Clock) -> None:
        self.stream = stream
        self.clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __iter__(self) -> Iterator[TimedFrame]:
        frames = iter(self.stream)
        while True:
            with self.clock.step('decode'):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame


def measure_inference(
    config: Config,
    media: Path,
    analyzer: FaceAnalyzer,
    *,
    batch_sizes: Sequence[int] = (1, 32),
    frames: int = 32,
    rounds: int = 3,
    threads: int = 1,
    device: str = 'cpu',
) -> dict[str, Any]:
    """Time the analysis of one video by a model with random weights.

    Args:
        config: Config of the model.
        media: The video.
        analyzer: Finds the faces.
        batch_sizes: Faces scored at a time; the first is the baseline.
        frames: Frames of the video to analyze.
        rounds: Rounds that count; in each all batch sizes take turns.
        threads: Threads of PyTorch.
        device: Where to compute.

    Returns:
        ``frames`` and ``faces`` in the video; ``batches``: for each batch size the metrics of
        :func:`~turns.take_turns` and ``steps_ms``, wall time a frame by step.

    Raises:
        InputError: If a number is not possible, or the video shows no face.
    """
    if min(batch_sizes, default=0) < 1 or min(frames, rounds, threads) < 1:
        raise InputError(
            f'batch_sizes={list(batch_sizes)}, frames={frames}, rounds={rounds}, threads={threads}: must be '
            'at least 1'
        )
    (item,) = find_media(media)
    sampling = Sampling(frames=frames)
    model = init_model(config, device=device)
    clocks = {size: _Clock() for size in dict.fromkeys(batch_sizes)}
    found: dict[str, int] = {}

    def run(size: int) -> None:
        clock = clocks[size]
        scorer = _TimedScorer(model, face_pipeline(config))
        scorer.clock = clock
        analysis = MediaAnalyzer(lambda: _TimedFollower(clock, analyzer), scorer, size)
        stream: Any = _TimedStream(open_stream(item, sampling), clock)
        result = analysis.analyze(item, stream)
        found.update(frames=len(result.times), faces=sum(len(track.faces) for track in result.tracks))

    first = next(iter(clocks))
    run(first)
    if not found['faces']:
        raise InputError(f'{media}: no face was found in {found["frames"]} frames; choose another video')
    with torch_threads(threads):
        steps = {str(size): (lambda size=size: run(size)) for size in clocks}
        for clock in clocks.values():
            clock.seconds.clear()
        metrics: dict[str, Any] = dict(take_turns(steps, found['frames'], rounds))
    for size, clock in clocks.items():
        # The round that does not count is in the sum, too.
        runs = (rounds + 1) * found['frames']
        metrics[str(size)]['steps_ms'] = {name: 1e3 * value / runs for name, value in clock.seconds.items()}
    return {**found, 'baseline': f'batches of {first}', 'batches': metrics}
