# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page for readers who are not engineers."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import cv2
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from iid_mm.errors import InputError
from iid_mm.evaluation.statistics.calibration import TemperatureFit
from iid_mm.inference.drawing import draw_faces, draw_view, plot_timeline
from iid_mm.inference.media import CAMERA, IMAGE
from iid_mm.inference.results import NO_FACE, SCORED, FaceView, MediaResult, PersonTrack
from iid_mm.inference.sampling import FrameStream, ImageStream, Sampling, VideoStream
from iid_mm.utils.files import printable, reason_of, sha256, write_text
from iid_mm.utils.typing import ImageArray
from iid_mm.visualization.drawing import fit_image

MAX_PEOPLE = 8
"""Number of people shown with images; the table lists all who count."""
OVERVIEW_SIZE = (1200, 900)
"""Largest width and height of the whole frame."""
VIEW_SIZE = 224
JPEG_QUALITY = 85
VERY, RATHER = 0.9, 0.7
"""Calibrated probabilities from which the verdict reads "very likely" and "probably"."""

AGGREGATIONS = {
    'mean': 'mean of the scores of all frames',
    'median': 'median of the scores of all frames',
    'max': 'highest score of any frame',
    'topk': 'mean of the highest scores',
    'logit_mean': 'mean of the log-odds of all frames',
}
"""Aggregations in words."""


def write_html_report(result: MediaResult, path: Path, original: Path | None = None) -> None:
    """Write the page atomically.

    Args:
        result: The result.
        path: The file.
        original: The analyzed file, of which a whole frame is shown; None: ``result.source``. Left out if it
            cannot be read.

    Raises:
        InputError: The page cannot be written.
    """
    text = render_html_report(result, original)
    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(
            f'report {printable(path)} cannot be written ({reason_of(error)}); choose another folder'
        ) from error


