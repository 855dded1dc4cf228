# SPDX-License-Identifier: Apache-2.0
"""Output files of a result: JSON, annotated images and videos, timeline and HTML page."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.inference.analysis import Progress
from iid_mm.inference.annotate import VideoWriter, annotate_video
from iid_mm.inference.drawing import draw_faces, plot_timeline
from iid_mm.inference.earlier_results import (
    ANNOTATED_IMAGE,
    ANNOTATED_VIDEO,
    JSON,
    REPORT,
    TIMELINE,
    EarlierResult,
    UniqueNames,
    fold,
    read_result,
)
from iid_mm.inference.media import CAMERA, IMAGE, VIDEO, Media
from iid_mm.inference.results import SCORED, FaceScore, MediaResult
from iid_mm.inference.sampling import TimedFrame
from iid_mm.utils.files import (
    MAX_NAME_BYTES,
    printable,
    reason_of,
    safe_name,
    temporary_beside,
    write_bytes,
    write_json,
)
from iid_mm.visualization.drawing import encode_image
from iid_mm.visualization.plots import save_figure

_Write = Callable[[Path], object]
_ROOM = 255 - MAX_NAME_BYTES
"""Bytes reserved for a suffix and a number."""
_MAX_TAKEN = 100
"""Taken names that are tried again; more would make many equal names slow."""


@dataclass(frozen=True)
class OutputOptions:
    """Which files are written beside the JSON.

    Attributes:
        annotate: Annotated images and videos.
        timeline: The timeline of videos.
        report: One self-contained HTML page for each input.
    """

    annotate: bool = True
    timeline: bool = True
    report: bool = False


class OutputWriter:
    """Writes results to a folder.

    Only outputs of earlier runs on the same input are replaced. If the name of a result is taken by an input,
    a result of another input or any other file, it gets a number.

    Args:
        folder: The folder; created if missing.
        options: Which files are written.
        media: All inputs of the run.

    Raises:
        InputError: The folder cannot be created or written.
    """

    def __init__(
        self, folder: str | os.PathLike[str], options: OutputOptions, media: Sequence[Media] = ()
    ) -> None:
        self.folder = Path(folder)
        self.options = options
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = temporary_beside(self.folder / 'probe')
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f'output folder {printable(self.folder)} cannot be written ({reason_of(error)}); '
                'choose another'
            ) from error
        self._media = media
        self._longest = min(MAX_NAME_BYTES, _longest_name(self.folder) - _ROOM)
        self._names = UniqueNames()
        # Taken names: they may belong to an input that is still to come.
        self._taken: dict[str, list[str]] = {}

    def begin(self, media: Media, threshold: float, rate: float = 25.0) -> MediaSink:
        """Start an input.

        Args:
            media: The input.
            threshold: Probability from which a face is called fake.
            rate: Frames per second of a camera.
        """
        stem = safe_name(media.stem, self._longest)
        taken = self._taken.setdefault(fold(stem), [])
        tried = taken[:_MAX_TAKEN]
        for name in itertools.chain(tried, iter(lambda: self._names.give(stem), None)):
            free, earlier = self._is_free(name, media)
            if free:
                break
            if name not in tried:
                taken.append(name)
        if name in tried:
            taken.remove(name)
        sink = MediaSink(media, self.folder / name, self.options, threshold, rate)
        sink.earlier = earlier
        if taken:
            sink.note = f'results are named {name}: {taken[0]} is taken by another input or an unrelated file'
        return sink

    @functools.cached_property
    def _inputs(self) -> set[str]:
        return {os.path.realpath(item.path) for item in self._media if item.path is not None}

    def _is_free(self, name: str, media: Media) -> tuple[bool, EarlierResult | None]:
        """Whether a result may have this name, and the earlier result that it replaces."""
        paths = [self.folder / f'{name}{suffix}' for suffix in _suffixes_for(media, self.options)]
        there = [path for path in paths if os.path.lexists(path)]
        earlier = read_result(self.folder / f'{name}{JSON}')
        if earlier is not None and not earlier.is_of(media.place):
            return False, None
        own = earlier is not None and all(earlier.has_written(path) for path in there)
        if there and (not own or not self._inputs.isdisjoint(map(os.path.realpath, there))):
            return False, None
        return True, earlier


def _longest_name(folder: Path) -> int:
    """Longest file name in bytes; encrypted and network folders often allow less."""
    try:
        return os.pathconf(folder, 'PC_NAME_MAX')
    except (OSError, ValueError, AttributeError):
        return 255


def _suffixes_for(media: Media, options: OutputOptions) -> list[str]:
    """Suffixes of the files that may be written for an input."""
    annotated = ANNOTATED_IMAGE if media.kind == IMAGE else ANNOTATED_VIDEO
    chosen = {
        annotated: options.annotate,
        TIMELINE: options.timeline and media.kind != IMAGE,
        REPORT: options.report,
    }
    return [JSON, *(suffix for suffix, wanted in chosen.items() if wanted)]


class MediaSink:
    """Receives the scored frames of one input and writes its files.

    Args:
        media: The input.
        base: Path of the files without their suffixes.
        options: Which files are written.
        threshold: Probability from which a face is called fake.
        rate: Frames per second of a camera.

    Attributes:
        earlier: Earlier result of the same input, which is replaced; None if there is none.
        note: Why the files are not named after the input; empty if they are.
    """

    def __init__(
        self, media: Media, base: Path, options: OutputOptions, threshold: float, rate: float
    ) -> None:
        self.media = media
        self.base = base
        self.options = options
        self.threshold = threshold
        self.rate = rate
        self.earlier: EarlierResult | None = None
        self.note = ''
        self._image: tuple[TimedFrame, list[tuple[int, FaceScore]]] | None = None
        self._live: VideoWriter | None = None
        self._lost: Exception | None = None

    def take(self, frame: TimedFrame, faces: list[tuple[int, FaceScore]]) -> None:
        """Receive a scored frame; frames of a camera are written at once, since they cannot be read again."""
        if not self.options.annotate:
            return
        if self.media.kind == IMAGE:
            self._image = (frame, faces)
        elif self.media.kind == CAMERA and self._lost is None:
            try:
                if self._live is None:
                    self._live = VideoWriter(self._path(ANNOTATED_VIDEO), self.rate)
                drawn = draw_faces(frame.image, faces, self.threshold, name_people=True)
                self._live.write(drawn, frame.time)
            except Exception as error:
                # The verdict does not depend on the annotated video.
                self._lost = error

    def abort(self) -> None:
        """Discard unfinished files."""
        self._image = None
        if self._live is not None:
            self._live.close(keep=False)
            self._live = None

    def finish(self, result: MediaResult, progress: Progress | None = None) -> None:
        """Write the files and list them in ``result.outputs``.

        A file that cannot be written is listed in ``result.unwritten`` and ``result.problems``;
        the others are still written.

        Args:
            result: The result.
            progress: Called with the number of written frames and of all frames of an annotated video.
        """
        result.name = self.base.name
        result.path = '' if self.media.path is None else self.media.place
        if self.note:
            result.problems.append(self.note)
        jobs = self._jobs(result, progress)
        result.outputs = {kind: self._path(suffix).name for kind, (suffix, _) in jobs.items()}
        result.outputs['json'] = self._path(JSON).name
        if jobs:
            # The JSON comes first, so that files written before an abort are listed.
            with contextlib.suppress(Exception):
                write_json(self._path(JSON), result.as_dict())
        try:
            for kind, (suffix, write) in jobs.items():
                self._attempt(result, kind, self._path(suffix), write)
        finally:
            written = {self._path(JSON).name, *result.output_bytes}
            result.outputs = {kind: name for kind, name in result.outputs.items() if name in written}
            self._attempt(result, 'json', self._path(JSON), lambda path: write_json(path, result.as_dict()))
            self._remove_stale(result)

    def _jobs(self, result: MediaResult, progress: Progress | None) -> dict[str, tuple[str, _Write]]:
        """Files to write: suffix and function; the page last, since it lists problems of the others."""
        jobs: dict[str, tuple[str, _Write]] = {}
        scored, kind = result.status == SCORED, self.media.kind
        if self._live is not None or self._lost is not None:
            jobs['video'] = (ANNOTATED_VIDEO, self._write_live)
        if self._image is not None:
            jobs['image'] = (ANNOTATED_IMAGE, lambda path: self._write_image(path, result))
        if scored and kind == VIDEO and self.options.annotate:
            jobs['video'] = (ANNOTATED_VIDEO, lambda path: self._write_video(path, result, progress))
        if scored and kind != IMAGE and self.options.timeline:
            jobs['timeline'] = (TIMELINE, lambda path: save_figure(plot_timeline(result), path))
        if self.options.report:
            from iid_mm.inference.html_report import write_html_report

            jobs['report'] = (REPORT, lambda path: write_html_report(result, path))
        return jobs

    def _attempt(self, result: MediaResult, kind: str, path: Path, write: _Write) -> None:
        try:
            write(path)
            if kind != 'json':
                result.output_bytes[path.name] = path.stat().st_size
        except BaseException as error:
            result.outputs.pop(kind, None)
            if not isinstance(error, Exception):
                raise
            if os.environ.get('IID_DEBUG') == '1':
                raise
            text = f'{printable(path.name)} cannot be written ({reason_of(error)})'
            result.unwritten.append(text)
            result.problems.append(text)

    def _write_live(self, path: Path) -> None:
        if self._lost is not None:
            if self._live is not None:
                self._live.close(keep=False)
            raise self._lost
        assert self._live is not None
        self._live.close()

    def _write_image(self, path: Path, result: MediaResult) -> None:
        assert self._image is not None
        frame, faces = self._image
        drawn = draw_faces(frame.image, faces, result.threshold, name_people=len(faces) > 1)
        write_bytes(path, encode_image(drawn, path.suffix))

    def _write_video(self, path: Path, result: MediaResult, progress: Progress | None) -> None:
        assert self.media.path is not None
        annotate_video(self.media.path, path, result, progress)

    def _remove_stale(self, result: MediaResult) -> None:
        """Remove outputs of the earlier result that this one lacks: they would be taken for current."""
        if self.earlier is None or 'json' not in result.outputs:
            return
        for name in set(self.earlier.outputs) - set(result.outputs.values()):
            path = self.base.with_name(name)
            if self.earlier.has_written(path):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _path(self, suffix: str) -> Path:
        return self.base.with_name(f'{self.base.name}{suffix}')
