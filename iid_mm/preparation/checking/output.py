# SPDX-License-Identifier: Apache-2.0
"""The result of a check: text for a terminal or a log, a summary for a paper's appendix, a contact sheet."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from rich.console import Console
from rich.text import Text

from iid_mm.datasets.index import SPLITS, resolve_inside
from iid_mm.errors import InputError
from iid_mm.preparation.checking.facts import ANY_SPLIT, facts_of
from iid_mm.preparation.checking.findings import SEVERITIES, Finding, plural
from iid_mm.preparation.checking.image_decoding import read_image
from iid_mm.preparation.checking.prepared_set import PreparedSet, Report, Video
from iid_mm.preparation.checking.runner import CheckResult
from iid_mm.preparation.checking.video_checks import SPLIT_ORDER, CountRow, shared_identities
from iid_mm.utils.files import printable
from iid_mm.utils.tables import markdown_table

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray
    from iid_mm.visualization.contact_sheet import SheetRow

_STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'cyan'}
_LOG_WIDTH = 120
_HEAD = [
    *('Dataset', 'Split', 'Genuine videos', 'Fake videos', 'Genuine frames', 'Fake frames', 'Identities'),
    *('Faces by', 'Frames a video', 'Crop margin', 'Stored as', 'Frames found', 'Left out'),
]
_FORMATS = {'png': 'PNG', 'jpg': 'JPEG', 'webp': 'WebP'}
UNKNOWN = 'not recorded'
MAX_ROWS = 64
COLUMNS = 8


# Terminal


def print_result(result: CheckResult, *, strict: bool = False, file: TextIO | None = None) -> None:
    """Print tables, findings and a verdict.

    Args:
        result: The result.
        strict: Whether missing videos of an official set make the verdict negative.
        file: Output stream; None: stdout.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for (dataset, compression), group in groupby(result.counts, attrgetter('dataset', 'compression')):
        rows = list(group)
        official = ' of those that the official set has' if any(r.expected is not None for r in rows) else ''
        console.print(Text(f'{printable(dataset)} ({printable(compression)}): videos found{official}'))
        splits = _splits_of(rows)
        names = ['all splits' if split == ANY_SPLIT else split for split in splits]
        lines = [
            [mine[0].method, *_count_cells(mine, splits), str(sum(row.frames for row in mine))]
            for mine in _by_method(rows)
        ]
        console.print(Text('\n'.join(markdown_table([['method', 'label', *names, 'frames'], *lines])) + '\n'))
    # A log has no width of its own.
    width = console.width if console.is_terminal else _LOG_WIDTH
    for finding in result.findings:
        console.print(_format_finding(finding, width))
    console.print(Text(_verdict(result, strict), style='bold'))


def _by_method(rows: Sequence[CountRow]) -> list[list[CountRow]]:
    """Rows of each dataset, compression, label and method."""
    key = attrgetter('dataset', 'compression', 'label', 'method')
    return [list(group) for _, group in groupby(rows, key)]


def _splits_of(rows: Sequence[CountRow]) -> list[str]:
    return [split for split in SPLIT_ORDER if any(row.split == split for row in rows)]


def _count_cells(rows: Sequence[CountRow], splits: Sequence[str]) -> list[str]:
    """Label of one method and its videos in each split."""
    texts = {row.split: row.text for row in rows}
    return ['fake' if rows[0].label else 'genuine', *(texts.get(split, '') for split in splits)]


def _format_finding(finding: Finding, width: int) -> Text:
    """A line that can be searched for; examples, which are not wrapped, and the remedy indented below."""
    text = Text()
    text.append(f'{finding.severity}: ', style=_STYLES[finding.severity])
    text.append(f'{finding.where}: {finding.message} [{finding.check}]\n')
    for example in finding.examples:
        text.append(f'    {example}\n', style='dim')
    if len(finding.examples) < finding.count and finding.examples:
        text.append('    ...\n', style='dim')
    if finding.remedy:
        text.append(textwrap.indent(textwrap.fill(f'-> {finding.remedy}', max(width - 4, 40)), '    '))
    text.rstrip()
    return text


