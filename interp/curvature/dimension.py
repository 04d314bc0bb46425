"""TwoNN intrinsic dimension: from each state's two nearest distances.

mu = r2 / r1 has P(mu > x) = x^-d, so -log(1 - F(mu)) = d log mu; d is the slope through the origin
after dropping the largest DISCARDED share of mu (Facco, d'Errico, Rodriguez and Laio 2017, eq. 5).
High dimensions are underestimated: 400 states of a 576-dimensional Gaussian read about 120.
A dimension, not a curvature: it is reported and does not vote.
"""

import numpy as np

from interp.curvature.graph import Matrix

DISCARDED = 0.1


def two_nearest_neighbours(distances: Matrix) -> float:
    """TwoNN dimension from pairwise distances between distinct states."""
    n = len(distances)
    nearest = np.partition(distances + np.diag(np.full(n, np.inf)), 1, axis=1)[:, :2]
    ratio = np.sort(nearest[:, 1] / nearest[:, 0])
    kept = int(n * (1 - DISCARDED))
    x = np.log(ratio[:kept])
    y = -np.log1p(-np.arange(kept) / n)
    return float((x @ y) / (x @ x))
