# SPDX-License-Identifier: Apache-2.0
"""The checks with their messages, and the list of what they found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from iid_mm.utils.files import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from iid_mm.preparation.checking.prepared_set import PreparedSet

Severity: TypeAlias = Literal['error', 'warning', 'note']
SEVERITIES: tuple[Severity, ...] = ('error', 'warning', 'note')
MAX_EXAMPLES = 5

_LOOK = 'look at them (--sheet); prepare the set again with another analyzer if they are wrong'
_UNUSABLE = {
    f'{state}-{name.replace(" ", "-")}': (
        f'{{count:row}} with {article} {name} that is {state}',
        'training stops at such a row: copy the prepared folder again, or prepare it again with --overwrite',
    )
    for article, name in (('an', 'image'), ('a', 'pair image'), ('a', 'mask'))
    for state in ('missing', 'unreadable')
}

CHECKS: dict[Severity, dict[str, tuple[str, str]]] = {
    'error': {
        'invalid-index': (
            'the index is refused: {reason}',
            'make it again with tools/prepare_data.py; do not use an index of unknown origin',
        ),
        'empty-index': (
            'the index has no rows',
            'look into report.json for the reasons, then prepare the set again',
        ),
        'image-in-two-roles': (
            '{count:image file} listed in more than one split or with both labels',
            'prepare the set again: one file can be only one sample',
        ),
        'pair-is-fake': (
            '{count:row} have a fake, or themselves, as genuine counterpart',
            'facial swaps with these pairs carry wrong labels; prepare the set again',
        ),
        'pair-in-other-split': (
            '{count:row} have their genuine frame in another split: a test video is seen in training',
            'give a fake and the video it was made from one split',
        ),
        'bad-crop-window': (
            '{count:row} with an empty crop window or one that begins outside of the frame',
            'crop_window is x0, y0, x1, y1 with 0 <= x0 < x1 and 0 <= y0 < y1; prepare the set again',
        ),
        'degenerate-landmarks': ('{count:row} whose landmarks lie on one point or line', _LOOK),
        'landmarks-outside': ('{count:row} whose landmarks are centered outside of the crop', _LOOK),
        **_UNUSABLE,
        'blank-image': (
            '{count:row} whose image is of one color: it shows no face',
            'damaged video or a fade to black; prepare the video again or drop these rows',
        ),
        **{
            f'{role}-of-other-size': (
                f'{{count:row}} whose {name} has another size than the image',
                'landmarks and facial swaps do not fit such pairs; prepare the set again',
            )
            for role, name in (('pair', 'genuine counterpart'), ('mask', 'mask'))
        },
        'copy-in-two-splits': (
            '{count:pair} of byte-identical images in different splits',
            'a test image is seen in training: find out which video is filed twice',
        ),
        'video-in-two-splits': (
            '{count:video} in different splits of different indexes',
            'do not train on one of these indexes and test on the other',
        ),
        'compressions-in-two-splits': (
            '{count:video} in different splits at different compression levels',
            'split by video, not by file; prepare all levels with the same split files',
        ),
    },
    'warning': {
        'image-listed-twice': (
            '{count:image file} listed more than once: it counts more than others',
            'prepare the set again, or drop the copies',
        ),
        # A note if a method has no pairs at all.
        'fake-without-pair': (
            '{count} of {total:fake frame} without a genuine counterpart',
            'they serve as plain fakes; facial swaps need pairs (require_pair=True drops the others){more}',
        ),
        'genuine-with-pair': (
            '{count:row} of genuine frames name a pair',
            'only fakes have a genuine counterpart; prepare the set again',
        ),
        'pair-of-other-frame': (
            '{count:row} have a genuine frame with another number',
            'pose and background differ in such pairs; prepare the set again',
        ),
        'one-class-only': (
            'split {split} holds {kind} frames only: no AUC can be computed on it alone',
            'use it together with an index that holds the other class',
        ),
        'mixed-landmarks': (
            'frames with {kinds} landmarks in one index',
            'face hulls differ in height between them; use one analyzer for all videos',
        ),
        'landmarks-far-out': ('{count:row} with landmarks far outside of the crop', _LOOK),
        'tiny-landmarks': ('{count:row} whose landmarks span less than a tenth of the crop', _LOOK),
        'report-of-other-run': (
            'report.json counts {found} frames, the index has {rows} rows',
            'they are from different runs; prepare the set again (finished videos are kept)',
        ),
        'video-without-face': (
            '{count:video} gave no frame with a face',
            'results on fewer videos than the protocol has are not comparable: try another analyzer, or '
            'state the number',
        ),
        'listed-but-missing': (
            '{count:video} named by a list file of the dataset, but not on disk',
            'complete the download and run the preparation again',
        ),
        'fake-equals-genuine': (
            '{count} of {total:fake frame} equal to the genuine frame: nothing is manipulated there, and the '
            'label is wrong',
            'known of some videos of public sets: drop these rows, or say so next to the scores',
        ),
        'pair-of-other-scene': (
            '{count} of {total:fake frame} hardly alike their genuine frame',
            'compare them (--sheet): a shifted or wrong counterpart makes facial swaps useless',
        ),
        'copy-with-both-labels': (
            '{count:pair} of byte-identical images, one genuine and one fake',
            'nothing is manipulated there, or a video is filed wrongly',
        ),
        'video-in-two-indexes': (
            '{count:video} in more than one index: used together, they count twice',
            'give each video to one run once',
        ),
        # An error where the official split keeps people apart.
        'identity-in-two-splits': ('{count:identity} in more than one split ({parts}){why}', '{remedy}'),
        'targets-of-other-set': (
            '{count:target video} of the test part of {title} seen in training on {other}: it was made from '
            'that set',
            'this is no cross-dataset test in the strict sense: keep to targets of the test split of '
            '{other}, or say so',
        ),
        'more-videos-than-official': (
            'the index has more videos than the official set: results are not comparable',
            'look for copies, other releases, or another split than the official one',
        ),
    },
    'note': {
        'pair-not-listed': (
            '{count:row} name a pair that is no sample of the index itself',
            'nothing: the pair is used for facial swaps, it is only not a genuine sample',
        ),
        'few-frames': (
            '{count:video} with less than half of the {wanted} frames that were wanted',
            'short or damaged videos, or no face in the others: see problems in report.json',
        ),
        'no-report': (
            '{problem}: what was left out is unknown',
            'keep report.json with the index, or prepare the set again',
        ),
        'left-out': ('{count:video} on disk left out', 'see left_out in report.json'),
        # A warning if there are many.
        'frames-given-up': (
            '{count:frame} given up{share}',
            'no face or another person was found there, or the video is damaged: see problems in report.json',
        ),
        'problems': ('{count:problem} noted while preparing', 'see problems in report.json'),
        'colorless-image': (
            '{count:row} whose image has no color',
            'nothing if the video is black and white; a detector must not learn a class from it',
        ),
        'fewer-videos-than-official': (
            '{count} videos of the official set are not in the index',
            'nothing, if a part of the set is meant; else see left_out and missing in report.json',
        ),
    },
}
"""Severity -> name of the check, stable from release to release -> message and remedy.

