# SPDX-License-Identifier: Apache-2.0
"""The result of a check: text for a terminal or a log, and a summary for a paper's appendix."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iid_mm.datasets.index import SPLITS
from iid_mm.preparation.checking.counts import SPLIT_ORDER, CountRow
from iid_mm.preparation.checking.facts import facts_of
from iid_mm.preparation.checking.findings import SEVERITIES, Finding, plural
from iid_mm.preparation.checking.index_checks import faceless_videos
from iid_mm.preparation.checking.prepared_set import PreparedSet, Video
from iid_mm.preparation.checking.runner import CheckResult
from iid_mm.preparation.checking.split_checks import shared_identities
from iid_mm.utils.files import printable
from iid_mm.utils.tables import markdown_table

_STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'cyan'}
_LOG_WIDTH = 120
_TABLE_WIDTH = 240
_HEAD = [
    *('Dataset', 'Split', 'Genuine videos', 'Fake videos', 'Genuine frames', 'Fake frames', 'Identities'),
    *('Faces by', 'Frames a video', 'Crop margin', 'Stored as', 'Frames found', 'Left out'),
]
_FORMATS = {'png': 'PNG', 'jpg': 'JPEG', 'webp': 'WebP'}
UNKNOWN = 'not recorded'


# Terminal


def print_result(result: CheckResult, *, strict: bool = False, file: TextIO | None = None) -> None:
    """Print tables, findings and a verdict.

    Args:
        result: The result.
        strict: Whether missing videos of an official set make the verdict negative.
        file: Where to; None for stdout.
    """
    console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)
    # A log has no width of its own, and its tables should survive being pasted.
    style = box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN
    width = console.width if console.is_terminal else _LOG_WIDTH
    if not console.is_terminal:
        console.width = _TABLE_WIDTH
    for dataset, compression in dict.fromkeys((row.dataset, row.compression) for row in result.counts):
        rows = [r for r in result.counts if (r.dataset, r.compression) == (dataset, compression)]
        official = ' of those that the official set has' if any(r.expected is not None for r in rows) else ''
        console.print(Text(f'{printable(dataset)} ({printable(compression)}): videos found{official}'))
        with console.capture() as capture:
            console.print(_count_table(rows, style), soft_wrap=False)
        # Both kinds of box pad lines, and the one for logs adds empty ones.
        lines = [line.rstrip() for line in capture.get().splitlines()]
        console.file.write('\n'.join(line for line in lines if line) + '\n\n')
    for finding in result.findings:
        console.print(_format_finding(finding, width))
    console.print(Text(_verdict(result, strict), style='bold'))


def _by_method(rows: Sequence[CountRow]) -> dict[tuple[str, str, int, str], dict[str, CountRow]]:
    """Dataset, compression, label and method -> split -> its row."""
    kinds: dict[tuple[str, str, int, str], dict[str, CountRow]] = {}
    for row in rows:
        kinds.setdefault((row.dataset, row.compression, row.label, row.method), {})[row.split] = row
    return kinds


def _splits_of(rows: Sequence[CountRow]) -> list[str]:
    return [split for split in SPLIT_ORDER if any(row.split == split for row in rows)]


def _count_table(rows: list[CountRow], style: box.Box) -> Table:
    splits = _splits_of(rows)
    table = Table(box=style, pad_edge=style is not box.SIMPLE_HEAD)
    table.add_column('method', no_wrap=True)
    table.add_column('label', no_wrap=True)
    for split in splits:
        table.add_column('all splits' if split == 'any' else split, justify='right', no_wrap=True)
    table.add_column('frames', justify='right', no_wrap=True)
    for (_, _, label, method), mine in _by_method(rows).items():
        cells = [
            Text(mine[s].text, style='yellow' if mine[s].short else '') if s in mine else Text('')
            for s in splits
        ]
        frames = sum(row.frames for row in mine.values())
        table.add_row(Text(printable(method)), 'fake' if label else 'genuine', *cells, str(frames))
    return table


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
    end = [margin, _stored(settings), _found(prepared.report or {}), _left_out(prepared)]
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
        [dataset, compression, method, 'fake' if label else 'genuine']
        + [rows[split].text if split in rows else '' for split in splits]
        for (dataset, compression, label, method), rows in _by_method(counts).items()
        # A method that is not there at all is no part of the study.
        if any(row.found for row in rows.values())
    ]
    names = [f'Videos, {"all" if split == "any" else split}' for split in splits]
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


def _found(report: dict[str, Any]) -> str:
    asked, found = report.get('frames_asked'), report.get('frames_found')
    if not isinstance(asked, int) or not isinstance(found, int) or not asked:
        return UNKNOWN
    return f'{100 * found / asked:.2f} %'


def _left_out(prepared: PreparedSet) -> str:
    if prepared.report is None:
        return UNKNOWN
    left_out, missing = prepared.report.get('left_out'), prepared.report.get('missing')
    parts = [
        (len(left_out) if isinstance(left_out, dict) else 0, 'not used'),
        (len(missing) if isinstance(missing, list) else 0, 'missing'),
        (faceless_videos(prepared)[0], 'without face'),
    ]
    return ', '.join(f'{count} {name}' for count, name in parts if count) or 'none'


def _frames_a_video(videos: Sequence[Video]) -> str:
    frames = [video.frames for video in videos]
    low, high = min(frames), max(frames)
    return str(low) if low == high else f'{low}-{high} (median {np.median(frames):g})'


def _kept_whole(prepared: PreparedSet) -> bool:
    """Whether the images were crops already: windows around a face do not all begin at the corner."""
    windows = prepared.column('crop_window').flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    return prepared.rows > 0 and not windows[:, :2].any()


def _protocol(prepared: PreparedSet) -> str:
    """How the set was made, in sentences; nothing is claimed that the settings do not say."""
    datasets = sorted({video.dataset for video in prepared.videos})
    titles = [facts.title if (facts := facts_of(name)) else name for name in datasets]
    levels = sorted({video.compression for video in prepared.videos} - {'native'})
    lines = [f'**{" and ".join(titles)}{" (" + ", ".join(levels) + ")" if levels else ""}.**']
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
    report = prepared.report or {}
    if (share := _found(report)) != UNKNOWN:
        found, asked = report['frames_found'], report['frames_asked']
        lines.append(f'A face was found in {found} of {asked} frames ({share}).')
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
        shared = {
            identity
            for name in datasets
            for identity in shared_identities(v for v in prepared.videos if v.dataset == name)
        }
        known = plural(len(shared), 'identity') if shared else 'No identity'
        lines.append(f'{known} in more than one split, by the target and source ids of the dataset.')
    return lines
