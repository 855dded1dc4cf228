# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from iid_mm.errors import InputError
from iid_mm.identity.clips import draw_split
from iid_mm.identity.probe import ProbeSettings, effective_rank, probe, variance_share

from .planted import clips_of, planted


def bayes_accuracy(people: int, distance: float) -> float:
    """P(own score is the greatest): integral of phi(z) Phi(z + distance)^(people - 1) dz."""
    z = np.linspace(-8, 8, 4001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return float(np.sum(density * special.ndtr(z + distance) ** (people - 1)) * (z[1] - z[0]))


def test_two_people_have_the_known_bayes_accuracy() -> None:
    # Two prototypes sqrt(2) d apart with unit noise: Phi(d / sqrt 2), which is Phi(1) for d = sqrt 2.
    assert bayes_accuracy(2, np.sqrt(2)) == pytest.approx(0.841345, abs=1e-5)


@pytest.mark.parametrize('classifier', ['lda', 'logistic'])
def test_identity_is_found_where_it_is(classifier: str) -> None:
    people, distance = 8, 3.0
    features, identity, clip = planted(people, 4, 100, 12, distance)
    found = probe(features, identity, clip, ProbeSettings(classifier, seeds=3))
    expected = bayes_accuracy(people, distance)
    assert 0.9 < expected < 0.96
    assert found.top1.value == pytest.approx(expected, abs=0.02)
    assert found.top1.low <= found.top1.value <= found.top1.high
    assert found.seed_low <= found.top1.value <= found.seed_high
    assert found.clip_top1.value == 1
    assert found.top5.value > found.top1.value
    assert (found.chance, found.chance5) == (1 / 8, 5 / 8)


def test_identity_is_not_found_where_it_was_projected_out() -> None:
    people = 8
    features, identity, clip = planted(people, 6, 40, 24, 5.0)
    features[:, :people] = 0
    found = probe(features, identity, clip)
    assert found.top1.low <= found.chance <= found.top1.high
    assert found.top1.value == pytest.approx(found.chance, abs=0.05)
    assert found.top5.value == pytest.approx(found.chance5, abs=0.08)


def test_shuffled_labels_and_clip_effects_are_at_chance() -> None:
    people = 10
    identity, clip = clips_of(people, 4, 30)
    rng = np.random.default_rng(1)
    # Every clip has its own look, which says nothing about the person: a split by frame would win at once.
    features = 6 * rng.normal(size=(clip.max() + 1, 60))[clip] + rng.normal(size=(clip.size, 60))
    found = probe(features, identity, clip)
    assert found.top1.value < 0.2
    assert found.top1.low <= 0.1 <= found.top1.high
    planted_features, identity, clip = planted(people, 4, 30, 12, 5.0)
    shuffled = probe(planted_features, identity, clip, shuffled=True)
    assert probe(planted_features, identity, clip).top1.value > 0.95
    assert shuffled.top1.value < 0.2


def test_constant_features_are_at_chance_exactly() -> None:
    identity, clip = clips_of(5, 2, 3)
    found = probe(np.ones((identity.size, 4)), identity, clip)
    assert found.top1.value == pytest.approx(0.2)
    assert found.top5.value == 1
    assert 'within clips' in found.notes[0]


def test_features_of_very_different_scale_do_not_hide_the_identity() -> None:
    features, identity, clip = planted(6, 3, 30, 8, 6.0)
    features *= np.array([1e-6] * 6 + [1e4, 1e5])
    assert probe(features, identity, clip).top1.value > 0.97


def test_more_dimensions_than_faces() -> None:
    identity, clip = clips_of(4, 3, 4)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, 300))[identity] + rng.normal(size=(48, 300))
    assert probe(features, identity, clip).top1.value > 0.9


def test_fewer_training_clips() -> None:
    identity, clip = clips_of(3, 4, 2)
    train, test = draw_split(identity, clip, 0)
    fewer, same = draw_split(identity, clip, 0, train_clips=1)
    np.testing.assert_array_equal(test, same)
    assert not (fewer & ~train).any()
    assert np.bincount(identity[fewer]).tolist() == [2, 2, 2]
    features, identity, clip = planted(8, 4, 12, 12, 3.0)
    one = probe(features, identity, clip, ProbeSettings(train_clips=1))
    assert one.top1.value < probe(features, identity, clip).top1.value


def test_variance_share_by_hand() -> None:
    # Clip means 0, 2 of one person, 6, 8 of the other: mean squares 36 between, 2 within, n = 2.
    values = np.array([[-1.0], [1], [2], [2], [5], [7], [8], [8]])
    identity, clip = clips_of(2, 2, 2)
    assert variance_share(values, identity, clip) == pytest.approx((36 - 2) / (36 + 2))
    assert variance_share(np.hstack([values, 7 * values]), identity, clip) == pytest.approx(34 / 38)
    assert np.isnan(variance_share(np.ones((8, 2)), identity, clip))


def test_effective_rank_by_hand() -> None:
    signs = np.array([[1.0, 1, 5, 1], [1, -1, 5, -1], [-1, 1, 5, 1], [-1, -1, 5, -1]])
    assert effective_rank(signs[:, :2]) == pytest.approx(2)
    assert effective_rank(signs[:, :3]) == pytest.approx(2)
    # Eigenvalues 1 and 2 of 3.
    shares = np.array([1 / 3, 2 / 3])
    assert effective_rank(signs) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))))
    assert effective_rank(np.ones((4, 2))) == 0


def test_bad_input() -> None:
    identity, clip = clips_of(3, 2, 2)
    features = np.zeros((12, 2))
    with pytest.raises(InputError, match='2 clips each'):
        probe(features, identity, identity)
    with pytest.raises(InputError, match='two identities'):
        probe(features, identity, np.zeros(12, int))
    with pytest.raises(InputError, match='do not fit'):
        probe(features[:5], identity, clip)
    with pytest.raises(InputError, match='NaN'):
        probe(np.full((12, 2), np.nan), identity, clip)
    for wrong in (dict(classifier='forest'), dict(seeds=0), dict(share=1.0), dict(level=95)):
        with pytest.raises(InputError):
            ProbeSettings(**wrong)  # type: ignore[arg-type]
