# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from identity_leakage.confounding import confound_weights, confounded_rows, identity_groups
from iid_mm.errors import InputError


def pairs_of(count: int) -> list[tuple[str, str | None]]:
    """``count`` separate pairs, both orders."""
    return [
        p
        for i in range(count)
        for p in ((f'{2 * i:03d}', f'{2 * i + 1:03d}'), (f'{2 * i + 1:03d}', f'{2 * i:03d}'))
    ]


@given(st.integers(2, 30), st.integers(0, 10))
def test_groups_keep_pairs_together_and_are_of_equal_size(count: int, seed: int) -> None:
    group = identity_groups(pairs_of(count), seed)
    assert len(group) == 2 * count
    assert all(group[f'{2 * i:03d}'] == group[f'{2 * i + 1:03d}'] for i in range(count))
    sizes = Counter(group.values())
    assert abs(sizes[True] - sizes[False]) <= 2


def test_groups_follow_from_the_seed_and_not_from_the_order() -> None:
    pairs = pairs_of(12)
    assert identity_groups(pairs, 3) == identity_groups(pairs[::-1], 3)
    assert identity_groups(pairs, 3) != identity_groups(pairs, 4)


def test_chains_of_pairs_are_one_set() -> None:
    group = identity_groups([('a', 'b'), ('b', 'c'), ('d', None), ('e', 'd'), ('f', None)])
    assert group['a'] == group['b'] == group['c'] != group['d']
    assert group['d'] == group['e'] == group['f']


def test_people_that_all_hang_together_are_refused() -> None:
    with pytest.raises(InputError, match='3 people cannot be divided'):
        identity_groups([('a', 'b'), ('b', 'c')])


def table(count: int, frames: int) -> tuple[list[int], list[str]]:
    """Every person: ``frames`` genuine samples and 3 * ``frames`` fakes."""
    people = [f'{i:03d}' for i in range(2 * count)]
    labels = [label for _ in people for label in [0] * frames + [1] * 3 * frames]
    return labels, [person for person in people for _ in range(4 * frames)]


@pytest.mark.parametrize('confound', [-0.9, 0.0, 0.5, 0.9, 1.0])
def test_rows_have_the_confound_that_was_asked_for(confound: float) -> None:
    """40 genuine samples a person: all shares are whole numbers of samples."""
    labels, people = table(6, 40)
    group = identity_groups(pairs_of(6), 1)
    rows = confounded_rows(labels, people, group, confound, seed=2)
    assert rows == sorted(set(rows))
    chosen = np.array([labels[row] for row in rows])
    in_group = np.array([group[people[row]] for row in rows])
    # Every person as often, half of all are fakes, and label and group correlate as asked for.
    assert set(Counter(people[row] for row in rows).values()) == {40}
    assert chosen.mean() == 0.5
    assert matthews_corrcoef(chosen, in_group) == pytest.approx(confound)
    share = round(40 * (1 + confound) / 2)
    counts = Counter((people[row], labels[row]) for row in rows)
    assert all(counts[person, 1] == (share if group[person] else 40 - share) for person in group)


def test_rows_do_not_depend_on_other_people() -> None:
    labels, people = table(4, 10)
    group = identity_groups(pairs_of(4))
    rows = confounded_rows(labels, people, group, 0.5)
    assert rows == confounded_rows(labels, people, group, 0.5)
    assert rows != confounded_rows(labels, people, group, 0.5, seed=1)
    first = [row for row in rows if people[row] == '000']
    assert first == confounded_rows(labels[:40], people[:40], group, 0.5)


def test_too_few_fakes_are_an_error() -> None:
    with pytest.raises(InputError, match="person '000' has 1 fakes, and 2 are wanted"):
        confounded_rows([0, 0, 1], ['000'] * 3, {'000': True}, 1.0)
    with pytest.raises(InputError, match=r'confound=1\.5'):
        confounded_rows([0], ['000'], {'000': True}, 1.5)


@pytest.mark.parametrize('confound', [-0.9, 0.0, 0.5, 1.0])
def test_weights_give_the_set_the_confound(confound: float) -> None:
    labels = np.array([0, 0, 1, 1])
    in_group = np.array([False, True, False, True])
    weights = confound_weights(labels, in_group, confound)
    expected = [(1 + confound) / 2, (1 - confound) / 2, (1 - confound) / 2, (1 + confound) / 2]
    assert weights.tolist() == expected
    assert matthews_corrcoef(labels, in_group, sample_weight=weights) == pytest.approx(confound)
