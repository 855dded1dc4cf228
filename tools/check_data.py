#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Check prepared datasets before training or testing on them.

Example:
    python tools/check_data.py data/ffpp/index.parquet data/celebdf/index.parquet --summary appendix.md

Exit status: 0 if there are no errors, 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('index', type=Path, nargs='+', help='prepared folders or index files')
    parser.add_argument('--no-images', action='store_true', help='do not decode images')
    parser.add_argument('--sample', type=int, metavar='N', help='decode only N rows per index (default: all)')
    parser.add_argument('--deep', action='store_true', help='search for identical images in different splits')
    parser.add_argument(
        '--num-workers',
        type=int,
        default=os.cpu_count() or 1,
        help='decoding processes; 0: decode in this process (default: one per core)',
    )
    parser.add_argument('--sheet', type=Path, help='write a contact sheet of samples with landmarks')
    parser.add_argument('--summary', type=Path, help="write a summary for a paper's appendix (Markdown)")
    parser.add_argument('--json', type=Path, help='write all findings and counts')
    parser.add_argument('--strict', action='store_true', help='missing videos of official sets are errors')
    parser.add_argument('--no-progress', action='store_true', help='hide the progress bar')
    return parser.parse_args()


def main() -> int:
    # Imported here: worker processes load this file, and need nothing of all this.
    from iid_mm.preparation.checking.output import draw_sheet, print_result, summarize
    from iid_mm.preparation.checking.runner import check_indexes
    from iid_mm.utils.files import check_output, write_bytes

    args = parse_args()
    inputs = [path / name for path in args.index for name in ('', 'index.parquet', 'report.json')]
    inputs += [path.parent / 'report.json' for path in args.index]
    for option, path in (('--sheet', args.sheet), ('--summary', args.summary), ('--json', args.json)):
        if path is not None:
            check_output(path, inputs, option=option)
    result = check_indexes(
        args.index,
        images=not args.no_images,
        sample=args.sample,
        deep=args.deep,
        num_workers=args.num_workers,
        progress=not args.no_progress,
    )
    print_result(result, strict=args.strict)
    if result.sets:
        summary = summarize(result.sets, result.counts)
        print(f'\n{summary}', end='')
        if args.summary:
            write_bytes(args.summary, summary.encode('utf-8', 'backslashreplace'))
    if args.json:
        text = json.dumps(result.to_dict(), indent=1, ensure_ascii=False)
        write_bytes(args.json, f'{text}\n'.encode('utf-8', 'backslashreplace'))
    if args.sheet and any(prepared.rows for prepared in result.sets):
        # Loads matplotlib for its fonts, which other checks do not need.
        from iid_mm.visualization.drawing import write_image

        write_image(args.sheet, draw_sheet(result.sets), argument='--sheet ')
        print(f'sheet: {args.sheet}')
    return int(result.failed(args.strict))


def start() -> int:
    from iid_mm.utils.cli import run_tool

    return run_tool(main)


if __name__ == '__main__':
    sys.exit(start())
