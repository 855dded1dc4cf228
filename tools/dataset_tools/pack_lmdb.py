#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Pack the images of a prepared dataset into one LMDB database, for file systems slow with many files.

Examples:
    python tools/dataset_tools/pack_lmdb.py data/ffpp                  # writes data/ffpp/images.lmdb
    python tools/dataset_tools/pack_lmdb.py data/ffpp --compare        # compares every byte with the files
    python tools/dataset_tools/pack_lmdb.py data/ffpp --time 2000      # measures the reading speed of both

An interrupted run resumes when started again. To train from the database, add to the config
    backend_args = dict(backend='lmdb')
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.preparation.lmdb_packing import pack_index
from iid_mm.utils.cli import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('index', type=Path, help='prepared folder or index file')
    parser.add_argument('--out', type=Path, help='folder to write (default: images.lmdb next to the index)')
    parser.add_argument('--compare', action='store_true', help='finally compare every byte with the files')
    parser.add_argument('--overwrite', action='store_true', help='replace a database of another dataset')
    parser.add_argument('--num-threads', type=int, default=8, help='files read in parallel (default: 8)')
    parser.add_argument('--time', type=int, metavar='N', help='time reading N images from files and LMDB')
    parser.add_argument('--no-progress', action='store_true', help='hide the progress bar')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.time is not None and args.time < 1:
        raise InputError(f'--time {args.time}: read at least one image')
    result = pack_index(
        args.index,
        args.out,
        compare=args.compare,
        overwrite=args.overwrite,
        num_threads=args.num_threads,
        progress=not args.no_progress,
    )
    packed = f'{result.packed} packed now' if result.packed else 'packed before'
    print(f'{result.path}: {result.images} images, {result.size / 2**20:.1f} MiB, {packed}, checked')
    if args.time is not None:
        # OpenCV and MMEngine are needed for this only.
        from lmdb_benchmark import measure_reading, reading_table

        print(reading_table(measure_reading(args.index, result.path, args.time)))


if __name__ == '__main__':
    sys.exit(run_tool(main))
