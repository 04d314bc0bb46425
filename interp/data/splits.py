"""Train, validation and test prompts of a contrast set, which no near-duplicate crosses.

A split is a function of the set, the fractions and a seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Int
from scipy.sparse.csgraph import connected_components

from interp.data.near_duplicates import near_duplicate_clusters
from interp.data.prompt_sets import ContrastSet
from interp.errors import DataError

MIN_PROMPTS = 10


@dataclass(frozen=True)
class Split:
    """The share of a contrast set that one purpose may use, in an order drawn with the seed."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class Splits:
    """Train to extract, validation to choose, test to report; no near-duplicate crosses them."""

    train: Split
    validation: Split
    test: Split


def _contrast_clusters(contrast: ContrastSet) -> tuple[np.ndarray, np.ndarray]:
    """Cluster numbers of the positive and of the negative prompts, in one numbering.

    Prompts are joined when they are near-duplicates among all prompts or among those of their class
    (rarity of words differs), and, in a paired set, when they are a pair.
    """
    n = len(contrast.positive)
    texts = [*contrast.positive, *contrast.negative]
    groups = [near_duplicate_clusters(texts)]
    within = [near_duplicate_clusters(part) for part in (contrast.positive, contrast.negative)]
    groups.append(np.concatenate([within[0], within[1] + len(texts)]))
    if contrast.paired:
        groups.append(np.tile(np.arange(n), 2))
    labels = _merge(groups)
    return labels[:n], labels[n:]


def _merge(groupings: Sequence[np.ndarray]) -> np.ndarray:
    """Number of the finest clusters that keep together whatever any grouping keeps together."""
    n = len(groupings[0])
    edges = []
    for labels in groupings:
        _, first, index = np.unique(labels, return_index=True, return_inverse=True)
        edges.append(sparse.coo_matrix((np.ones(n), (np.arange(n), first[index])), shape=(n, n)))
    return connected_components(sum(edges[1:], edges[0]), directed=False)[1]


def _assign(
    counts: Int[np.ndarray, "cluster 2"], fractions: Sequence[float], rng: np.random.Generator
) -> Int[np.ndarray, "cluster"]:
    """The split of each cluster: large ones first, each to where most of the share is then lacking.

    A draw decides ties, and the order among clusters of one size.
    """
    targets = np.outer(fractions, counts.sum(axis=0))
    missing = targets.copy()
    shuffled = rng.permutation(len(counts))
    order = shuffled[np.argsort(-counts.sum(axis=1)[shuffled], kind="stable")]
    split_of = np.empty(len(counts), dtype=np.int64)
    for cluster in order:
        lack = ((missing - counts[cluster]) / targets) @ counts[cluster]
        ties = np.flatnonzero(np.isclose(lack, lack.max()))
        split_of[cluster] = rng.choice(ties)
        missing[split_of[cluster]] -= counts[cluster]
    return split_of


def split(
    contrast: ContrastSet, seed: int, fractions: tuple[float, float, float] = (0.5, 0.2, 0.3)
) -> Splits:
    """Train, validation and test, drawn with the seed; whole clusters of near-duplicates move.

    Within a split the prompts are in random order (the pairs of a paired set in the same order), so
    the first n are a random subsample. Raises DataError for fewer than MIN_PROMPTS prompts in a
    class, for fractions that are not positive or do not sum to 1, and when near-duplicates leave a
    split without a class.
    """
    _check_split(contrast, fractions)
    rng = np.random.default_rng(seed)
    clusters = _contrast_clusters(contrast)
    n_clusters = 1 + max(int(labels.max()) for labels in clusters)
    counts = np.stack([np.bincount(c, minlength=n_clusters) for c in clusters], axis=1)
    split_of = _assign(counts, fractions, rng)
    first = rng.permutation(len(contrast.positive))
    second = first if contrast.paired else rng.permutation(len(contrast.negative))
    parts = [
        Split(
            tuple(contrast.positive[i] for i in first if split_of[clusters[0][i]] == number),
            tuple(contrast.negative[i] for i in second if split_of[clusters[1][i]] == number),
        )
        for number in range(3)
    ]
    if not all(part.positive and part.negative for part in parts):
        raise DataError(
            f"{contrast.name}: so many prompts are near-duplicates of each other that a split "
            f"would have no prompts of one class ({len(counts)} clusters). Give more varied ones."
        )
    return Splits(*parts)


def _check_split(contrast: ContrastSet, fractions: Sequence[float]) -> None:
    for label, texts in (("positive", contrast.positive), ("negative", contrast.negative)):
        if len(texts) < MIN_PROMPTS:
            raise DataError(
                f"{contrast.name}: {len(texts)} {label} prompts are too few to split into train, "
                f"validation and test; give at least {MIN_PROMPTS}, better 100 or more."
            )
    if min(fractions) <= 0 or not np.isclose(sum(fractions), 1):
        raise DataError(f"Split fractions must be positive and sum to 1, not {fractions}.")
