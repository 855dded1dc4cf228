# SPDX-License-Identifier: Apache-2.0
"""Runs a preparation: scan, work in parallel, resume, index, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from iid_mm.datasets.index import INDEX_SCHEMA, write_index
from iid_mm.errors import InputError
from iid_mm.faces.analyzers import DATASET_FACES, AnalyzerOptions, PrecomputedAnalyzer, check_analyzer
from iid_mm.media.image_writing import JPEG_QUALITY
from iid_mm.preparation.layouts import find_layout, scan_layout
from iid_mm.preparation.layouts.base import LayoutOptions, LayoutScan
from iid_mm.preparation.parts import PARTS, PartStore, fingerprint_group
from iid_mm.preparation.pool import make_batches, process_batches
from iid_mm.preparation.records import GroupResult, VideoGroup, group_records, move_to_val
from iid_mm.preparation.report import build_report
from iid_mm.preparation.settings import Settings
from iid_mm.preparation.shards import (
    Manifest,
    Shard,
    collect_shard,
    digest_names,
    read_manifests,
    read_settings,
)
from iid_mm.utils.files import printable, read_json, reason_of, write_bytes, write_text

INDEX, REPORT, FINISHED = 'index.parquet', 'report.json', 'finished'


@dataclass(frozen=True)
class RunOptions:
    """How a preparation runs; none of it changes the index.

    Attributes:
        num_workers: Worker processes; 0 works in this process.
        shard: Which part of the work to do.
        overwrite: Delete what an earlier run has prepared in the folder.
        progress: Show a progress bar.
        splits_dir: Folder of the split files, or a list file; None for the usual places.
        model_dir: Folder of the analyzer's models.
        device: Where the analyzer computes: ``auto``, ``cpu`` or ``cuda``.
    """

    num_workers: int = 0
    shard: Shard = field(default_factory=Shard)
    overwrite: bool = False
    progress: bool = True
    splits_dir: Path | None = None
    model_dir: Path | None = None
    device: str = 'auto'

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise InputError(f'num_workers={self.num_workers}: must be 0 (no processes) or more')
        if self.overwrite and self.shard.total > 1:
            raise InputError(
                f'overwrite with num_shards={self.shard.total}: shards that share a folder would delete the '
                'work of each other; delete the folder first, and leave overwrite out'
            )


def make_settings(layout_name: str, run: RunOptions, **choices: Any) -> Settings:
    """Settings with the defaults of a layout.

    Args:
        layout_name: Name of the layout.
        run: Names the models and the device of the analyzer.
        **choices: Attributes of :class:`Settings`; None takes the default.

    Raises:
        InputError: If the layout, the analyzer or a value is unknown.
        FileNotFoundError: If models of the analyzer are missing.
        MissingExtraError: If its library is not installed.
    """
    layout = find_layout(layout_name)
    given = {name: value for name, value in choices.items() if value is not None}
    compression = layout.compression(LayoutOptions(compression=given.pop('compression', None)))
    if given.get('image_format') == 'jpg':
        given.setdefault('quality', JPEG_QUALITY)
    analyzer = given.pop('analyzer', layout.analyzer)
    version = check_analyzer(AnalyzerOptions(analyzer, run.model_dir, run.device))
    return Settings(
        layout=layout_name,
        compression=compression,
        methods=given.pop('methods', None),
        analyzer=analyzer,
        analyzer_version=version,
        **given,
    )


def prepare(root: Path, out_dir: Path, settings: Settings, run: RunOptions | None = None) -> dict[str, Any]:
    """Prepare a dataset: crops, ``index.parquet`` and ``report.json`` under ``out_dir``.

    A run that was stopped goes on when it is started again with the same arguments: finished groups
    are not worked on again. The index does not depend on the number of processes, on shards or on
    interruptions. A single shard writes crops and its manifest; :func:`merge` writes the index.

    Args:
        root: The dataset as downloaded.
        out_dir: Where to write.
        settings: What to write.
        run: How to run.

    Returns:
        The report (:func:`build_report`); of a shard the report of its part.

    Raises:
        InputError: If an argument is bad, ``out_dir`` was prepared with other settings, or no frame
            has a face.
        FileNotFoundError: If the dataset or a part of it is missing.
        MissingExtraError: If the analyzer's library is not installed.
    """
    run = run or RunOptions()
    store = PartStore(out_dir, settings)
    # Mistakes of the user are found before the folder is touched.
    store.check(run.overwrite)
    analyzer = AnalyzerOptions(settings.analyzer, run.model_dir, run.device, DATASET_FACES)
    check_analyzer(analyzer)
    scan = _scan(root, out_dir, settings, run)
    groups = group_records(scan.records)
    fingerprints = _fingerprints(groups, settings, root)
    part = run.shard.name if run.shard.total > 1 else ''
    with _writing(out_dir, (), fingerprints):
        store.open(run.overwrite, part)
    if run.shard.total == 1 and (known := _finished(store, fingerprints, scan)):
        return known
    batches = run.shard.select(make_batches(groups))
    mine = [group for batch in batches for group in batch]
    done = {group.name for group in mine if store.is_done(group.name, fingerprints[group.name])}
    names = [group.name for group in mine]
    with _writing(out_dir, done, names):
        todo = [kept for batch in batches if (kept := [group for group in batch if group.name not in done])]
        failed = []
        with _Progress(mine, done, run.progress) as progress:
            scratch = store.scratch(part)
            work = process_batches(todo, settings, analyzer, root, out_dir, run.num_workers, scratch)
            for group, result in work:
                if result.finished:
                    store.save(fingerprints[group.name], result)
                    done.add(group.name)
                else:
                    failed.append(result.report())
                progress.update(group, result)
        finished = {name: fingerprints[name] for name in names if name in done}
        if run.shard.total == 1:
            report = _write_outputs(store, list(finished), scan.left_out, scan.missing, failed)
            if not failed:
                write_text(store.folder / FINISHED, _state(fingerprints, scan))
            return report
        # A group that cannot be prepared must not keep the others from being merged.
        every = digest_names([group.name for group in groups])
        shard = (run.shard.index, run.shard.total, every, finished)
        Manifest(*shard, scan.left_out, scan.missing, failed).write(out_dir)
    reports = [store.load_report(name) for name in finished] + failed
    return build_report(settings, reports, scan.left_out, scan.missing)


def merge(out_dir: Path, folders: Sequence[Path] = ()) -> dict[str, Any]:
    """Put the shards of a run together: the folder is then what a single run would have made.

    Args:
        out_dir: Where the index is written.
        folders: Folders of the shards, whose crops are linked or copied to ``out_dir``; empty if the
            shards were prepared in ``out_dir``.

    Returns:
        The report.

    Raises:
        InputError: If the shards do not belong together.
        FileNotFoundError: If a shard is missing.
    """
    manifests = read_manifests(list(folders) or [out_dir])
    settings = read_settings(next(iter(manifests)))
    for folder in manifests:
        PartStore(folder, settings).check()
    store = PartStore(out_dir, settings)
    names: list[str] = []
    given_up = []
    wanted = [name for items in manifests.values() for manifest in items for name in manifest.groups]
    with _writing(out_dir, names, wanted):
        store.open()
        for folder, items in manifests.items():
            for manifest in items:
                collect_shard(folder, manifest, store)
                names += list(manifest.groups)
                given_up += manifest.failed
        first = next(iter(manifests.values()))[0]
        return _write_outputs(store, sorted(names), first.left_out, first.missing, given_up)


def _scan(root: Path, out_dir: Path, settings: Settings, run: RunOptions) -> LayoutScan:
    options = LayoutOptions(
        compression=settings.compression,
        methods=settings.methods,
        splits_dir=run.splits_dir,
        split=settings.split,
        stills=settings.stills,
        cache_dir=out_dir / PARTS / 'listings',
    )
    scan = scan_layout(settings.layout, root, options)
    scan.records = move_to_val(scan.records, settings.val_fraction)
    return scan


def _fingerprints(groups: Sequence[VideoGroup], settings: Settings, root: Path) -> dict[str, str]:
    side_files: dict[str, list[Path]] = {}
    if settings.analyzer == 'precomputed':
        looked_up = PrecomputedAnalyzer(root)
        for group in groups:
            side_files[group.name] = [f for record in group.records for f in looked_up.side_files(record)]
        wanted = [path for paths in side_files.values() for path in paths]
        if wanted and not any(path.is_file() for path in wanted):
            raise FileNotFoundError(
                f'analyzer="precomputed": none of the {len(wanted)} landmark files is there, e.g. '
                f'{str(wanted[0])!r}; each holds floats (frames, 68 or 81, 2). '
                'Other analyzers find the landmarks themselves'
            )
    return {
        group.name: fingerprint_group(group, settings, side_files.get(group.name, ())) for group in groups
    }


def _write_outputs(
    store: PartStore,
    names: Sequence[str],
    left_out: Mapping[str, str],
    missing: Sequence[str],
    failed: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Join the parts to the index and write the report; ``failed`` are reports of groups without rows."""
    tables, reports = [INDEX_SCHEMA.empty_table()], list(failed)
    for name in names:
        table, part = store.load(name)
        tables.append(table)
        reports.append(part)
    report = build_report(store.settings, reports, left_out, missing)
    text = json.dumps(report, indent=1, ensure_ascii=False) + '\n'
    # Settings quote what a user typed: lone surrogates become escapes of JSON.
    write_bytes(store.out_dir / REPORT, text.encode('utf-8', 'backslashreplace'))
    table = pa.concat_tables(tables)
    if not table.num_rows:
        first = ''.join(f'; e.g. {p["video"]}: {p["reason"]}' for p in report['problems'][:1])
        raise InputError(
            f'no frame of {report["videos"]} videos has a face{first}; '
            f'see {store.out_dir / REPORT} and try another --analyzer'
        )
    metadata = {'iid_mm.preparation': store.settings.to_json()}
    write_index(table, store.out_dir / INDEX, metadata=metadata)
    return report


