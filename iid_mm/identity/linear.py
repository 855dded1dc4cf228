# SPDX-License-Identifier: Apache-2.0
"""Linear classifiers for many classes and few samples, for several strengths of regularization at once."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

STRENGTHS: dict[str, tuple[float, ...]] = {
    'lda': (0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0),
    'logistic': (1e-3, 1e-2, 1e-1, 1.0),
}
"""Grid of each classifier: shrinkage of the covariance; weight of the penalty, 1 / C."""


def standardize(train: Array, test: Array) -> tuple[Array, Array]:
    """Give every feature mean 0 and standard deviation 1 in the training part; constant ones become 0."""
    scaler = StandardScaler().fit(train)
    # Less variation is rounding of float32.
    alive = np.sqrt(scaler.var_) > 1e-6 * np.abs(train).max(axis=0, initial=1e-30)
    return scaler.transform(train) * alive, scaler.transform(test) * alive


def group_means(values: Array, codes: Codes, groups: int) -> Array:
    """Means of (N, D) values by group, (groups, D); 0 for a group without samples."""
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, codes, values)
    return np.asarray(sums / np.maximum(np.bincount(codes, minlength=groups), 1)[:, None])


def sums_of_squares(values: Array, codes: Codes) -> tuple[float, float, float]:
    """Sums of squares of a one-way layout.

    Args:
        values: (N, D); the sums run over all dimensions.
        codes: (N,) groups 0..K-1, each of them used.

    Returns:
        Sum between groups, sum within groups, effective mean size n0 of a group.
    """
    counts = np.bincount(codes).astype(float)
    total = float(counts.sum())
    means = group_means(values, codes, counts.size)
    between = float(np.sum(counts[:, None] * (means - values.mean(axis=0)) ** 2))
    within = float(np.sum((values - means[codes]) ** 2))
    return between, within, (total - float(np.sum(counts**2)) / total) / (counts.size - 1)


def class_scores(
    classifier: str, train: Array, labels: Codes, test: Array, strengths: tuple[float, ...], classes: int
) -> list[Array]:
    """Fit one classifier for each strength and score a test part.

    Args:
        classifier: ``lda`` (linear discriminants with a shrunk common covariance and equal priors) or
            ``logistic`` (multinomial, L2 penalty).
        train: (n, D).
        labels: (n,) codes; a class that does not occur is never predicted.
        test: (m, D).
        strengths: Strengths of regularization, greater = stronger.
        classes: K.

    Returns:
        For each strength (m, K) scores; higher = more likely, -inf for classes that do not occur.
    """
    train, test = standardize(train, test)
    if classifier == 'logistic':
        return [_logistic(train, labels, test, strength, classes) for strength in strengths]
    return _lda(train, labels, test, strengths, classes)


def _lda(train: Array, labels: Codes, test: Array, strengths: tuple[float, ...], classes: int) -> list[Array]:
    if train.shape[1] > train.shape[0]:
        # Directions orthogonal to all training samples cannot change a score.
        basis = np.linalg.svd(train, full_matrices=False)[2].T
        train, test = train @ basis, test @ basis
    counts = np.bincount(labels, minlength=classes)
    means = group_means(train, labels, classes)
    rest = train - means[labels]
    freedom = max(1, labels.size - np.count_nonzero(counts))
    values, axes = np.linalg.eigh(rest.T @ rest / freedom)
    values = np.maximum(values, 0.0)
    average = max(float(values.mean()), 1e-12)
    means, test = means @ axes, test @ axes
    found = []
    for strength in strengths:
        weights = means / ((1 - strength) * values + strength * average)
        scores = test @ weights.T - 0.5 * np.sum(means * weights, axis=1)
        scores[:, counts == 0] = -np.inf
        found.append(scores)
    return found


def _logistic(train: Array, labels: Codes, test: Array, strength: float, classes: int) -> Array:
    model = LogisticRegression(C=1 / (strength * labels.size), max_iter=300)
    with warnings.catch_warnings():
        # Only the ranking of the classes is used, which settles long before the optimum.
        warnings.simplefilter('ignore', ConvergenceWarning)
        model.fit(train, labels)
    raw = model.decision_function(test)
    scores = np.full((len(test), classes), -np.inf)
    scores[:, model.classes_] = np.stack([-raw, raw], axis=1) if raw.ndim == 1 else raw
    return scores


def true_ranks(scores: Array, labels: Codes) -> Codes:
    """Rank of the true class, 0 = first; equal scores rank in the order of the classes."""
    own = scores[np.arange(labels.size), labels][:, None]
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    return np.asarray(np.sum((scores > own) | ((scores == own) & before), axis=1), dtype=np.int64)


def macro(hits: npt.NDArray[np.bool_], labels: Codes, classes: int) -> Array:
    """Share of hits of each class, (K,); NaN for a class without samples."""
    counts = np.bincount(labels, minlength=classes).astype(float)
    counts[counts == 0] = np.nan
    return np.asarray(np.bincount(labels, weights=hits, minlength=classes) / counts)