def _verdict(result: CheckResult, strict: bool) -> str:
    rows = sum(prepared.rows for prepared in result.sets)
    videos = sum(len(prepared.videos) for prepared in result.sets)
    looked = f'{rows} rows of {videos} videos, images of {result.decoded} rows decoded'
    numbers = ', '.join(plural(result.number(kind), kind) for kind in SEVERITIES)
    end = 'FAILED' if result.failed(strict) else 'passed'
    if strict and not result.number('error') and result.failed(strict):
        end += ' (--strict: videos of an official set are missing)'
    return f'{looked}: {numbers}: {end}'


# Summary


def summarize(sets: Sequence[PreparedSet], counts: Sequence[CountRow]) -> str:
    """Describe the data of a study.

    Args:
        sets: The sets.
        counts: Videos by method, from :func:`~iid_mm.preparation.checking.counts.count_videos`.

    Returns:
        Markdown: a table with a line for each dataset and split, a table of the methods, and a
        paragraph for each set.
    """
    lines = [cells for prepared in sets for cells in _set_lines(prepared)]
    blocks = [markdown_table([_HEAD, *lines]), _method_table(counts)]
    blocks += [[_protocol(prepared)] for prepared in sets if prepared.rows]
    return '\n\n'.join('\n'.join(block) for block in blocks if block) + '\n'


def _set_lines(prepared: PreparedSet) -> list[list[str]]:
    lines = []
    settings = prepared.settings or {}
    margin = 'none' if prepared.settings and _kept_whole(prepared) else _margin(settings)
    end = [margin, _stored(settings), _found(prepared.report), _left_out(prepared)]
    heads = dict.fromkeys((video.dataset, video.compression) for video in prepared.videos)
    for dataset, compression in sorted(heads):
        for split in SPLITS:
            head = (dataset, compression, split)
            videos = [v for v in prepared.videos if (v.dataset, v.compression, v.split) == head]
            if not videos:
                continue
            kinds = [[video for video in videos if video.label == label] for label in (0, 1)]
            people = {identity for video in videos for identity in video.identities}
            lines.append(
                [
                    dataset if compression == 'native' else f'{dataset} ({compression})',
                    split,
                    *(str(len(kind)) for kind in kinds),
                    *(str(sum(video.frames for video in kind)) for kind in kinds),
                    str(len(people)) if people else 'unknown',
                    _faces_by(settings),
                    _frames_a_video(videos),
                    *end,
                ]
            )
    return lines


def _method_table(counts: Sequence[CountRow]) -> list[str]:
    splits = _splits_of(counts)
    lines = [
        [rows[0].dataset, rows[0].compression, rows[0].method, *_count_cells(rows, splits)]
        for rows in _by_method(counts)
        # A method that is not there at all is no part of the study.
        if any(row.found for row in rows)
    ]
    names = [f'Videos, {"all" if split == ANY_SPLIT else split}' for split in splits]
    return markdown_table([['Dataset', 'Compression', 'Method', 'Label', *names], *lines], 4) if lines else []


def _faces_by(settings: dict[str, Any]) -> str:
    if not settings.get('analyzer'):
        return UNKNOWN
    return f'{settings["analyzer"]} {settings.get("analyzer_version") or ""}'.strip()


def _margin(settings: dict[str, Any]) -> str:
    margin = settings.get('margin')
    return f'{100 * margin:g} %' if isinstance(margin, (int, float)) else UNKNOWN


def _stored(settings: dict[str, Any]) -> str:
    """Format of the crops, with its quality where it is lossy, and the longest side."""
    if not settings.get('image_format'):
        return UNKNOWN
    name = _FORMATS.get(settings['image_format'], str(settings['image_format']))
    if (quality := settings.get('quality')) is not None:
        name = f'{name} quality {quality}'
    side = settings.get('max_side')
    return f'{name}, up to {side} px' if side else name


