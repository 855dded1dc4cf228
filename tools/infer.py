# SPDX-License-Identifier: Apache-2.0
"""Say of images and videos whether their faces are fake.

Examples:
  python tools/infer.py photo.jpg holiday.mp4 --checkpoint best.pth --out answers
  python tools/infer.py folder/ 'clips/*.mp4' --checkpoint best.pth --out answers --report
  python tools/infer.py 0 --checkpoint best.pth --seconds 20            (the first camera)

Writes for each input NAME.json, an annotated image or video, the timeline of a video, and with --report one
HTML page that shows everything. "No face found" is an answer, too. Exit status 1: an input could not be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from iid_mm.errors import InputError
from iid_mm.utils.cli import run_tool


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
    faces.add_argument('--analyser', default='mediapipe', choices=['mediapipe', 'insightface'])
    faces.add_argument('--model-dir', type=Path, help='folder of the models of insightface')
    faces.add_argument('--min-face', type=int, default=0, help='pass over faces smaller than this, pixels')
    outputs = parser.add_argument_group('outputs')
    outputs.add_argument('--report', action='store_true', help='one HTML page for each input')
    outputs.add_argument('--no-annotate', action='store_true', help='no annotated images and videos')
    outputs.add_argument('--no-timeline', action='store_true', help='no timelines')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    # Before the models are loaded, which takes seconds.
    from iid_mm.inference.media import find_media

    inputs = find_media(args.inputs)

    from iid_mm.apis import IIDInferencer
    from iid_mm.inference.outputs import OutputOptions
    from iid_mm.inference.results import UNREADABLE
    from iid_mm.inference.sampling import Sampling
    from iid_mm.preparation.analysers import AnalyserOptions

    sampling = Sampling(None if args.all_frames else args.frames, args.fps, args.seconds)
    options = OutputOptions(not args.no_annotate, not args.no_timeline, args.report)
    if args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: give at least 1')
    inferencer = IIDInferencer(
        args.config,
        args.checkpoint,
        args.device,
        backend=args.backend,
        analyser=AnalyserOptions(args.analyser, args.model_dir),
        min_face=args.min_face,
        threshold=args.threshold,
        trust=args.trust_checkpoint,
    )
    table = Table('input', 'answer', 'P(fake)', 'people', 'frames', 'notes', title=f'written to {args.out}')
    failed = 0
    for result in inferencer.analyse(
        args.inputs,
        batch_size=args.batch_size,
        out_dir=args.out,
        sampling=sampling,
        aggregation=args.aggregation,
        outputs=options,
    ):
        failed += result.status == UNREADABLE
        table.add_row(*_row(result))
    Console().print(table)
    if failed:
        print(f'{failed} of {len(inputs)} inputs could not be read', file=sys.stderr)
    return 1 if failed else 0


def _row(result) -> list[str]:  # type: ignore[no-untyped-def]
    if result.probability is None:
        answer = result.status.replace('_', ' ')
        chance = '-'
    else:
        answer = 'fake' if result.is_fake else 'genuine'
        chance = f'{100 * result.calibrated(result.probability):.1f} %'
        chance += '' if result.calibration is None else ' (calibrated)'
    notes = '; '.join(result.problems)
    return [result.source, answer, chance, str(len(result.main_tracks)), str(len(result.times)), notes]


if __name__ == '__main__':
    sys.exit(run_tool(main))
