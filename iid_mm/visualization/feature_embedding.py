# SPDX-License-Identifier: Apache-2.0
"""Embeddings of features in two dimensions, the choice of samples, and silhouettes of groups.

Letters: N samples of D values.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from iid_mm.errors import InputError
from iid_mm.utils.dependencies import import_extra
from iid_mm.utils.typing import FloatArray

Values = npt.NDArray[np.float64]
PERPLEXITY = 30.0
"""Of t-SNE; fewer samples get less."""
PCA_FIRST = 50
"""t-SNE and UMAP start from this many principal components, as is usual: less noise, less time."""
NOTE = (
    'A silhouette compares, for every sample, the mean distance to its own group with that to the nearest '
    'other group: 1 = groups are tight and far apart, 0 = they overlap, negative = samples are nearer to '
    'another group. "features" is measured on the standardized features themselves and is the evidence; '
    '"plot" on the two drawn dimensions, which embeddings distort; "shuffled" on the features with shuffled '
    'groups. Many small groups (identities) score lower than two large ones even where all are separable, '
    'and frames of one video lie close to each other whatever a detector has learned about people: compare '
    'models on the same samples, not identity with label. Whether features contain identity is measured by '
    'identity_probe.py.'
)


def balanced_sample(groups: Sequence[str], count: int, seed: int = 0) -> list[int]:
    """Draw equally many samples of every group (video), or all of a smaller one.

    Args:
        groups: Group of every sample.
        count: How many samples at most.
        seed: Of the draw.

    Returns:
        Numbers of the samples, ascending.

    Raises:
        InputError: ``count`` is below 1 or there are no samples.
    """
    if count < 1 or not groups:
        raise InputError(f'max_samples={count} of {len(groups)} samples: both must be at least 1')
    rng = np.random.default_rng(seed)
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    queues = [rng.permutation(members[group]).tolist() for group in sorted(members)]
    chosen: list[int] = []
    # Round by round one sample a group; if the last round does not fit, its groups are drawn.
    while len(chosen) < count and any(queues):
        drawn = [queue.pop() for queue in queues if queue]
        room = count - len(chosen)
        chosen += drawn if len(drawn) <= room else rng.choice(drawn, room, replace=False).tolist()
    return sorted(chosen)


def embed(features: FloatArray, method: str = 'tsne', seed: int = 0) -> Values:
    """Embed samples in the plane.

    Args:
        features: (N, D), N at least 4.
        method: ``'tsne'``, ``'umap'`` or ``'pca'``.
        seed: Of the embedding; the same seed on the same machine gives the same result.

    Returns:
        (N, 2).

    Raises:
        InputError: The method is unknown, or the features are too few, not finite or all equal.
        MissingExtraError: UMAP is requested and not installed.
    """
    return METHODS[check_embedding(method)](standardized(features), seed)


def standardized(features: FloatArray) -> Values:
    """Bring every dimension to mean 0 and deviation 1; dimensions without any spread become 0.

    Raises:
        InputError: The features are too few, not finite or all equal.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) < 4:
        raise InputError(f'features of shape {values.shape} cannot be embedded; give at least 4 samples')
    if not np.isfinite(values).all():
        raise InputError('features hold NaN or infinite values; look for a diverged training')
    if not np.ptp(values, axis=0).any():
        raise InputError(f'all {len(values)} samples have equal features, so there is nothing to embed')
    scaled: Values = StandardScaler().fit_transform(values)
    return scaled


def _reduced(values: Values, dimensions: int = PCA_FIRST) -> Values:
    # The full solver has no randomness.
    dimensions = min(dimensions, *values.shape)
    return np.asarray(PCA(dimensions, svd_solver='full').fit_transform(values), dtype=np.float64)


def _pca(values: Values, seed: int) -> Values:
    placed = _reduced(values, 2)
    return np.pad(placed, ((0, 0), (0, 2 - placed.shape[1])))


def _tsne(values: Values, seed: int) -> Values:
    start = _reduced(values)
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    init: Any = 'pca' if start.shape[1] > 1 else 'random'
    tsne = TSNE(2, perplexity=perplexity, init=init, random_state=seed, n_jobs=1)
    return np.asarray(tsne.fit_transform(start), dtype=np.float64)


def _umap(values: Values, seed: int) -> Values:
    # Its spectral start needs more samples than dimensions of the graph's eigenvectors.
    init = 'spectral' if len(values) > 10 else 'random'
    umap = import_extra('umap', 'umap', 'umap-learn').UMAP(
        n_components=2, n_neighbors=min(15, len(values) - 1), init=init, random_state=seed, n_jobs=1
    )
    with warnings.catch_warnings():
        # A seed excludes several threads, as intended.
        warnings.filterwarnings('ignore', message='n_jobs value', category=UserWarning)
        warnings.filterwarnings('ignore', message='.*(Spectral|spectral|disconnected|connected).*')
        return np.asarray(umap.fit_transform(_reduced(values)), dtype=np.float64)


def check_embedding(method: str) -> str:
    """Check, before long work, that a method is known and installed.

    Raises:
        InputError: It is unknown.
        MissingExtraError: It is not installed.
    """
    if method not in METHODS:
        raise InputError(f'method={method!r} is unknown; choose one of {", ".join(METHODS)}')
    if method == 'umap':
        import_extra('umap', 'umap', 'umap-learn')
    return method


METHODS: dict[str, Callable[[Values, int], Values]] = {'tsne': _tsne, 'umap': _umap, 'pca': _pca}
"""Embeddings by name."""
METHOD_TITLES = {'tsne': 't-SNE', 'umap': 'UMAP', 'pca': 'PCA'}


def silhouette(values: FloatArray, groups: npt.ArrayLike) -> float:
    """Mean silhouette of samples, Euclidean; groups of one sample are left out.

    Args:
        values: (N, D).
        groups: Group of every sample.

    Returns:
        -1 to 1; NaN where fewer than two groups have two samples.
    """
    names, codes, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    kept = sizes[codes] > 1
    if np.count_nonzero(sizes > 1) < 2:
        return math.nan
    return float(silhouette_score(np.asarray(values, dtype=np.float64)[kept], names[codes][kept]))


def silhouettes(
    features: FloatArray, placed: FloatArray, groupings: Mapping[str, Sequence[str]], seed: int = 0
) -> dict[str, dict[str, float | int | None]]:
    """Separation of groups in the features and in the plot.

    Args:
        features: (N, D).
        placed: (N, 2).
        groupings: Group of every sample by the name of the grouping; '' = unknown, left out.
        seed: Of the shuffling.

    Returns:
        For each grouping ``features``, ``plot`` and ``shuffled`` (None with fewer than two groups),
        ``groups`` and ``samples``.
    """
    scaled = standardized(features)
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, float | int | None]] = {}
    for name, groups in groupings.items():
        names = np.asarray(groups, dtype=object).astype(str)
        known = names != ''
        own = names[known]
        scores = {
            'features': silhouette(scaled[known], own),
            'plot': silhouette(np.asarray(placed)[known], own),
            'shuffled': silhouette(scaled[known], rng.permutation(own)),
        }
        found[name] = {key: None if math.isnan(value) else value for key, value in scores.items()}
        found[name] |= {'groups': np.unique(own).size, 'samples': int(known.sum())}
    return found
