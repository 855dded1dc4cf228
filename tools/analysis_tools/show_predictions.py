# SPDX-License-Identifier: Apache-2.0
"""Draw a model's predictions on samples of a dataset, with artifact boxes, in one image.

Example: python tools/analysis_tools/show_predictions.py configs/iid_r18_toy.py best.pth --out pred.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.apis import init_model
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS
from iid_mm.utils.cli import add_model_options, run_tool
from iid_mm.utils.files import printable
from iid_mm.utils.sampling import evenly_spaced
from iid_mm.visualization import prediction_grid
from iid_mm.visualization.drawing import write_image


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument('--out', type=Path, required=True, help='image to write, e.g. predictions.png')
    parser.add_argument('--split', default='test', choices=('val', 'test'))
    parser.add_argument('--num', type=int, default=30, help='number of evenly spaced samples (default: 30)')
    parser.add_argument('--columns', type=int, default=6, help='samples per row (default: 6)')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of a box to draw (0.3)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    model = init_model(
        args.config, args.checkpoint, args.device, args.cfg_options, trust=args.trust_checkpoint
    )
    loader = model.cfg.get(f'{args.split}_dataloader')
    if not loader:
        raise InputError(f'--split {args.split}: {args.config} has no {args.split}_dataloader')
    dataset = DATASETS.build(loader.dataset)
    indices = evenly_spaced(len(dataset), args.num)
    image = prediction_grid(model, dataset, indices, columns=args.columns, score_thr=args.score_thr)
    write_image(args.out, image, argument='--out ')
    print(f'{len(indices)} of {len(dataset)} samples: {printable(args.out)}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
