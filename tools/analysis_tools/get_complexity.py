# SPDX-License-Identifier: Apache-2.0
"""Print the parameters, operations and activations of each part of a detector.

Example: python tools/analysis_tools/get_complexity.py configs/iid_effb4_ffpp.py configs/iid_r18_ffpp.py
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from iid_mm.errors import InputError
from iid_mm.models.complexity import Complexity, model_complexity
from iid_mm.registry import MODELS, SCOPE
from iid_mm.utils.cli import add_config_options, run_tool
from iid_mm.utils.config import load_config, pipeline_input_size
from iid_mm.utils.files import write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', help='config files')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help='input size; default: as in the test pipeline',
    )
    parser.add_argument('--json', type=Path, help='also write the table to this JSON file')
    add_config_options(parser)
    return parser.parse_args()


def input_size(cfg: Any, given: list[int] | None) -> tuple[int, int]:
    """Input size: as given, or that of the test pipeline."""
    if given is not None:
        if min(given) < 1:
            raise InputError(f'--size {given[0]} {given[1]}: must be positive')
        return given[0], given[1]
    return pipeline_input_size(cfg)


def main() -> None:
    args = parse_args()
    rows: list[tuple[str, tuple[int, int], Complexity]] = []
    for config in args.configs:
        cfg = load_config(config, args.cfg_options)
        init_default_scope(cfg.get('default_scope', SCOPE))
        size = input_size(cfg, args.size)
        rows += [(Path(config).stem, size, part) for part in model_complexity(MODELS.build(cfg.model), size)]
    table = Table('config', 'part', 'parameters (M)', 'trained (M)', 'GMACs', 'activations (M)')
    for name, size, part in rows:
        title = f'{name} ({size[0]} x {size[1]})' if part.part == 'backbone' else ''
        metrics = (part.parameters / 1e6, part.trained / 1e6, part.macs / 1e9, part.activations / 1e6)
        cells = [f'{value:.2f}' for value in metrics]
        table.add_row(title, part.part, *cells, end_section=part.part == 'total')
    Console(width=120, markup=False, emoji=False).print(table)
    if args.json is not None:
        write_json(args.json, [{'config': name, 'size': size, **asdict(part)} for name, size, part in rows])


if __name__ == '__main__':
    sys.exit(run_tool(main))
