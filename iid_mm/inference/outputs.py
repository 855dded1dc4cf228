# SPDX-License-Identifier: Apache-2.0
"""Files that tell a result: JSON, annotated pictures and videos, timeline and page."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.inference.analysis import Progress
from iid_mm.inference.annotate import VideoWriter, annotate_video
from iid_mm.inference.media import CAMERA, IMAGE, VIDEO, Media
from iid_mm.inference.pictures import draw_faces, plot_timeline
from iid_mm.inference.results import SCORED, FaceScore, MediaResult
from iid_mm.inference.sampling import TimedFrame
from iid_mm.utils.files import write_json
from iid_mm.visualization.drawing import write_picture
from iid_mm.visualization.plots import save_figure


@dataclass(frozen=True)
class OutputOptions:
    """What is written beside the JSON.

    Attributes:
        annotate: Annotated images and videos.
        timeline: The timeline of videos.
        report: One self-contained HTML page for each input.
        image_format: Suffix of annotated images, ``jpg`` or ``png``.
    """

    annotate: bool = True
    timeline: bool = True
    report: bool = False
    image_format: str = 'jpg'

    def __post_init__(self) -> None:
        if self.image_format not in ('jpg', 'png'):
            raise InputError(f'image_format={self.image_format!r}: choose jpg or png')


class OutputWriter:
    """Writes what was found in inputs to a folder.

    Args:
        folder: The folder; is made.
        options: What is written.

    Raises:
        InputError: The folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike[str], options: OutputOptions) -> None:
        self.folder = Path(folder)
        self.options = options
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f'.writable.{os.getpid()}'
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f'output folder {self.folder} cannot be written ({error.strerror or error}); choose another'
            ) from error

    def begin(self, media: Media, threshold: float, rate: float) -> MediaSink:
        """Begin with an input.

        Args:
            media: The input.
            threshold: Probability from which a face is called fake.
            rate: Frames a second of what a camera gives.
        """
        return MediaSink(media, self.folder, self.options, threshold, rate)


class MediaSink:
    """Takes the frames of one input while they are scored, and writes its files at the end."""

    def __init__(
        self, media: Media, folder: Path, options: OutputOptions, threshold: float, rate: float
    ) -> None:
        self.media = media
        self.folder = folder
        self.options = options
        self.threshold = threshold
        self.rate = rate
        self._picture: tuple[TimedFrame, list[tuple[int, FaceScore]]] | None = None
        self._live: VideoWriter | None = None

    def take(self, frame: TimedFrame, faces: list[tuple[int, FaceScore]]) -> None:
        """Take a scored frame; a camera's cannot be read again, so they are written at once."""
        if not self.options.annotate:
            return
        if self.media.kind == IMAGE:
            self._picture = (frame, faces)
        elif self.media.kind == CAMERA:
            if self._live is None:
                self._live = VideoWriter(self._path('_annotated.mp4'), self.rate)
            drawn = draw_faces(frame.image, faces, self.threshold, name_people=True)
            self._live.write(drawn, frame.time)

    def abort(self) -> None:
        """Leave nothing half done."""
        if self._live is not None:
            self._live.close(keep=False)

    def finish(self, result: MediaResult, progress: Progress | None = None) -> None:
        """Write the files; their names come into ``result.outputs``."""
        if self._live is not None:
            self._live.close()
            result.outputs['video'] = self._path('_annotated.mp4').name
        if self._picture is not None:
            frame, faces = self._picture
            path = self._path(f'_annotated.{self.options.image_format}')
            drawn = draw_faces(frame.image, faces, result.threshold, name_people=len(faces) > 1)
            write_picture(path, drawn, argument='out_dir=')
            result.outputs['image'] = path.name
        if result.status == SCORED and self.media.kind == VIDEO and self.options.annotate:
            assert self.media.path is not None
            path = self._path('_annotated.mp4')
            annotate_video(self.media.path, path, result, progress)
            result.outputs['video'] = path.name
        if result.status == SCORED and self.media.kind != IMAGE and self.options.timeline:
            path = self._path('_timeline.png')
            save_figure(plot_timeline(result), path)
            result.outputs['timeline'] = path.name
        if self.options.report:
            from iid_mm.inference.html_report import write_html_report

            path = self._path('_report.html')
            write_html_report(result, path)
            result.outputs['report'] = path.name
        path = self._path('.json')
        result.outputs['json'] = path.name
        write_json(path, result.as_dict())

    def _path(self, suffix: str) -> Path:
        return self.folder / f'{self.media.name}{suffix}'
