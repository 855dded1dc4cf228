# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from iid_mm.errors import InputError
from iid_mm.identity.clips import fewer_clips, hold_out, shuffle_identities, time_blocks
from iid_mm.identity.linear import class_scores, macro, standardize, true_ranks
from iid_mm.identity.probe import ProbeSettings, effective_rank, probe, variance_share


def clips_of(people: int, clips: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Identity and clip of every face."""
    clip = np.repeat(np.arange(people * clips), frames)
    return clip // clips, clip


def planted(
    people: int, clips: int, frames: int, size: int, distance: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthogonal prototypes ``distance`` apart from the origin plus unit noise."""
    identity, clip = clips_of(people, clips, frames)
    noise = np.random.default_rng(seed).normal(size=(identity.size, size))
    return noise + distance * np.eye(people, size)[identity], identity, clip


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


def test_lda_equals_scikit_learn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, identity, _ = planted(4, 2, 20, 7, 1.5)
    features = features @ np.random.default_rng(3).normal(size=(7, 7))
    train, test = standardize(features[::2], features[1::2])
    (scores,) = class_scores('lda', features[::2], identity[::2], features[1::2], (0.3,), 4)
    # scikit-learn divides the covariance by n, which cancels in neither term but scales all scores alike.
    reference = LinearDiscriminantAnalysis('lsqr', covariance_estimator=_Shrunk(), priors=[0.25] * 4)
    expected = reference.fit(train, identity[::2]).decision_function(test)
    difference = scores - expected
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:, :1], difference.shape), atol=1e-8)


class _Shrunk:
    """0.7 of the covariance and 0.3 of its mean variance, unbiased over 4 classes of 20 samples."""

    def fit(self, values: np.ndarray) -> _Shrunk:
        # scikit-learn sums (share of class) x (covariance of class); equal classes of 20.
        covariance = np.cov(values.T, bias=True) * 20 / 19
        self.covariance_ = 0.7 * covariance + 0.3 * np.trace(covariance) / len(covariance) * np.eye(
            len(covariance)
        )
        return self


def test_ranks_and_macro_average_by_hand() -> None:
    scores = np.array([[3.0, 1, 2], [1, 1, 1], [0, 5, 1], [9, 0, 1]])
    labels = np.array([0, 1, 1, 2])
    assert true_ranks(scores, labels).tolist() == [0, 1, 0, 1]
    shares = macro(true_ranks(scores, labels) < 1, labels, 4)
    np.testing.assert_array_equal(shares, [1, 0.5, 0, np.nan])


def test_splits_hold_out_whole_clips_of_everyone() -> None:
    identity, clip = clips_of(6, 4, 5)
    tests = [hold_out(identity, clip, seed) for seed in range(4)]
    for test in tests:
        assert not set(clip[test]) & set(clip[~test])
        assert [np.unique(clip[test & (identity == k)]).size for k in range(6)] == [1] * 6
    assert any((tests[0] != other).any() for other in tests[1:])
    np.testing.assert_array_equal(tests[2], hold_out(identity, clip, 2))


def test_shuffling_moves_whole_clips_and_keeps_counts() -> None:
    identity, clip = clips_of(6, 4, 5)
    shuffled = shuffle_identities(identity, clip, 0)
    assert (shuffled != identity).any()
    assert np.unique(np.stack([clip, shuffled]), axis=1).shape[1] == 24
    np.testing.assert_array_equal(np.bincount(shuffled), np.bincount(identity))


def test_fewer_training_clips() -> None:
    identity, clip = clips_of(3, 4, 2)
    train = ~hold_out(identity, clip, 0)
    fewer = fewer_clips(identity, clip, train, 0, 1)
    assert not (fewer & ~train).any()
    assert np.bincount(identity[fewer]).tolist() == [2, 2, 2]
    assert fewer_clips(identity, clip, train, 0, None) is train
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


def test_time_blocks_leave_a_gap() -> None:
    order = np.arange(8)[::-1]
    assert time_blocks(np.zeros(8, int), order).tolist() == [3, 3, -1, 2, -1, 1, -1, 0]
    with pytest.raises(InputError, match='7 frames'):
        time_blocks(np.zeros(7, int), np.arange(7))


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