``{count:row}`` stands for the number and the word, such as ``1 row`` or ``2 rows``.
"""
_SEVERITY_OF = {check: severity for severity, checks in CHECKS.items() for check in checks}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        severity: ``error``: results on these data would be wrong; ``warning``: they may mislead;
            ``note``: worth knowing.
        check: Name of the check, see :data:`CHECKS`.
        where: Index or dataset that it is about.
        message: The problem, with the number.
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
    """Collects findings; one with a count of zero is dropped."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def add(
        self,
        check: str,
        where: str,
        examples: Iterable[object] = (),
        *,
        count: int | None = None,
        severity: Severity | None = None,
        **values: Any,
    ) -> None:
        """Keep a finding.

        Args:
            check: Name of the check, see :data:`CHECKS`.
            where: Index or dataset.
            examples: Some of them; only the first are kept.
            count: How many; nothing is kept if it is 0. None: the number of examples.
            severity: Severity, where it differs from :data:`CHECKS`.
            values: Values that the message and the remedy contain.
        """
        if count is None:
            count = len(examples := list(examples))
        if count <= 0:
            return
        usual = _SEVERITY_OF[check]
        values = {name: _Count(v) if isinstance(v, int) else v for name, v in values.items()}
        message, remedy = (text.format(count=_Count(count), **values) for text in CHECKS[usual][check])
        few = tuple(printable(example) for example in islice(examples, MAX_EXAMPLES))
        where, message = printable(where), printable(message)
        self._findings.append(Finding(severity or usual, check, where, message, int(count), few, remedy))

    def add_rows(
        self, check: str, prepared: PreparedSet, rows: npt.NDArray[np.int64], kind: str = '', **values: Any
    ) -> None:
        """Keep a finding about rows of an index, or of one kind of them, with the images of the first few."""
        where = f'{prepared.name}: {kind}' if kind else prepared.name
        self.add(check, where, prepared.texts('image', rows[:MAX_EXAMPLES]), count=len(rows), **values)

    def __iter__(self) -> Iterator[Finding]:
        """Findings, errors first, otherwise in the order in which they were added."""
        return iter(sorted(self._findings, key=lambda finding: SEVERITIES.index(finding.severity)))

    def __len__(self) -> int:
        return len(self._findings)


class _Count(int):
    """A number whose format is a word: ``{:video}`` gives ``2 videos``."""

    def __format__(self, word: str) -> str:
        return plural(int(self), word) if word else str(int(self))


def plural(count: int, word: str) -> str:
    """Number and word: ``1 video``, ``2 videos``, ``2 identities``."""
    if count == 1:
        return f'{count} {word}'
    return f'{count} {word[:-1]}ies' if word.endswith('y') else f'{count} {word}s'
