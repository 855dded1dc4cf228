# SPDX-License-Identifier: Apache-2.0
"""Test how far a detector stands distortions: those of DeeperForensics-1.0, at five levels each.

Examples:
    python tools/test_robustness.py configs/iid_effb4_ffpp.py best.pth
    python tools/test_robustness.py CONFIG best.pth --distortions jpeg gaussian_blur --levels 1 3 5
    python tools/test_robustness.py CONFIG best.pth --videos /data/FaceForensics++ --layout ffpp
    python tools/test_robustness.py CONFIG best.pth --resume      # leave out what is finished

Distorts the stored crops of the test set on the fly, and writes into the output folder: report.md,
report.json, curves.png (video AUC against level), distortions.png (all of them on one face: look at it),
and cells/*.parquet with the score of every face.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import init_default_scope

from iid_mm.datasets.functional.distortion import DISTORTIONS, LEVELS
from iid_mm.datasets.functional.h264 import check_encoder
from iid_mm.errors import InputError
from iid_mm.evaluation.eval_sets import EvalSet, check_eval_set, find_eval_sets
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.utils.cli import add_run_options, load_run_config, run_tool
from robustness.cells import CellStore, cell_loader, make_cells
from robustness.distortions import choose
from robustness.outputs import ReportChoices, plain_dataset, write_report
from robustness.runner import RobustnessRunner, run_cells


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    add = parser.add_argument
    add('--distortions', nargs='+', metavar='NAME', help=f'default: all of {", ".join(DISTORTIONS)}')
    add('--levels', nargs='+', type=int, default=list(LEVELS), help='from 1 to 5 (default: all)')
    add('--test-set', '--index', help="prepared folder or its index, or a name of the config's test_sets")
    add('--split', help="split that is tested (default: the config's)")
    add('--frames-per-video', type=int, help='at most so many frames of a video, for a quick look')
    add('--out-dir', type=Path, help='default: the folder robustness in the work directory')
    add('--resume', action='store_true', help='leave out cells that were finished with the same inputs')
    add('--per-method', action='store_true', help='a table for every manipulation too')
    add('--aggregation', default='mean', choices=AGGREGATIONS, help='how frames make a video (default: mean)')
    add('--identities', action='store_true', help='intervals: videos of one identity depend on each other')
    add('--videos', type=Path, help='folder of the original videos: compress them instead of the crops')
    add('--layout', help='layout of --videos, as in tools/prepare_data.py')
    add('--splits-dir', type=Path, help='folder of the split files of --videos, if it is elsewhere')
    add('--trust-checkpoint', action='store_true', help='run code that the checkpoint may hold')
    add_run_options(parser)
    return parser.parse_args()


def find_set(args: argparse.Namespace, cfg: Config) -> EvalSet:
    """The set to test, checked before anything slow starts."""
    name = args.test_set
    if name is not None and name.endswith('.parquet'):
        path = Path(name)
        if not path.is_file():
            raise FileNotFoundError(f'index {path} does not exist; make it with tools/prepare_data.py')
        if path.name != 'index.parquet':
            raise InputError(f'--test-set {path}: give a prepared folder, or its index.parquet')
        name = str(path.resolve().parent)
    (found,) = find_eval_sets(cfg, None if name is None else [name])
    if args.split is not None:
        found.dataset['split'] = args.split
    if args.frames_per_video is not None:
        found.dataset['frames_per_video'] = args.frames_per_video
    check_eval_set(found)
    return found


def find_videos(args: argparse.Namespace, kinds: list[str]) -> dict[str, Any] | None:
    if (args.videos is None) != (args.layout is None):
        raise InputError(
            '--videos and --layout go together: where the original videos are, and how they lie there'
        )
    if args.videos is None:
        return None
    if 'video_compression' not in kinds:
        raise InputError('--videos is for video_compression, which is not among --distortions')
    return dict(
        root=str(args.videos), layout=args.layout, splits_dir=args.splits_dir and str(args.splits_dir)
    )


def main() -> None:
    args = parse_args()
    kinds, levels = choose(args.distortions, args.levels)
    cfg = load_run_config(args)
    init_default_scope(cfg.get('default_scope', 'iid_mm'))
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    test_set = find_set(args, cfg)
    originals = find_videos(args, kinds)
    if 'video_compression' in kinds:
        check_encoder()
    cells = make_cells(kinds, levels)
    for cell in cells:
        cell_loader(test_set, cell, originals)
    faces = plain_dataset(test_set, originals)
    out_dir = args.out_dir or Path(cfg.work_dir) / 'robustness'
    cfg.load_from, cfg.resume, cfg.trust_checkpoint = args.checkpoint, False, args.trust_checkpoint
    cfg.test_dataloader = test_set.dataloader
    runner = RobustnessRunner.from_cfg(cfg)
    store = CellStore(out_dir / 'cells', cfg, args.checkpoint, test_set, originals)
    run_cells(runner, store, test_set, cells, resume=args.resume, originals=originals)
    if is_main_process():
        choices = ReportChoices(args.aggregation, args.identities, args.per_method)
        print(write_report(out_dir, store, test_set, cells, cfg, choices, faces))
        print(f'\nreport, pictures and scores: {out_dir}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
