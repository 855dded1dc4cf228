# SPDX-License-Identifier: Apache-2.0
"""Say of images and videos whether their faces are fake.

Examples:
  python tools/infer.py photo.jpg holiday.mp4 --checkpoint best.pth --out answers
  python tools/infer.py folder/ 'clips/*.mp4' --checkpoint best.pth --out answers --report
  python tools/infer.py 0 --checkpoint best.pth --seconds 20            (the first camera)

Writes for each input NAME.json, an annotated image or video, the timeline of a video, and with --report one
HTML page that shows everything. "No face found" is an answer, too.

Exit status: 0 if every input was answered; 1 if an input could not be read or an output not written (the
others are answered all the same), or if nothing could be begun (a line "error: ..." tells why); 2 for a
command line that cannot be understood; 130 after Ctrl+C, which keeps what is done.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from iid_mm.errors import InputError
from iid_mm.utils.cli import run_tool
from iid_mm.utils.files import printable, reason_of

if TYPE_CHECKING:
    from iid_mm.inference.results import MediaResult


LOG_WIDTH = 160
"""Columns of the table where there is no terminal that has a width."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'inputs', nargs='+', help='images, videos, folders, patterns, or the number of a camera'
    )
    parser.add_argument('--checkpoint', required=True, help='checkpoint (.pth), or an exported model (.onnx)')
    parser.add_argument(
        '--config', help='config file or its name; default: the config stored in the checkpoint'
    )
    parser.add_argument('--out', default='answers', help='folder for the outputs (answers)')
    frames = parser.add_argument_group('frames of videos').add_mutually_exclusive_group()
    frames.add_argument('--frames', type=int, default=32, help='so many, evenly spaced (32)')
    frames.add_argument('--fps', type=float, help='so many a second')
    frames.add_argument('--all-frames', action='store_true', help='all of them')
    parser.add_argument('--seconds', type=float, default=10, help='how long a camera is watched (10)')
    model = parser.add_argument_group('model')
    model.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU where there is one')
    model.add_argument(
        '--backend', choices=['pytorch', 'onnxruntime'], help='default: by the suffix of the checkpoint'
    )
    model.add_argument('--batch-size', type=int, default=32, help='faces scored at a time (32)')
    model.add_argument('--threshold', type=float, default=0.5, help='probability from which is fake (0.5)')
    model.add_argument('--aggregation', default='mean', help='how frames make a video (mean)')
    model.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run code that the checkpoint may hold; only for files whose origin you trust',
    )
    faces = parser.add_argument_group('faces')
    faces.add_argument('--analyzer', default='mediapipe', choices=['mediapipe', 'insightface'])
    faces.add_argument('--model-dir', type=Path, help='folder of the models of insightface')
    faces.add_argument('--min-face', type=int, default=0, help='pass over faces smaller than this, pixels')
    outputs = parser.add_argument_group('outputs')
    outputs.add_argument('--report', action='store_true', help='one HTML page for each input')
    outputs.add_argument('--no-annotate', action='store_true', help='no annotated images and videos')
    outputs.add_argument('--no-timeline', action='store_true', help='no timelines')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    done = Done()
    interrupted = False
    try:
        analyze(args, done)
    except KeyboardInterrupt:
        interrupted = True
    show(done.rows, args.out)
    if done.unread:
        print(f'{done.unread} of {done.total} inputs could not be read', file=sys.stderr)
    if done.unwritten:
        print(f'{done.unwritten} outputs could not be written', file=sys.stderr)
    if interrupted:
        counts = f'{len(done.rows)} of {done.total}' if done.total else 'no'
        print(f'interrupted; {counts} inputs were answered, and what was written is kept', file=sys.stderr)
        return 130
    return 1 if done.unread or done.unwritten else 0


@dataclass
class Done:
    """What a run has done so far: rows of the table, and counts of inputs and of outputs."""

    rows: list[list[Text]] = field(default_factory=list)
    total: int = 0
    unread: int = 0
    unwritten: int = 0


def analyze(args: argparse.Namespace, done: Done) -> None:
    """Analyze all inputs and count."""
    # Before the models are loaded, which takes seconds.
    from iid_mm.inference.media import find_media

    media = find_media(args.inputs)
    for note in media.notes:
        print(note, file=sys.stderr)
    for problem in media.problems:
        print(f'not read: {problem}', file=sys.stderr)
    done.total = len(media) + len(media.problems)
    done.unread = len(media.problems)

    from iid_mm.apis import IIDInferencer
    from iid_mm.faces.analyzers import AnalyzerOptions
    from iid_mm.inference.outputs import OutputOptions
    from iid_mm.inference.results import UNREADABLE
    from iid_mm.inference.sampling import Sampling

    sampling = Sampling(None if args.all_frames else args.frames, args.fps, args.seconds)
    options = OutputOptions(not args.no_annotate, not args.no_timeline, args.report)
    if args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: give at least 1')
    inferencer = IIDInferencer(
        args.config,
        args.checkpoint,
        args.device,
        backend=args.backend,
        analyzer=AnalyzerOptions(args.analyzer, args.model_dir),
        min_face=args.min_face,
        threshold=args.threshold,
        trust=args.trust_checkpoint,
    )
    for result in inferencer.analyze(
        media,
        batch_size=args.batch_size,
        out_dir=args.out,
        sampling=sampling,
        aggregation=args.aggregation,
        outputs=options,
    ):
        done.unread += result.status == UNREADABLE
        done.unwritten += len(result.unwritten)
        for text in result.unwritten:
            print(f'not written: {printable(text)}', file=sys.stderr)
        done.rows.append(row_of(result))


def row_of(result: MediaResult) -> list[Text]:
    """A result in a row of the table; names are shown as they are, not as rich's markup."""
    if result.probability is None:
        answer = result.status.replace('_', ' ')
        chance = '-'
    else:
        answer = 'fake' if result.is_fake else 'genuine'
        chance = f'{100 * result.calibrated(result.probability):.1f} %'
        chance += '' if result.calibration is None else ' (calibrated)'
    numbers = (str(len(result.main_tracks)), str(len(result.times)))
    cells = (result.source, answer, chance, *numbers, '; '.join(result.problems))
    return [Text(printable(cell)) for cell in cells]


def show(rows: list[list[Text]], out: str) -> None:
    """Print the table; that nobody reads it any more, or that it finds no room, changes no result."""
    if not rows:
        return
    title = Text(f'written to {printable(out)}')
    # Long names are broken, never cut: two that begin alike must be told apart.
    table = Table(
        Column('input', overflow='fold'), 'answer', 'P(fake)', 'people', 'frames', 'notes', title=title
    )
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = LOG_WIDTH
    with console.capture() as capture:
        console.print(table)
    try:
        print(capture.get(), end='', flush=True)
    except OSError as error:
        print(f'the table could not be printed ({reason_of(error)})', file=sys.stderr)
        # The interpreter would try again at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == '__main__':
    sys.exit(run_tool(main))
