# SPDX-License-Identifier: Apache-2.0
"""The result of a check as text that reads well on a terminal and in a log file."""

from __future__ import annotations

import textwrap
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from iid_mm.preparation.checking.expected import SPLIT_ORDER, CountRow
from iid_mm.preparation.checking.findings import SEVERITIES, Finding, plural
from iid_mm.preparation.checking.runner import CheckResult
from iid_mm.utils.files import printable

_STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'cyan'}
_LOG_WIDTH = 120
_TABLE_WIDTH = 240


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
        console.print(format_finding(finding, width))
    console.print(Text(verdict(result, strict), style='bold'))


def _count_table(rows: list[CountRow], style: box.Box) -> Table:
    splits = [split for split in SPLIT_ORDER if any(row.split == split for row in rows)]
    table = Table(box=style, pad_edge=style is not box.SIMPLE_HEAD)
    table.add_column('method', no_wrap=True)
    table.add_column('label', no_wrap=True)
    for split in splits:
        table.add_column('all splits' if split == 'any' else split, justify='right', no_wrap=True)
    table.add_column('frames', justify='right', no_wrap=True)
    for label, method in dict.fromkeys((row.label, row.method) for row in rows):
        mine = {row.split: row for row in rows if (row.label, row.method) == (label, method)}
        cells = [
            Text(mine[s].text, style='yellow' if mine[s].short else '') if s in mine else Text('')
            for s in splits
        ]
        frames = sum(row.frames for row in mine.values())
        table.add_row(Text(printable(method)), 'fake' if label else 'genuine', *cells, str(frames))
    return table


def format_finding(finding: Finding, width: int = _LOG_WIDTH) -> Text:
    """One finding: a line that can be searched for, examples and remedy indented below.

    Args:
        finding: The finding.
        width: Longest line that is wanted; examples, which are names, are not broken.
    """
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


def verdict(result: CheckResult, strict: bool = False) -> str:
    """One line: what was looked at, what was found, and whether the data are fit for use."""
    rows = sum(prepared.rows for prepared in result.sets)
    videos = sum(len(prepared.videos) for prepared in result.sets)
    looked = f'{rows} rows of {videos} videos, images of {result.decoded} rows decoded'
    numbers = ', '.join(plural(result.number(kind), kind) for kind in SEVERITIES)
    end = 'FAILED' if result.failed(strict) else 'passed'
    if strict and not result.number('error') and result.failed(strict):
        end += ' (--strict: videos of an official set are missing)'
    return f'{looked}: {numbers}: {end}'
