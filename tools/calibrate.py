# SPDX-License-Identifier: Apache-2.0
"""Calibrate a detector's probabilities on the validation split and store the result with the checkpoint.

Example: python tools/calibrate.py configs/iid_effb4_ffpp.py best.pth

Detectors are overconfident. This tool fits two temperatures, one for single images and one for videos, which
calibrate the probabilities in the results of `tools/infer.py`. They hold for inputs like the validation data
and equal prior probabilities of genuine and fake. Scores, and thus AUC, do not change. Probabilities are
limited to the range that the number of validation videos supports.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from iid_mm.apis import init_model, load_checkpoint_file, load_config
from iid_mm.errors import InputError
from iid_mm.evaluation.functional.aggregate import AGGREGATIONS
from iid_mm.evaluation.statistics.calibration import TEMPERATURES
from iid_mm.inference.calibration import META_KEY, Calibration, calibrate
from iid_mm.utils.cli import add_config_options, add_trust_option, run_tool
from iid_mm.utils.files import check_output, replacing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', type=Path, help='checkpoint file')
    parser.add_argument('--out', type=Path, help='checkpoint to write (default: CHECKPOINT_calibrated.pth)')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, ... (cpu)')
    parser.add_argument(
        '--aggregation', default='mean', choices=AGGREGATIONS, help='how frame scores are aggregated (mean)'
    )
    add_trust_option(parser)
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or args.checkpoint.with_name(f'{args.checkpoint.stem}_calibrated.pth')
    cfg = load_config(args.config, args.cfg_options)
    check_writable(out, [args.config, args.checkpoint])
    if not cfg.get('val_dataloader'):
        raise InputError(f'{args.config} has no val_dataloader; temperatures are fitted on validation data')
    content = load_checkpoint_file(args.checkpoint, trust=args.trust_checkpoint)
    if 'state_dict' not in content:
        raise InputError(f'{args.checkpoint} has no state_dict, so it is no checkpoint to calibrate')
    model = init_model(cfg, content, args.device, name=str(args.checkpoint))
    found = calibrate(model, cfg.val_dataloader, aggregation=args.aggregation, progress=True)
    content.setdefault('meta', {})[META_KEY] = found.as_dict()
    with replacing(out) as temporary:
        torch.save(content, temporary)
    report(found)
    print(f'written: {out}')


def check_writable(path: Path, inputs: list[str | Path]) -> None:
    """Check before the long work that the output can be written and overwrites no input."""
    if path.suffix != '.pth':
        raise InputError(f'--out {path}: name a file that ends in .pth')
    check_output(path, inputs)
    if not os.access(path.parent, os.W_OK):
        raise InputError(f'--out {path}: the folder does not exist or cannot be written')


def report(found: Calibration) -> None:
    table = Table('of', 'samples', 'fakes', 'temperature', 'neg. log-likelihood', 'calibration error')
    for name, fit in (('images', found.frame), ('videos', found.video)):
        table.add_row(
            name,
            str(fit.samples),
            str(fit.fakes),
            f'{fit.temperature:.3f}',
            f'{fit.loss_before:.4f} -> {fit.loss_after:.4f}',
            f'{fit.error_before:.4f} -> {fit.error_after:.4f}',
        )
    Console().print(table)
    print(f'fitted on {found.data}')
    fit = found.video
    if fit.limits is not None:
        low, high = (100 * limit for limit in fit.limits)
        print(
            f'{fit.genuine_videos} genuine and {fit.fake_videos} fake videos support probabilities from '
            f'{low:.1f} to {high:.1f} %; others are clipped to that range'
        )
    for name, fit in (('images', found.frame), ('videos', found.video)):
        if fit.at_edge:
            print(
                f'{name}: the temperature lies at the edge of the search range '
                f'({TEMPERATURES[0]} to {TEMPERATURES[1]}): these scores say little about this data'
            )


if __name__ == '__main__':
    sys.exit(run_tool(main))
