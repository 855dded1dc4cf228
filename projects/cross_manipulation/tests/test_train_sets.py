# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from cross_manipulation.train_sets import TrainSet, every_subset, leave_one_out, parse_train_sets
from iid_mm.errors import InputError

METHODS = ('Deepfakes', 'Face2Face', 'FaceSwap')


def test_leave_one_out() -> None:
    sets = leave_one_out(METHODS)
    assert [s.methods for s in sets] == [
        ('Face2Face', 'FaceSwap'),
        ('Deepfakes', 'FaceSwap'),
        ('Deepfakes', 'Face2Face'),
    ]
    assert [s.label for s in sets] == ['all but Deepfakes', 'all but Face2Face', 'all but FaceSwap']


@pytest.mark.parametrize('methods', [(), ('Deepfakes',)])
def test_leave_one_out_needs_two(methods: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match='at least two manipulations'):
        leave_one_out(methods)


def test_every_subset() -> None:
    assert [s.methods for s in every_subset(METHODS, 1)] == [(m,) for m in METHODS]
    assert [s.label for s in every_subset(METHODS, 2)] == [
        'Deepfakes+Face2Face',
        'Deepfakes+FaceSwap',
        'Face2Face+FaceSwap',
    ]


@pytest.mark.parametrize('size', [0, 3, 4])
def test_every_subset_leaves_something_unseen(size: int) -> None:
    with pytest.raises(InputError, match=f'training on {size} of 3'):
        every_subset(METHODS, size)


def test_parse_orders_as_the_index() -> None:
    sets = parse_train_sets(['FaceSwap+Deepfakes', 'Face2Face'], METHODS)
    assert [s.methods for s in sets] == [('Deepfakes', 'FaceSwap'), ('Face2Face',)]


def test_a_name_with_a_plus_is_found_whole() -> None:
    assert parse_train_sets(['A+B', 'A+C'], ('A+B', 'A', 'C'))[0].methods == ('A+B',)


@pytest.mark.parametrize(
    ('texts', 'message'),
    [
        (['Deepfake'], "no manipulation 'Deepfake' in the index; it has Deepfakes, Face2Face, FaceSwap"),
        (['Deepfakes+'], "no manipulation ''"),
        (['Deepfakes+Deepfakes'], 'names a manipulation twice'),
        (['Deepfakes+FaceSwap', 'FaceSwap+Deepfakes'], 'is given twice'),
    ],
)
def test_bad_sets(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace('+', r'\+')):
        parse_train_sets(texts, METHODS)


def test_slugs_are_safe_and_unique() -> None:
    assert TrainSet(('Deepfakes', 'FaceSwap'), '').slug == 'Deepfakes+FaceSwap'
    odd = [TrainSet((name,), '').slug for name in ('../x', '..%x', 'a/b', 'a b', 'a_b')]
    assert len(set(odd)) == 5
    assert not any('/' in slug or '.' in slug for slug in odd)
    long = [TrainSet(tuple(f'method{i}' for i in range(n)), '').slug for n in (30, 31)]
    assert len(set(long)) == 2
    assert max(map(len, long)) < 100
