# SPDX-License-Identifier: Apache-2.0
"""Detect manipulated faces in images and videos.

Examples:
  python tools/infer.py photo.jpg holiday.mp4 --checkpoint best.pth --out answers
  python tools/infer.py folder/ 'clips/*.mp4' --checkpoint best.pth --out answers --report
  python tools/infer.py 0 --checkpoint best.pth --seconds 20            (the first camera)

Writes for each input NAME.json, an annotated image or video, a timeline for videos, and with --report one
HTML page that shows everything. If there is no face, the result says so.

Exit status: 0 if all inputs were analyzed and all outputs written; 1 if an input could not be read or an
output not written (all others are complete), or if the run could not start (a line "error: ..." gives the
reason); 2 for an invalid command line; 130 after Ctrl+C, which keeps the results of finished inputs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError
from iid_mm.utils.cli import add_trust_option, run_tool
from iid_mm.utils.files import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'inputs', nargs='+', help='images, videos, folders, file patterns, or the number of a camera'
    )
    parser.add_argument('--checkpoint', required=True, help='checkpoint (.pth), or an exported model (.onnx)')
    parser.add_argument(
        '--config', help='config file or its name (default: the config stored in the checkpoint)'
    )
    parser.add_argument('--out', default='answers', help='folder for the outputs (answers)')
    frames = parser.add_argument_group('frames of videos').add_mutually_exclusive_group()
    frames.add_argument('--frames', type=int, default=32, help='number of evenly spaced frames (32)')
    frames.add_argument('--fps', type=float, help='frames per second')
    frames.add_argument('--all-frames', action='store_true', help='every frame')
    parser.add_argument('--seconds', type=float, default=10, help='seconds to record from a camera (10)')
    model = parser.add_argument_group('model')
    model.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if available)')
    model.add_argument(
        '--backend', choices=['pytorch', 'onnxruntime'], help='(default: by the suffix of the checkpoint)'
    )
    model.add_argument('--batch-size', type=int, default=32, help='number of faces scored in one batch (32)')
    model.add_argument('--threshold', type=float, default=0.5, help='decision threshold (0.5)')
    model.add_argument(
        '--aggregation', default='mean', help='how frame scores are aggregated to a video score (mean)'
    )
    add_trust_option(model)
    faces = parser.add_argument_group('faces')
    faces.add_argument('--analyzer', default='mediapipe', choices=['mediapipe', 'insightface'])
    faces.add_argument('--model-dir', type=Path, help='folder of the insightface models')
    faces.add_argument('--min-face', type=int, default=0, help='ignore faces smaller than this, in pixels')
    outputs = parser.add_argument_group('outputs')
    outputs.add_argument('--report', action='store_true', help='write one HTML page for each input')
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
    if done.rows:
        from iid_mm.inference.console import print_results

        print_results(done.rows, args.out)
    if done.unread:
        print(f'{done.unread} of {done.total} inputs could not be read', file=sys.stderr)
    if done.unwritten:
        print(f'{done.unwritten} outputs could not be written', file=sys.stderr)
    if interrupted:
        counts = f'{len(done.rows)} of {done.total}' if done.total else 'no'
        print(f'interrupted; {counts} inputs were analyzed; their results are kept', file=sys.stderr)
        return 130
    return 1 if done.unread or done.unwritten else 0


@dataclass
class Done:
    """Progress of a run: rows of the table, and counts of inputs and of outputs."""

    rows: list[Any] = field(default_factory=list)
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
    from iid_mm.inference.console import result_row
    from iid_mm.inference.outputs import OutputOptions
    from iid_mm.inference.results import UNREADABLE
    from iid_mm.inference.sampling import Sampling

    sampling = Sampling(None if args.all_frames else args.frames, args.fps, args.seconds)
    outputs = OutputOptions(not args.no_annotate, not args.no_timeline, args.report)
    if args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: give at least 1')
    model = {name: getattr(args, name) for name in ('backend', 'min_face', 'threshold')}
    model |= {'analyzer': AnalyzerOptions(args.analyzer, args.model_dir), 'trust': args.trust_checkpoint}
    inferencer = IIDInferencer(args.config, args.checkpoint, args.device, **model)
    options = {'batch_size': args.batch_size, 'out_dir': args.out, 'aggregation': args.aggregation}
    for result in inferencer.analyze(media, sampling=sampling, outputs=outputs, **options):
        done.unread += result.status == UNREADABLE
        done.unwritten += len(result.unwritten)
        for text in result.unwritten:
            print(f'not written: {printable(text)}', file=sys.stderr)
        done.rows.append(result_row(result))


if __name__ == '__main__':
    sys.exit(run_tool(main))
