"""Gromov's delta: how far the sample is from a tree.

With the Gromov product (x|y)_w = (d(x,w) + d(y,w) - d(x,y)) / 2, delta_w is the least delta with
(x|y)_w >= min((x|z)_w, (z|y)_w) - delta for all x, y, z: the largest entry of the max-min product
of the matrix of products with itself, minus that matrix (Fournier, Ismail and Vigneron 2015,
section 2). delta_rel = 2 delta / diameter is 0 for a tree and 1 for the roundest space (Borassi et
al. 2015; Khrulkov et al. 2020, eq. 8). The largest delta_w over a few base points is used: any one
of them is at least half of the delta over all quadruples, and the search is cubic, not quartic.
"""

import numpy as np

from interp.curvature.graph import Matrix

BASE_POINTS = 3


def delta_at(distances: Matrix, base: int) -> float:
    """Gromov's delta for one base point, in the units of the distances."""
    to_base = distances[base]
    product = (to_base[:, None] + to_base[None, :] - distances).astype(np.float32) / 2
    best = np.stack([np.minimum(row, product).max(axis=1) for row in product])
    return float((best - product).max())


def relative_delta(distances: Matrix, rng: np.random.Generator) -> float:
    """2 delta / diameter, without units, over BASE_POINTS random base points."""
    bases = rng.choice(len(distances), size=min(BASE_POINTS, len(distances)), replace=False)
    return 2 * max(delta_at(distances, int(base)) for base in bases) / float(distances.max())