def render_html_report(result: MediaResult, original: Path | None = None) -> str:
    """Render the page; for the arguments see :func:`write_html_report`.

    Returns:
        HTML without external references.
    """
    file = _original(result, original)
    people = sorted(result.main_tracks, key=lambda track: -track.probability)
    timeline = result.status == SCORED and result.kind != IMAGE and len(result.times) > 1
    return _template().render(
        result=result,
        name=_name(result),
        verdict=verdict_of(result),
        overview=_overview(result, file),
        timeline=_timeline(result) if timeline else None,
        people=[_person(result, track) for track in people],
        shown=MAX_PEOPLE,
        passed_over=len(result.tracks) - len(people),
        looked_at=_looked_at(result),
        gaps=result.kind != IMAGE and len(result.times) < result.total_frames,
        miscalibrated=_miscalibrated(result),
        supported=_supported(result),
        counted=(fit := _fit_of(result)) is not None and fit.limits is not None,
        facts=_facts(result, file),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader('iid_mm.inference'),
        autoescape=True,
        # Names of files and of checkpoints, and whatever messages quote.
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['percent'] = _percent
    environment.filters['of_hundred'] = _of_hundred
    environment.filters['clock'] = _clock
    return environment.get_template('report.html.j2')


@dataclass(frozen=True)
class Verdict:
    """The verdict in words.

    Attributes:
        tone: ``fake``, ``genuine``, ``unclear`` or ``none``: selects the style.
        headline: The sentence.
        value: Calibrated probability, or the score without a calibration; None without a face.
        mark: ``threshold`` on the scale of ``value``.
    """

    tone: str
    headline: str
    value: float | None = None
    mark: float = 0.5


def verdict_of(result: MediaResult) -> Verdict:
    """Put the verdict into words that claim no more than the model supports.

    Likelihoods are stated only for calibrated models.
    """
    if result.status == NO_FACE:
        return Verdict('none', 'No face found')
    if result.status != SCORED or result.probability is None:
        return Verdict('none', 'The input could not be read')
    value, mark = result.calibrated(result.probability), result.calibrated(result.threshold)
    fake = bool(result.is_fake)
    if result.has_suspicious_parts:
        return Verdict('unclear', 'Unclear: parts look manipulated', value, mark)
    if result.calibration is None:
        headline = 'The model calls it manipulated' if fake else 'The model finds no manipulation'
        return Verdict('fake' if fake else 'genuine', headline, value, mark)
    sure = value if fake else 1 - value
    if sure < RATHER:
        way = 'manipulated' if fake else 'genuine'
        return Verdict('unclear', f'Unclear, leaning toward {way}', value, mark)
    if fake:
        headline = 'Very likely manipulated' if sure >= VERY else 'Probably manipulated'
    else:
        headline = 'No sign of manipulation found' if sure >= VERY else 'Probably not manipulated'
    return Verdict('fake' if fake else 'genuine', headline, value, mark)


def _miscalibrated(result: MediaResult) -> str:
    """A warning if the calibration does not fit the aggregation; else empty."""
    if result.calibration is None or result.kind == IMAGE or not result.tracks:
        return ''
    used, fitted = result.tracks[0].aggregation, result.calibration.aggregation
    if used == fitted:
        return ''
    return (
        f'But it was calibrated for another aggregation of frames ({_in_words(fitted)}) than the one used '
        f'here ({_in_words(used)}), so treat the percentage with caution.'
    )


def _in_words(aggregation: str, top_k: int | None = None) -> str:
    if aggregation == 'topk' and top_k is not None:
        return f'mean of the {top_k} highest scores'
    return AGGREGATIONS.get(aggregation, aggregation)


def _name(result: MediaResult) -> str:
    """Name of the source without its folder, which may be private."""
    return printable(result.source if result.kind == CAMERA else Path(result.source).name)


def _original(result: MediaResult, original: Path | None) -> Path | None:
    path = original if original is not None or result.kind == CAMERA else Path(result.source)
    return path if path is not None and path.is_file() else None


def _person(result: MediaResult, track: PersonTrack) -> dict[str, Any]:
    decisive = result.decisive
    return {
        'number': track.number + 1,
        'score': track.probability,
        'calibrated': None if result.calibration is None else result.calibrated(track.probability),
        'fake': track.probability >= result.threshold,
        'decides': decisive is not None and decisive.number == track.number,
        'frames': len(track.faces),
        'first': track.faces[0].time,
        'last': track.faces[-1].time,
        'views': [_view(view) for view in track.views[: 1 if result.kind == IMAGE else None]],
    }


def _view(view: FaceView) -> dict[str, Any]:
    return {
        'score': view.score.probability,
        'time': view.score.time,
        'frame': view.score.frame,
        'boxes': _jpeg(draw_view(view, VIEW_SIZE)),
        'heat': None if view.heat is None else _jpeg(draw_view(view, VIEW_SIZE, heat=True)),
    }


def _overview(result: MediaResult, file: Path | None) -> dict[str, Any] | None:
    """The whole image; of a video, the frame in which the decisive person is most suspicious."""
    if file is None:
        return None
    decisive = result.decisive
    stream: FrameStream
    if result.kind == IMAGE:
        stream = ImageStream(file)
    elif decisive is not None and decisive.views:
        stream = VideoStream(file, Sampling(), [decisive.views[0].score.frame])
    else:
        return None
    for frame in stream:
        faces = [
            (track.number, face)
            for track in result.main_tracks
            for face in track.faces
            if face.frame == frame.number
        ]
        drawn = draw_faces(frame.image, faces, result.threshold, name_people=len(result.main_tracks) > 1)
        fitting = min(OVERVIEW_SIZE[0] / drawn.shape[1], OVERVIEW_SIZE[1] / drawn.shape[0]) < 1
        shown = fit_image(drawn, OVERVIEW_SIZE)[0] if fitting else drawn
        return {'image': _jpeg(shown), 'time': frame.time, 'frame': frame.number}
    return None


def _timeline(result: MediaResult) -> str:
    buffer = io.BytesIO()
    plot_timeline(result).savefig(buffer, format='png')
    return _data_uri(buffer.getvalue(), 'png')


def _jpeg(image: ImageArray) -> str:
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return _data_uri(data.tobytes(), 'jpeg')


def _data_uri(data: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(data).decode("ascii")}'


def _looked_at(result: MediaResult) -> str:
    count = len(result.times)
    if not count:
        return 'nothing'
    if result.kind == IMAGE:
        return 'the whole image'
    frames = f'{count} of {result.total_frames} frames'
    return f'{frames}, {_clock(result.total_frames / result.rate)} long' if result.rate else frames


def _facts(result: MediaResult, file: Path | None) -> dict[str, list[tuple[str, str]]]:
    """Names and values of the protocol, by heading."""
    model, tracks = result.model, result.tracks
    input_facts = [('file', _name(result)), ('kind', result.kind)]
    if result.size[0]:
        input_facts.append(('size', f'{result.size[0]} x {result.size[1]} pixels'))
    input_facts.append(('analyzed', _looked_at(result)))
    if tracks and result.kind != IMAGE:
        seen = {face.frame for track in tracks for face in track.faces}
        input_facts.append(('of these without a face', str(len(set(result.times) - seen))))
    if file is not None:
        input_facts.append(('SHA-256 of the file', sha256(file)))
    names = {
        'checkpoint': 'checkpoint',
        'sha256': 'SHA-256 of the checkpoint',
        'backend': 'computed by',
        'analyzer': 'faces found by',
        'version': 'iid_mm',
    }
    model_facts = [(word, str(model[key])) for key, word in names.items() if model.get(key)]
    if model.get('config'):
        model_facts.insert(0, ('config', Path(str(model['config'])).name))
    return {
        'Input': input_facts,
        'Model': model_facts,
        'Calibration': _calibration_facts(result) if tracks else [],
        'Answer': _answer_facts(result),
    }


def _answer_facts(result: MediaResult) -> list[tuple[str, str]]:
    rows = []
    if result.tracks:
        if result.kind != IMAGE:
            track = result.tracks[0]
            rows.append(('score of a person', _in_words(track.aggregation, track.top_k)))
            rows.append(('score of the whole', 'that of its most suspicious person'))
        rows.append(('threshold', f'manipulated from a score of {_percent(result.threshold)} on'))
    rows.append(('created', datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z')))
    return rows


def _fit_of(result: MediaResult) -> TemperatureFit | None:
    """The fit for this kind of input; None if nothing is calibrated."""
    if result.calibration is None:
        return None
    return result.calibration.frame if result.kind == IMAGE else result.calibration.video


def _supported(result: MediaResult) -> str:
    """The range of probabilities that the calibration data supports; empty without a calibration."""
    fit = _fit_of(result)
    if fit is None:
        return ''
    if fit.limits is None:
        return (
            'The checkpoint was calibrated by an older version, which did not limit the percentage by the '
            'number of validation videos: values near 0 or 100 % may claim too much. Calibrate it again.'
        )
    low, high = (f'{100 * limit:.3g} %' for limit in fit.limits)
    return (
        f'The {fit.genuine_videos} genuine and {fit.fake_videos} manipulated videos it was calibrated with '
        f'support nothing below {low} and nothing above {high}, however clear the score is.'
    )


def _calibration_facts(result: MediaResult) -> list[tuple[str, str]]:
    fit = _fit_of(result)
    if fit is None or result.calibration is None:
        return [('state', 'not calibrated: scores rank inputs, but are no probabilities')]
    unit = 'images' if result.kind == IMAGE else 'videos'
    edge = ' (at the edge of the range that was searched: the scores say little)' if fit.at_edge else ''
    return [
        ('state', 'calibrated by temperature scaling'),
        ('fitted on', result.calibration.data),
        (unit, f'{fit.samples}, {fit.fakes} of them manipulated; both kinds weigh equally'),
        ('limits', _supported(result)),
        ('temperature', f'{fit.temperature:.3f}{edge}'),
        (
            'calibration error on these',
            f'{_percent(fit.error_before)} before, {_percent(fit.error_after)} after',
        ),
    ]


def _percent(value: float) -> str:
    """A share in percent; 0 and 100 only where exact."""
    if 0 < value < 0.005:
        return 'below 1 %'
    if 0.995 <= value < 1:
        return 'above 99 %'
    return f'{100 * value:.0f} %'


def _of_hundred(value: float, *, supported: bool = True) -> str:
    if not supported:
        return f'about {100 * value:.0f}'
    if value < 0.01:
        return 'at most 1'
    return 'at least 99' if value > 0.99 else f'about {100 * value:.0f}'


def _clock(seconds: float) -> str:
    """A time, ``5.2 s``, ``3:05`` or ``1:02:05``."""
    if seconds < 59.95:
        return f'{seconds:.1f} s'
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    tail = f'{minutes:02d}:{whole % 60:02d}'
    return f'{hours}:{tail}' if hours else f'{minutes}:{whole % 60:02d}'
