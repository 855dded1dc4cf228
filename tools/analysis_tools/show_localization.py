# SPDX-License-Identifier: Apache-2.0
"""Draw mask, heat map and boxes for fakes of every manipulation, in one image.

The mask and its bounding box are green. The dataset must have been prepared with --masks.

Example: python tools/analysis_tools/show_localization.py configs/iid_r18_toy.py best.pth --out boxes.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.apis import init_model
from iid_mm.evaluation.localization.config import add_localization
from iid_mm.models.heat_maps import DEFAULT_HEAT_MAP, HEAT_MAPS
from iid_mm.registry import DATASETS
from iid_mm.utils.cli import add_model_options, run_tool
from iid_mm.utils.config import load_config
from iid_mm.utils.files import printable
from iid_mm.visualization.drawing import write_image
from iid_mm.visualization.sample_grids import chosen_samples, localization_grid


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_options(parser)
    parser.add_argument('--out', type=Path, required=True, help='image to write, e.g. boxes.png')
    parser.add_argument('--num', type=int, default=4, help='samples per manipulation (default: 4)')
    parser.add_argument('--columns', type=int, default=2, help='samples per row (default: 2)')
    parser.add_argument('--heat-map', default=DEFAULT_HEAT_MAP, choices=HEAT_MAPS)
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score of a box to draw (0.3)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    add_localization(cfg, heat_map=args.heat_map)
    model = init_model(cfg, args.checkpoint, args.device, trust=args.trust_checkpoint)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    indices = chosen_samples(dataset, args.num, masked=True)
    image = localization_grid(model, dataset, indices, columns=args.columns, score_thr=args.score_thr)
    write_image(args.out, image, argument='--out ')
    print(f'{len(indices)} of {len(dataset)} samples: {printable(args.out)}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
