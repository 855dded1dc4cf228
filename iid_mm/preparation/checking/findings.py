# SPDX-License-Identifier: Apache-2.0
"""What a check has found, in a form for people and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from iid_mm.utils.files import printable

Severity: TypeAlias = Literal['error', 'warning', 'note']
SEVERITIES: tuple[Severity, ...] = ('error', 'warning', 'note')
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        severity: ``error``: results on these data would be wrong; ``warning``: they may mislead;
            ``note``: worth knowing.
        check: Name of the check, stable from release to release.
        where: Index or dataset that it is about.
        message: What is the matter, with the number.
        count: How many.
        examples: The first few, at most :data:`MAX_EXAMPLES`.
        remedy: What to do.
    """

    severity: Severity
    check: str
    where: str
    message: str
    count: int
    examples: tuple[str, ...]
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data."""
        return {**asdict(self), 'examples': list(self.examples)}


class FindingList:
    """Collects findings; what was found zero times is not kept."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def add(
        self,
        severity: Severity,
        check: str,
        where: str,
        message: str,
        *,
        count: int,
        examples: Iterable[object] = (),
        remedy: str = '',
    ) -> None:
        """Keep a finding.

        Args:
            severity: How bad it is.
            check: Name of the check.
            where: Index or dataset.
            message: What is the matter.
            count: How many; nothing is kept if it is 0.
            examples: Some of them; only the first ones are looked at.
            remedy: What to do.
        """
        if count <= 0:
            return
        few = tuple(
            printable(str(example)) for example, _ in zip(examples, range(MAX_EXAMPLES), strict=False)
        )
        where, message = printable(where), printable(message)
        self._findings.append(Finding(severity, check, where, message, int(count), few, remedy))

    def __iter__(self) -> Iterator[Finding]:
        """Findings, errors first, else in the order in which they were added."""
        return iter(sorted(self._findings, key=lambda finding: SEVERITIES.index(finding.severity)))

    def __len__(self) -> int:
        return len(self._findings)


def plural(count: int, word: str) -> str:
    """Number and word: ``1 video``, ``2 videos``, ``2 identities``."""
    if count == 1:
        return f'{count} {word}'
    if word.endswith('y'):
        return f'{count} {word[:-1]}ies'
    return f'{count} {word}s'
