# SPDX-License-Identifier: Apache-2.0
"""What a check has found, for people and for machines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

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


class FindingList:
    """Collects findings; a finding with a count of zero is dropped."""

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
            examples: Some of them; only the first ones are read.
            remedy: What to do.
        """
        if count > 0:
            few = tuple(printable(example) for example in islice(examples, MAX_EXAMPLES))
            where, message = printable(where), printable(message)
            self._findings.append(Finding(severity, check, where, message, int(count), few, remedy))

    def add_each(
        self,
        severity: Severity,
        check: str,
        where: str,
        message: str,
        examples: Collection[object],
        remedy: str,
        word: str = 'video',
    ) -> None:
        """Keep a finding that counts its examples; ``{}`` in the message stands for number and ``word``."""
        count = len(examples)
        message = message.replace('{}', plural(count, word), 1)
        self.add(severity, check, where, message, count=count, examples=examples, remedy=remedy)

    def __iter__(self) -> Iterator[Finding]:
        """Findings, errors first, otherwise in the order in which they were added."""
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
