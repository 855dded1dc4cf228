# SPDX-License-Identifier: Apache-2.0
"""The data of a study in words and numbers, to be pasted into a paper's appendix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from iid_mm.datasets.index import SPLITS
from iid_mm.preparation.checking.expected import CountRow
from iid_mm.preparation.checking.facts import facts_of
from iid_mm.preparation.checking.findings import plural
from iid_mm.preparation.checking.loading import PreparedSet, Video
from iid_mm.preparation.checking.report_checks import faceless_videos
from iid_mm.preparation.checking.split_checks import shared_identities
from iid_mm.utils.files import printable

_HEAD = (
    'Dataset',
    'Split',
    'Genuine videos',
    'Fake videos',
    'Genuine frames',
    'Fake frames',
    'Identities',
    'Faces by',
    'Frames a video',
    'Crop margin',
    'Stored as',
    'Frames found',
    'Left out',
)
_NUMERIC = frozenset({2, 3, 4, 5, 6, 8})


def summarize(sets: Sequence[PreparedSet], counts: Sequence[CountRow]) -> str:
    """Write the summary.

    Args:
        sets: The sets.
        counts: Videos by method, from :func:`~iid_mm.preparation.checking.expected.count_videos`.

    Returns:
        Markdown: a table with a line for each dataset and split, a table of the methods, and a
        paragraph for each set.
    """
    lines = [cells for prepared in sets for cells in _set_lines(prepared)]
    blocks = [_table(_HEAD, lines, _NUMERIC), _method_table(counts)]
    blocks += [_protocol(prepared) for prepared in sets]
    return '\n\n'.join(block for block in blocks if block) + '\n'


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], numeric: frozenset[int]) -> str:
    rule = ['---:' if number in numeric else '---' for number in range(len(head))]
    rows = [head, rule, *lines]
    return '\n'.join(
        '| ' + ' | '.join(printable(cell).replace('|', '\\|') for cell in row) + ' |' for row in rows
    )


def _set_lines(prepared: PreparedSet) -> list[list[str]]:
    lines = []
    report = prepared.report or {}
    end = [
        _faces_by(prepared.settings),
        '',
        'none' if prepared.settings and kept_whole(prepared) else _margin(prepared.settings),
        _stored(prepared.settings),
        _found(report),
        _left_out(prepared),
    ]
    heads = dict.fromkeys((video.dataset, video.compression) for video in prepared.videos)
    for dataset, compression in sorted(heads):
        for split in SPLITS:
            videos = [
                video
                for video in prepared.videos
                if (video.dataset, video.compression, video.split) == (dataset, compression, split)
            ]
            if not videos:
                continue
            kinds = [[video for video in videos if video.label == label] for label in (0, 1)]
            people = {identity for video in videos for identity in video.identities}
            end[1] = _frames_a_video(videos)
            lines.append(
                [
                    dataset if compression == 'native' else f'{dataset} ({compression})',
                    split,
                    *(str(len(kind)) for kind in kinds),
                    *(str(sum(video.frames for video in kind)) for kind in kinds),
                    str(len(people)) if people else 'unknown',
                    *end,
                ]
            )
    return lines


def _method_table(counts: Sequence[CountRow]) -> str:
    # A method that is not there at all is no part of the study.
    there = {(row.dataset, row.compression, row.label, row.method) for row in counts if row.found}
    splits = list(dict.fromkeys(row.split for row in counts))
    order = [split for split in ('train', 'val', 'train+val', 'test', 'any') if split in splits]
    kinds: dict[tuple[str, str, int, str], dict[str, str]] = {}
    for row in counts:
        kind = (row.dataset, row.compression, row.label, row.method)
        if kind in there:
            kinds.setdefault(kind, {})[row.split] = row.text
    lines = [
        [dataset, compression, method, 'fake' if label else 'genuine', *(texts.get(s, '') for s in order)]
        for (dataset, compression, label, method), texts in kinds.items()
    ]
    if not lines:
        return ''
    names = ['all' if split == 'any' else split for split in order]
    head = ('Dataset', 'Compression', 'Method', 'Label', *(f'Videos, {name}' for name in names))
    return _table(head, lines, frozenset(range(4, len(head))))


def _faces_by(settings: dict[str, Any] | None) -> str:
    if not settings or not settings.get('analyzer'):
        return 'not recorded'
    return f'{settings["analyzer"]} {settings.get("analyzer_version") or ""}'.strip()


def _margin(settings: dict[str, Any] | None) -> str:
    margin = (settings or {}).get('margin')
    return f'{100 * margin:g} %' if isinstance(margin, (int, float)) else 'not recorded'


def _stored(settings: dict[str, Any] | None) -> str:
    """Format of the crops, with its quality where it loses something, and the longest side."""
    if not settings or not settings.get('image_format'):
        return 'not recorded'
    quality = settings.get('quality')
    name = {'png': 'PNG', 'jpg': 'JPEG', 'webp': 'WebP'}.get(
        settings['image_format'], str(settings['image_format'])
    )
    name = f'{name} quality {quality}' if quality is not None else name
    side = settings.get('max_side')
    return f'{name}, <= {side} px' if side else name


def _found(report: dict[str, Any]) -> str:
    asked, found = report.get('frames_asked'), report.get('frames_found')
    if not isinstance(asked, int) or not isinstance(found, int) or not asked:
        return 'not recorded'
    return f'{100 * found / asked:.2f} %'


def _left_out(prepared: PreparedSet) -> str:
    if prepared.report is None:
        return 'not recorded'
    left_out, missing = prepared.report.get('left_out'), prepared.report.get('missing')
    parts = [
        (len(left_out) if isinstance(left_out, dict) else 0, 'not used'),
        (len(missing) if isinstance(missing, list) else 0, 'missing'),
        (faceless_videos(prepared)[0], 'without face'),
    ]
    text = ', '.join(f'{count} {name}' for count, name in parts if count)
    return text or 'none'


def _frames_a_video(videos: Sequence[Video]) -> str:
    frames = [video.frames for video in videos]
    low, high = min(frames), max(frames)
    return str(low) if low == high else f'{low}-{high} (median {np.median(frames):g})'


def _protocol(prepared: PreparedSet) -> str:
    """What was done, in sentences; what the settings do not say is not said."""
    if not prepared.rows:
        return ''
    settings = prepared.settings
    datasets = sorted({video.dataset for video in prepared.videos})
    titles = [facts.title if (facts := facts_of(name)) else name for name in datasets]
    levels = sorted({video.compression for video in prepared.videos} - {'native'})
    name = ' and '.join(titles) + (f' ({", ".join(levels)})' if levels else '')
    lines = [f'**{name}.**']
    if settings is None:
        lines.append('How the face crops were made is not recorded in the index.')
    else:
        lines += _settings_sentences(settings, kept_whole(prepared))
    lines += _counts_sentences(prepared)
    return printable(' '.join(lines))


def kept_whole(prepared: PreparedSet) -> bool:
    """Whether the images were crops already: windows that a face decides do not all begin at the corner."""
    windows = prepared.column('crop_window').flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    return prepared.rows > 0 and not windows[:, :2].any()


def _settings_sentences(settings: dict[str, Any], whole: bool) -> list[str]:
    version = settings.get('version')
    made = f'iid_mm (layout {settings.get("layout")}' + (
        f', preparation version {version})' if version else ')'
    )
    lines = [f'Face crops were prepared with {made}.']
    if settings.get('stills'):
        lines.append('Every image counts as a picture of its own.')
    elif frames := settings.get('frames'):
        lines.append(f'Up to {frames} evenly spaced frames were taken from each video.')
    if settings.get('analyzer') == 'precomputed':
        lines.append('The landmarks came with the dataset.')
    elif settings.get('analyzer'):
        lines.append(f'Faces and landmarks were found with {_faces_by(settings)}.')
    if whole:
        lines.append(
            f'The images were face crops already; they were kept whole and stored as {_stored(settings)}.'
        )
    elif isinstance(settings.get('margin'), (int, float)):
        lines.append(
            f'A crop is a square around the face from chin to hairline with {_margin(settings)} of its '
            f'longer side added on each side, clipped to the frame and stored as {_stored(settings)}.'
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
    if report is not None and _found(report) != 'not recorded':
        found, asked = report['frames_found'], report['frames_asked']
        lines.append(f'A face was found in {found} of {asked} frames ({_found(report)}).')
    if fakes:
        lines.append(
            f'{paired} of {plural(fakes, "fake frame")} have the genuine frame they were made from as a '
            'counterpart.'
        )
    if report is not None and (left := _left_out(prepared)) != 'none':
        lines.append(f'Videos left out: {left}.')
    sizes = []
    for split in SPLITS:
        number = sum(video.split == split for video in prepared.videos)
        if number:
            sizes.append(f'{split} {number}')
    lines.append(f'Videos by split: {", ".join(sizes)}.')
    shared = {
        identity
        for name in {video.dataset for video in prepared.videos}
        for identity in shared_identities(video for video in prepared.videos if video.dataset == name)
    }
    if not any(video.identities for video in prepared.videos):
        lines.append('Who is shown is not recorded.')
    elif len(sizes) > 1:
        known = plural(len(shared), 'identity') if shared else 'No identity'
        lines.append(f'{known} in more than one split, by the target and source ids of the dataset.')
    return lines
