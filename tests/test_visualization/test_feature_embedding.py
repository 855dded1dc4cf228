# SPDX-License-Identifier: Apache-2.0
"""Choice of samples, embeddings and silhouettes."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.visualization.feature_embedding import (
    balanced_sample,
    check_embedding,
    embed,
    silhouette,
    silhouettes,
)


def clusters(count: int = 20, distance: float = 20.0) -> tuple[np.ndarray, list[str]]:
    """Two groups far apart along all of five dimensions."""
    values = np.random.default_rng(0).normal(size=(2 * count, 5))
    values[count:] += distance
    return values, ['a'] * count + ['b'] * count


def test_videos_are_equally_represented() -> None:
    groups = ['long'] * 100 + ['short'] * 2 + ['middle'] * 10
    chosen = balanced_sample(groups, 12)
    assert Counter(groups[i] for i in chosen) == {'long': 5, 'short': 2, 'middle': 5}
    assert chosen == sorted(set(chosen))
    assert chosen == balanced_sample(groups, 12)
    assert chosen != balanced_sample(groups, 12, seed=1)
    assert balanced_sample(groups, 1000) == list(range(112))
    # Fewer than there are groups: one of each of some.
    assert len({groups[i] for i in balanced_sample(groups, 2)}) == 2
    with pytest.raises(InputError, match='max_samples=0 of 112'):
        balanced_sample(groups, 0)
    with pytest.raises(InputError, match='max_samples=5 of 0'):
        balanced_sample([], 5)


@pytest.mark.parametrize('method', ['tsne', 'pca'])
def test_embeddings_are_deterministic_and_keep_groups_apart(method: str) -> None:
    values, groups = clusters()
    placed = embed(values, method)
    assert placed.shape == (40, 2)
    np.testing.assert_array_equal(placed, embed(values.copy(), method))
    assert silhouette(placed, groups) > 0.5
    # Standardized before: the unit of a dimension plays no part.
    scaled = values * np.array([1, 1000, 1, 0.001, 1])
    assert silhouette(embed(scaled, method), groups) == pytest.approx(silhouette(placed, groups), abs=0.1)


def test_pca_by_hand() -> None:
    # One dimension varies: its standardized values, and nothing in the second one.
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 5.0]])
    expected = np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25)
    placed = embed(values, 'pca')
    np.testing.assert_allclose(np.abs(placed[:, 0]), np.abs(expected))
    np.testing.assert_allclose(placed[:, 1], 0, atol=1e-12)
    assert embed(values[:, :1], 'pca').shape == (4, 2)


def test_few_samples_can_be_drawn() -> None:
    values = np.random.default_rng(0).normal(size=(4, 3))
    assert np.isfinite(embed(values, 'tsne')).all()
    assert np.isfinite(embed(values[:, :1], 'tsne')).all()


def test_umap_is_deterministic() -> None:
    pytest.importorskip('umap', reason='umap-learn is not installed (extra umap)')
    values, groups = clusters()
    placed = embed(values, 'umap')
    assert silhouette(placed, groups) > 0.5
    np.testing.assert_array_equal(placed, embed(values, 'umap'))


def test_what_cannot_be_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    values, _ = clusters()
    with pytest.raises(InputError, match="method='som' is unknown; choose one of tsne, umap, pca"):
        embed(values, 'som')
    with pytest.raises(InputError, match='give at least 4 samples'):
        embed(values[:3])
    with pytest.raises(InputError, match='equal features'):
        embed(np.ones((5, 3)))
    values[0, 0] = np.nan
    with pytest.raises(InputError, match='NaN'):
        embed(values)
    monkeypatch.setitem(sys.modules, 'umap', None)
    with pytest.raises(MissingExtraError, match=r'umap-learn is not installed.*iid-mm\[umap\]'):
        check_embedding('umap')
    assert check_embedding('pca') == 'pca'


def test_silhouette_by_hand() -> None:
    # On a line: a at 0 and 1, b at 4 and 6. a0: own 1, other 5 -> 0.8; a1: 1, 4 -> 0.75;
    # b4: 2, 3.5 -> 3/7; b6: 2, 5.5 -> 7/11.
    values = np.array([[0.0], [1.0], [4.0], [6.0], [100.0]])
    expected = (0.8 + 0.75 + 3 / 7 + 7 / 11) / 4
    # A group of one sample is left out.
    assert silhouette(values, ['a', 'a', 'b', 'b', 'c']) == pytest.approx(expected)
    assert np.isnan(silhouette(values, ['a', 'a', 'b', 'c', 'd']))


def test_silhouettes_of_groupings() -> None:
    values, groups = clusters()
    parts = ['x', 'y'] * 20
    found = silhouettes(values, values[:, :2], {'near': groups, 'far': parts, 'one': ['z'] * 40})
    assert found['near']['features'] > 0.85
    # The plot is measured as it is drawn.
    assert found['near']['plot'] == silhouette(values[:, :2], groups)
    assert abs(found['near']['shuffled']) < 0.1
    assert abs(found['far']['features']) < 0.1
    assert found['one'] == dict(features=None, plot=None, shuffled=None, groups=1, samples=40)
    unknown = silhouettes(values, values[:, :2], {'part': ['', *groups[1:]]})
    assert unknown['part']['samples'] == 39