def _found(report: Report) -> str:
    if not report.asked or report.found is None:
        return UNKNOWN
    return f'{100 * report.found / report.asked:.2f} %'


def _left_out(prepared: PreparedSet) -> str:
    report = prepared.report
    if report.problem:
        return UNKNOWN
    parts = {
        'not used': len(report.left_out),
        'missing': len(report.missing),
        'without face': prepared.faceless[0],
    }
    return ', '.join(f'{count} {name}' for name, count in parts.items() if count) or 'none'


def _frames_a_video(videos: Sequence[Video]) -> str:
    frames = [video.frames for video in videos]
    low, high = min(frames), max(frames)
    return str(low) if low == high else f'{low}-{high} (median {np.median(frames):g})'


def _kept_whole(prepared: PreparedSet) -> bool:
    """Whether the images were crops already: windows around a face do not all begin at the corner."""
    return prepared.rows > 0 and not prepared.windows[:, :2].any()


def _protocol(prepared: PreparedSet) -> str:
    """How the set was made, in sentences; nothing is claimed that the settings do not say."""
    datasets = sorted({video.dataset for video in prepared.videos})
    levels = sorted({video.compression for video in prepared.videos} - {'native'})
    titles, suffix = ' and '.join(facts_of(name).title for name in datasets), ', '.join(levels)
    lines = [f'**{titles} ({suffix}).**' if levels else f'**{titles}.**']
    if prepared.settings is None:
        lines.append('How the face crops were made is not recorded in the index.')
    else:
        lines += _settings_sentences(prepared.settings, _kept_whole(prepared))
    return printable(' '.join([*lines, *_counts_sentences(prepared)]))


def _settings_sentences(settings: dict[str, Any], whole: bool) -> list[str]:
    version = f', preparation version {settings["version"]}' if settings.get('version') else ''
    lines = [f'Face crops were prepared with iid_mm (layout {settings.get("layout")}{version}).']
    if settings.get('stills'):
        lines.append('Every image counts as a still, not as a frame of a video.')
    elif frames := settings.get('frames'):
        lines.append(f'Up to {frames} evenly spaced frames were taken from each video.')
    if settings.get('analyzer') == 'precomputed':
        lines.append('The landmarks came with the dataset.')
    elif settings.get('analyzer'):
        lines.append(f'Faces and landmarks were found with {_faces_by(settings)}.')
    stored = _stored(settings)
    if whole:
        lines.append(f'The images were face crops already; they were kept whole and stored as {stored}.')
    elif isinstance(settings.get('margin'), (int, float)):
        lines.append(
            f'A crop is a square around the face from chin to hairline with {_margin(settings)} of its '
            f'longer side added on each side, clipped to the frame and stored as {stored}.'
        )
    if settings.get('val_fraction'):
        share = 100 * settings['val_fraction']
        lines.append(f'{share:g} % of the training identities were moved to the validation split.')
    return lines


def _counts_sentences(prepared: PreparedSet) -> list[str]:
    fakes = int((prepared.numbers('label') == 1).sum())
    paired = prepared.rows - prepared.column('source_image').null_count
    lines = []
    report = prepared.report
    if (share := _found(report)) != UNKNOWN:
        lines.append(f'A face was found in {report.found} of {report.asked} frames ({share}).')
    if fakes:
        lines.append(
            f'{paired} of {plural(fakes, "fake frame")} have the genuine frame they were made from as a '
            'counterpart.'
        )
    if (left := _left_out(prepared)) not in (UNKNOWN, 'none'):
        lines.append(f'Videos left out: {left}.')
    sizes = {split: sum(video.split == split for video in prepared.videos) for split in SPLITS}
    named = [f'{split} {number}' for split, number in sizes.items() if number]
    lines.append(f'Videos by split: {", ".join(named)}.')
    if not any(video.identities for video in prepared.videos):
        lines.append('Who is shown is not recorded.')
    elif len(named) > 1:
        datasets = {video.dataset for video in prepared.videos}
        own = [[video for video in prepared.videos if video.dataset == name] for name in datasets]
        shared = sum(len(shared_identities(videos)) for videos in own)
        known = plural(shared, 'identity') if shared else 'No identity'
        lines.append(f'{known} in more than one split, by the target and source ids of the dataset.')
    return lines


