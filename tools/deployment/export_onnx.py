#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Export a detector to ONNX and check the file against PyTorch.

Example: python tools/deployment/export_onnx.py configs/iid_r18_ffpp.py best.pth iid_r18.onnx --index data
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.datasets.index import SPLITS
from iid_mm.deployment import ExportOptions, export_checkpoint
from iid_mm.utils.cli import add_config_options, add_trust_option, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', type=Path, help='ONNX file to write')
    parser.add_argument('--opset', type=int, default=17, help='ONNX opset version (17)')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='maximum difference of probabilities from PyTorch, in single precision (1e-4)',
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--fp16', action='store_true', help='half precision, for GPUs and smaller files')
    precision.add_argument(
        '--int8',
        choices=('static', 'dynamic'),
        help='8-bit integers; static calibrates activation ranges on faces of --index',
    )
    parser.add_argument('--reduce-range', action='store_true', help='7-bit weights, for x86 without VNNI')
    faces = parser.add_argument_group('real faces')
    faces.add_argument('--index', type=Path, help='prepared folder or index file; also checks on real faces')
    faces.add_argument('--split', default='val', choices=SPLITS, help='split for the check (val)')
    faces.add_argument(
        '--calibration-split',
        default='train',
        choices=SPLITS,
        help='calibration split of --int8 static (train)',
    )
    faces.add_argument('--faces', type=int, default=128, help='faces per split, half of them genuine (128)')
    add_trust_option(parser)
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    precision = 'fp16' if args.fp16 else f'int8-{args.int8}' if args.int8 else 'fp32'
    options = ExportOptions(
        opset=args.opset,
        precision=precision,
        tolerance=args.tolerance,
        index=args.index,
        split=args.split,
        calibration_split=args.calibration_split,
        faces=args.faces,
        reduce_range=args.reduce_range,
    )
    metadata = export_checkpoint(
        args.config,
        args.checkpoint,
        args.out,
        options,
        cfg_options=args.cfg_options,
        trust=args.trust_checkpoint,
        report=print,
    )
    width, height = metadata.input_size
    size = args.out.stat().st_size / 2**20
    print(
        f'{args.out}: {size:.1f} MiB, {precision}, images (N, 3, {height}, {width}), '
        f'outputs {", ".join(metadata.output_names)}'
    )


if __name__ == '__main__':
    sys.exit(run_tool(main))
