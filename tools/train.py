# SPDX-License-Identifier: Apache-2.0
"""Train a detector.

Example: python tools/train.py configs/iid_effb4_ffpp.py --amp
"""

from __future__ import annotations

import argparse
import sys
from inspect import signature
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from iid_mm.engine import build_runner
from iid_mm.errors import InputError
from iid_mm.registry import OPTIM_WRAPPERS
from iid_mm.utils.cli import add_run_options, load_run_config, run_tool, tell
from iid_mm.utils.config import type_name
from iid_mm.utils.latest_checkpoint import checkpoint_folders, find_checkpoint
from iid_mm.utils.user_errors import KEPT


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    add_run_options(parser)
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate linearly with the total batch size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint, or from the latest one in the work directory',
    )
    return parser.parse_args()


def prepare_config(args: argparse.Namespace) -> Config:
    cfg = load_run_config(args)
    if args.amp:
        if get_device() == 'cpu':
            raise InputError(
                '--amp needs a GPU, and none was found; train without it, or on a CPU with AMX or '
                'AVX512-BF16 with --cfg-options optim_wrapper.type=BFloat16OptimWrapper'
            )
        use_mixed_precision(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise InputError(f'--auto-scale-lr needs auto_scale_lr.base_batch_size in {args.config}')
        cfg.auto_scale_lr.enable = True
    if args.resume == 'auto':
        folders = checkpoint_folders(cfg.work_dir, cfg.get('default_hooks'))
        found, told = find_checkpoint(cfg.work_dir, folders)
        if found is None:
            # First start: keep the config's load_from.
            tell(f'--resume: no checkpoint in {cfg.work_dir} yet; training starts from the beginning')
        else:
            cfg.resume, cfg.load_from = True, str(found)
        if told:
            tell(f'--resume: {told}')
    elif args.resume is not None:
        if not Path(args.resume).is_file():
            raise FileNotFoundError(f'--resume {args.resume}: no such checkpoint')
        cfg.resume, cfg.load_from = True, args.resume
    return cfg


def use_mixed_precision(cfg: Config) -> None:
    """Replace the plain optimizer wrapper with MMEngine's mixed-precision one."""
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    name = type_name(dict(type=kind))
    if name in ('AmpOptimWrapper', 'BFloat16OptimWrapper'):
        return
    if name != 'OptimWrapper':
        kind = cfg.optim_wrapper.type
        wrapper = OPTIM_WRAPPERS.get(kind) if isinstance(kind, str) else kind
        has_own = wrapper is not None and 'dtype' in signature(wrapper).parameters
        remedy = "give that optim_wrapper.dtype='bfloat16' instead" if has_own else 'leave it out'
        raise InputError(f'--amp would replace optim_wrapper.type={name}; {remedy}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def main() -> None:
    build_runner(prepare_config(parse_args())).train()


if __name__ == '__main__':
    sys.exit(run_tool(main, KEPT))
