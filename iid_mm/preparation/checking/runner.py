# SPDX-License-Identifier: Apache-2.0
"""All checks of one or more prepared sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from iid_mm.errors import InputError, InvalidIndexError
from iid_mm.preparation.checking.findings import SEVERITIES, Finding, FindingList
from iid_mm.preparation.checking.image_checks import (
    ImageResults,
    check_copies,
    check_image_results,
    decode_set,
)
from iid_mm.preparation.checking.image_decoding import GOOD
from iid_mm.preparation.checking.index_checks import (
    check_landmarks,
    check_report,
    check_rows,
    split_counts,
    window_sizes,
)
from iid_mm.preparation.checking.prepared_set import PreparedSet, load_set
from iid_mm.preparation.checking.video_checks import CountRow, check_counts, check_splits, count_videos


@dataclass
class CheckResult:
    """Result of a check.

    Attributes:
        sets: The sets that could be read.
        counts: Videos by dataset, method and split.
        findings: What was found, errors first.
        decoded: Rows whose images were decoded.
    """

    sets: list[PreparedSet]
    counts: list[CountRow]
    findings: list[Finding] = field(default_factory=list)
    decoded: int = 0

    def number(self, severity: str) -> int:
        """Number of findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def failed(self, strict: bool = False) -> bool:
        """Whether the data are not fit for use.

        Args:
            strict: Missing videos of an official set count, too.
        """
        return self.number('error') > 0 or (strict and any(row.short for row in self.counts))

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            'indexes': [
                {
                    'name': prepared.name,
                    'rows': prepared.rows,
                    'videos': len(prepared.videos),
                    'splits': split_counts(prepared) if prepared.rows else {},
                    'settings': prepared.settings,
                }
                for prepared in self.sets
            ],
            'rows_decoded': self.decoded,
            'numbers': {severity: self.number(severity) for severity in SEVERITIES},
            'findings': [asdict(finding) for finding in self.findings],
            'counts': [asdict(row) for row in self.counts],
        }


def check_indexes(
    paths: Sequence[Path],
    *,
    images: bool = True,
    sample: int | None = None,
    deep: bool = False,
    num_workers: int = 0,
    progress: bool = True,
) -> CheckResult:
    """Check prepared sets, each on its own and all together.

    Args:
        paths: Indexes, or folders that hold an ``index.parquet``.
        images: Decode images.
        sample: Decode the images of this many rows of each index, evenly chosen; None decodes all.
        deep: Also look for byte-identical images in different splits.
        num_workers: Worker processes for decoding; 0 works in this process.
        progress: Show a progress bar.

    Returns:
        The result; an index that breaks the rules of the format is a finding.

    Raises:
        FileNotFoundError: If an index is not there.
        InputError: If an argument is bad or an index is named twice.
    """
    if not paths or len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f'{len(paths)} indexes given: name at least one, and each only once')
    if sample is not None and sample < 1:
        raise InputError(f'sample={sample}: must be at least 1; images=False decodes none')
    if num_workers < 0:
        raise InputError(f'num_workers={num_workers}: must be 0 (no processes) or more')
    if deep and not images:
        raise InputError('deep compares the content of images, which are not read with images=False')
    findings = FindingList()
    sets = list(_load(paths, findings))
    decoded: list[ImageResults] = []
    for prepared in sets:
        check_report(prepared, findings)
        check_rows(prepared, findings)
        sizes = window_sizes(prepared)
        if images and prepared.rows:
            results, problems = decode_set(
                prepared, sample=sample, digests=deep, num_workers=num_workers, progress=progress
            )
            check_image_results(prepared, results, problems, findings)
            good = results[results['image'] == GOOD]
            sizes[good['row']] = good['size']
            decoded.append(results)
        check_landmarks(prepared, sizes, findings)
    if deep and decoded:
        check_copies([prepared for prepared in sets if prepared.rows], decoded, findings)
    check_splits(sets, findings)
    # An index without settings says nothing about the methods that were asked for.
    settings: dict[str, list[dict[str, Any]]] = {}
    for prepared in sets:
        for dataset in {video.dataset for video in prepared.videos}:
            settings.setdefault(dataset, []).append(prepared.settings or {})
    counts = count_videos((video for prepared in sets for video in prepared.videos), settings)
    check_counts(counts, findings)
    return CheckResult(sets, counts, list(findings), sum(len(results) for results in decoded))


def _load(paths: Sequence[Path], findings: FindingList) -> Iterator[PreparedSet]:
    for path in paths:
        try:
            yield load_set(path)
        except InvalidIndexError as error:
            findings.add('invalid-index', path.as_posix(), count=1, reason=error)
