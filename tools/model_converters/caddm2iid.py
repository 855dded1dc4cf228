# SPDX-License-Identifier: Apache-2.0
"""Convert a checkpoint of the authors' code (CADDM) to this package.

Example: python tools/model_converters/caddm2iid.py in.pkl out.pth --backbone efficientnet-b4
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from mmengine.config import Config

from iid_mm.errors import InputError
from iid_mm.models.build import init_model
from iid_mm.models.caddm import BACKBONES, convert_caddm
from iid_mm.utils.checkpoint import check_state_dict, load_checkpoint_file
from iid_mm.utils.cli import add_trust_option, run_tool
from iid_mm.utils.files import check_output, replacing

CONFIG_DIR = Path(__file__).resolve().parents[2] / 'configs'
CONFIGS = {
    'resnet34': 'iid_r34_ffpp.py',
    'efficientnet-b3': 'iid_effb3_ffpp.py',
    'efficientnet-b4': 'iid_effb4_ffpp.py',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', help='CADDM checkpoint: {"network": state_dict, ...}')
    parser.add_argument('dst', help='checkpoint file to write')
    parser.add_argument('--backbone', required=True, choices=BACKBONES)
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_output(args.dst, [args.src], option='dst')
    content = load_checkpoint_file(args.src, trust=args.trust_checkpoint)
    if not isinstance(content.get('network'), dict):
        raise InputError(
            f'{args.src} has no entry "network" (it has {", ".join(map(str, list(content)[:8]))}); '
            'is it a CADDM checkpoint?'
        )
    state, unknown = convert_caddm(content['network'], args.backbone)
    if unknown:
        raise InputError(
            f'{args.src} does not fit --backbone {args.backbone}: {len(unknown)} keys have no '
            f'counterpart, e.g. {", ".join(unknown[:8])}'
        )
    config = Config.fromfile(str(CONFIG_DIR / CONFIGS[args.backbone]))
    model = init_model(config)
    check_state_dict(model, state, f'{args.src} (converted, --backbone {args.backbone})')
    meta = dict(source=Path(args.src).name, converted_from='CADDM', backbone=args.backbone)
    with replacing(Path(args.dst)) as temporary:
        torch.save(dict(state_dict=state, meta=meta), temporary)
    print(f'{len(state)} tensors written to {args.dst}; use it with configs/{CONFIGS[args.backbone]}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
