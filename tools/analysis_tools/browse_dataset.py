#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Draw samples of a config's dataset, as the model receives them, with their artifact boxes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from iid_mm.apis import load_config
from iid_mm.errors import InputError
from iid_mm.registry import DATASETS
from iid_mm.utils.cli import add_config_options, run_tool
from iid_mm.utils.files import printable
from iid_mm.utils.sampling import evenly_spaced
from iid_mm.visualization import dataset_grid
from iid_mm.visualization.drawing import write_image


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--out', type=Path, help='image to write (work_dirs/CONFIG/browse_SPLIT.png)')
    parser.add_argument('--split', default='train', choices=('train', 'val', 'test'))
    parser.add_argument('--num', type=int, default=32, help='number of evenly spaced samples (default: 32)')
    parser.add_argument('--columns', type=int, default=8, help='samples per row (default: 8)')
    parser.add_argument('--cell', type=int, default=224, help='size of a sample in pixels (default: 224)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the augmentation (default: 0)')
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    loader = config.get(f'{args.split}_dataloader')
    if not loader:
        raise InputError(f'--split {args.split}: {args.config} has no {args.split}_dataloader')
    out = args.out or Path('work_dirs') / Path(args.config).stem / f'browse_{args.split}.png'

    init_default_scope('iid_mm')
    set_random_seed(args.seed)
    dataset = DATASETS.build(loader['dataset'])
    indices = evenly_spaced(len(dataset), args.num)
    image = dataset_grid(dataset, indices, columns=args.columns, cell=args.cell)
    write_image(out, image, argument='--out ')
    print(f'{len(indices)} of {len(dataset)} samples: {printable(out)}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