# Contact sheet


def draw_sheet(sets: Sequence[PreparedSet]) -> ImageArray:
    """Draw samples of every method, evenly chosen over the splits; the same for the same indexes.

    Args:
        sets: The sets.

    Returns:
        The sheet, BGR.

    Raises:
        InputError: If there is no row to show.
    """
    # Loads matplotlib for its fonts, which other checks do not need.
    from iid_mm.visualization.contact_sheet import contact_sheet

    rows = [row for prepared in sets for row in _sheet_rows(prepared)]
    if not rows:
        raise InputError('the indexes have no rows, so there is nothing to draw; leave --sheet out')
    # Not the whole path: sheets are passed on.
    title = ', '.join(f'{prepared.root.resolve().name}/{prepared.path.name}' for prepared in sets)
    if len(rows) > MAX_ROWS:
        title = f'{title} (the first {MAX_ROWS} of {len(rows)} kinds)'
    return contact_sheet(rows[:MAX_ROWS], title, columns=COLUMNS)


def _sheet_rows(prepared: PreparedSet) -> list[SheetRow]:
    """Genuine kinds first, then fakes, by name."""
    from iid_mm.visualization.contact_sheet import SheetRow, SheetSample

    kinds: dict[tuple[str, int, str, str], list[int]] = {}
    for number, video in enumerate(prepared.videos):
        kind = (video.dataset, video.label, video.method, video.compression)
        kinds.setdefault(kind, []).append(number)
    drawn = []
    for (dataset, label, method, compression), videos in sorted(kinds.items()):
        # A fake with its genuine frame takes two tiles.
        chosen = _choose(prepared, videos, COLUMNS // 2)
        if not any(prepared.texts('source_image', chosen)):
            chosen = _choose(prepared, videos, COLUMNS)
        values = [prepared.texts(name, chosen) for name in ('image', 'source_image', 'frame')]
        samples = []
        for row, points, image, pair, frame in zip(chosen, prepared.landmarks(chosen), *values, strict=True):
            video = prepared.videos[int(prepared.video_codes[row])]
            caption = [f'{video.split}  {video.name.rsplit("/", 1)[-1]}', f'frame {frame}']
            other = _read(prepared, pair) if pair is not None else None
            samples.append(SheetSample(_read(prepared, image), points, caption, other))
        frames = sum(prepared.videos[number].frames for number in videos)
        note = f'{plural(len(videos), "video")}, {plural(frames, "frame")}'
        title = f'{dataset}  {method}  {compression}: {"fake" if label else "genuine"}'
        drawn.append(SheetRow(title, note, bool(label), samples))
    return drawn


def _choose(prepared: PreparedSet, videos: list[int], number: int) -> list[int]:
    """Rows of some videos: as many from each split as can be, each from another video if there are enough."""
    by_split = {
        split: own
        for split in SPLITS
        if (own := [video for video in videos if prepared.videos[video].split == split])
    }
    chosen: list[int] = []
    for place, own in enumerate(by_split.values()):
        share = number // len(by_split) + (place < number % len(by_split))
        own.sort(key=lambda video: prepared.videos[video].key)
        for turn, at in enumerate(np.linspace(0, len(own) - 1, share).round().astype(int).tolist()):
            rows = np.flatnonzero(prepared.video_codes == own[at])
            # Another frame of each video, so that a video shown twice does not look the same.
            chosen.append(int(rows[(2 * turn + 1) * len(rows) // (2 * share)]))
    return chosen


def _read(prepared: PreparedSet, name: str) -> ImageArray | None:
    try:
        return read_image(str(resolve_inside(prepared.root, name)))[0]
    except (FileNotFoundError, InputError):
        return None