def _state(fingerprints: Mapping[str, str], scan: LayoutScan) -> str:
    noted = [sorted(scan.left_out.items()), scan.missing]
    return digest_names([*(f'{name}={value}' for name, value in fingerprints.items()), json.dumps(noted)])


def _finished(store: PartStore, fingerprints: Mapping[str, str], scan: LayoutScan) -> dict[str, Any] | None:
    """Report of an earlier run that has nothing left to do; None if there is something."""
    note = store.folder / FINISHED
    if not (note.is_file() and (store.out_dir / INDEX).is_file()):
        return None
    if note.read_bytes() != _state(fingerprints, scan).encode():
        return None
    try:
        report = read_json(store.out_dir / REPORT)
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


@contextmanager
def _writing(out_dir: Path, done: Collection[str], groups: Collection[str]) -> Iterator[None]:
    """Turn errors of the disk into one line that says how to continue."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        name = printable(f' ({Path(error.filename).name})') if isinstance(error.filename, str) else ''
        raise InputError(
            f'out_dir={str(out_dir)!r} cannot be written: {reason_of(error)}{name}; {len(done)} of '
            f'{len(groups)} groups of videos are finished and kept: mend that, and run the same command again'
        ) from error


class _Progress:
    """Progress bar: videos a second, time left, share of frames with a face, problems."""

    def __init__(self, groups: Sequence[VideoGroup], done: set[str], show: bool) -> None:
        # A log file is not a terminal: a line every half minute is enough there.
        interval = 0.2 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(
            total=sum(len(group.records) for group in groups),
            initial=sum(len(group.records) for group in groups if group.name in done),
            unit='video',
            disable=not show,
            mininterval=interval,
            smoothing=0.05,
        )
        self._asked = self._found = self._problems = 0

    def update(self, group: VideoGroup, result: GroupResult) -> None:
        """Count a group that is ready."""
        self._asked += sum(video.asked for video in result.videos)
        self._found += sum(video.found for video in result.videos)
        self._problems += sum(bool(video.problems) for video in result.videos)
        share = f'{100 * self._found / self._asked:.1f}%' if self._asked else '-'
        self._bar.set_postfix(faces=share, problems=self._problems, refresh=False)
        self._bar.update(len(group.records))

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()
