# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from iid_mm.identity.linear import class_scores, macro, standardize, true_ranks

from .planted import planted


def test_lda_equals_scikit_learn() -> None:
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
