#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Write a detector as an ONNX file, and check that it computes what PyTorch computes.

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
    parser.add_argument('--opset', type=int, default=17, help='version of the ONNX operators (17)')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference of a probability to PyTorch, in single precision (1e-4)',
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--fp16', action='store_true', help='half precision, for GPUs and smaller files')
    precision.add_argument(
        '--int8',
        choices=('static', 'dynamic'),
        help='8-bit integers; static takes the ranges of activations from faces of --index',
    )
    parser.add_argument('--reduce-range', action='store_true', help='7-bit weights, for x86 without VNNI')
    faces = parser.add_argument_group('real faces')
    faces.add_argument('--index', type=Path, help='prepared folder or index; adds a check on real faces')
    faces.add_argument('--split', default='val', choices=SPLITS, help='split for the check (val)')
    faces.add_argument(
        '--calibration-split', default='train', choices=SPLITS, help='split for --int8 static (train)'
    )
    faces.add_argument('--faces', type=int, default=128, help='faces of each (128), half of them genuine')
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
