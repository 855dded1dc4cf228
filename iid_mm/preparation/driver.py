# SPDX-License-Identifier: Apache-2.0
"""Runs a preparation: scan, work in parallel, resume, index, report."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from iid_mm.datasets.index import INDEX_SCHEMA, write_index
from iid_mm.errors import InputError
from iid_mm.preparation.analysers import build_analyser, check_analyser
from iid_mm.preparation.analysers.precomputed_analyser import PrecomputedAnalyser
from iid_mm.preparation.group import GroupProcessor, GroupResult
from iid_mm.preparation.layouts import scan_layout
from iid_mm.preparation.parts import PartStore, fingerprint_group
from iid_mm.preparation.records import LayoutOptions, VideoGroup, group_records
from iid_mm.preparation.report import build_report
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.storage import write_bytes
from iid_mm.preparation.worker import start_worker, work


def prepare(
    root: Path,
    out_dir: Path,
    settings: Settings,
    *,
    splits_dir: Path | None = None,
    num_workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Prepare a data set: crops, ``index.parquet`` and ``report.json`` under ``out_dir``.

    A run that was stopped goes on when it is started again with the same arguments: finished groups
    are not worked on again. The index does not depend on the number of processes or on
    interruptions.

    Args:
        root: The data set as downloaded.
        out_dir: Where to write.
        settings: What to write.
        splits_dir: Folder of the split files; None for the usual places under ``root``.
        num_workers: Worker processes; 0 works in this process.
        overwrite: Delete what an earlier run has prepared in ``out_dir``.
        progress: Show a progress bar.

    Returns:
        The report (:func:`build_report`).

    Raises:
        InputError: If an argument is bad, ``out_dir`` was prepared with other settings, or no frame
            has a face.
        FileNotFoundError: If the data set or a part of it is missing.
        MissingExtraError: If the analyser's library is not installed.
    """
    if num_workers < 0:
        raise InputError(f'num_workers={num_workers}: must be 0 (no processes) or more')
    options = LayoutOptions(settings.compression, settings.methods, splits_dir, settings.masks)
    scan = scan_layout(settings.layout, root, options)
    groups = group_records(scan.records)
    # All that a user may have to mend is checked before the folder is touched.
    check_analyser(settings.analyser)
    fingerprints = {group.name: _fingerprint(group, settings, root) for group in groups}
    store = PartStore(out_dir, settings)
    store.open(overwrite)
    done = {g.name: part for g in groups if (part := store.load(g, fingerprints[g.name]))}
    todo = [group for group in groups if group.name not in done]

    # A log file is not a terminal: a line every half minute is enough there.
    interval = 0.2 if sys.stderr.isatty() else 30.0
    with tqdm(total=len(scan.records), unit='video', disable=not progress, mininterval=interval) as bar:
        faces = 0
        for part in done.values():
            bar.update(len(part[1]['videos']))
        for group, result in _run(todo, settings, root, out_dir, num_workers):
            store.save(group, fingerprints[group.name], result)
            faces += len(result.rows)
            bar.set_postfix(faces=faces, refresh=False)
            bar.update(len(group.records))
    return _finish(groups, store, fingerprints, scan.left_out)


def _finish(
    groups: Sequence[VideoGroup],
    store: PartStore,
    fingerprints: dict[str, str],
    left_out: dict[str, str],
) -> dict[str, Any]:
    """Join the parts to the index and write the report."""
    tables, reports = [INDEX_SCHEMA.empty_table()], []
    for group in groups:
        part = store.load(group, fingerprints[group.name])
        if part is None:
            raise RuntimeError(f'the part of group {group.name} vanished: {store.path(group)}')
        tables.append(part[0])
        reports.append(part[1])
    report = build_report(store.settings, reports, left_out)
    text = json.dumps(report, indent=1, ensure_ascii=False) + '\n'
    write_bytes(text.encode(), store.out_dir / 'report.json')
    table = pa.concat_tables(tables)
    if not table.num_rows:
        first = ''.join(f'; e.g. {p["video"]}: {p["reason"]}' for p in report['problems'][:1])
        raise InputError(
            f'no frame of {report["videos"]} videos has a face{first}; '
            f'see {store.out_dir / "report.json"} and try another --analyser'
        )
    metadata = {'iid_mm.preparation': store.settings.to_json()}
    write_index(table, store.out_dir / 'index.parquet', metadata=metadata)
    return report


def _fingerprint(group: VideoGroup, settings: Settings, root: Path) -> str:
    side_files = []
    if settings.analyser == 'precomputed':
        analyser = PrecomputedAnalyser(root)
        side_files = [analyser.side_file(record.path) for record in group.records]
    return fingerprint_group(group, settings, side_files)


def _run(
    groups: Sequence[VideoGroup], settings: Settings, root: Path, out_dir: Path, num_workers: int
) -> Iterator[tuple[VideoGroup, GroupResult]]:
    """Yield groups as they get ready."""
    if not groups:
        return
    if num_workers == 0:
        processor = GroupProcessor(settings, build_analyser(settings.analyser, root), out_dir)
        for group in groups:
            yield group, processor.process(group)
        return
    executor = ProcessPoolExecutor(
        min(num_workers, len(groups)),
        # Not fork: libraries of this process may hold threads and locks.
        mp_context=multiprocessing.get_context('spawn'),
        initializer=start_worker,
        initargs=(settings, root, out_dir),
    )
    waiting: dict[Future[GroupResult], VideoGroup] = {}
    queue = iter(groups)
    try:
        # Few groups are handed out at a time, so that a stop need not wait for a long queue.
        for group in queue:
            waiting[executor.submit(work, group)] = group
            if len(waiting) < 2 * num_workers:
                continue
            yield from _collect(waiting)
        while waiting:
            yield from _collect(waiting)
    except BrokenProcessPool as error:
        raise RuntimeError(
            'a worker process died (out of memory?); run the same command again to go on, '
            'with fewer --num-workers if it happens again'
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _collect(
    waiting: dict[Future[GroupResult], VideoGroup],
) -> Iterator[tuple[VideoGroup, GroupResult]]:
    ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in ready:
        yield waiting.pop(future), future.result()
