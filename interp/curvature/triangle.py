"""Triangle defect: the parallelogram law at midpoints, with graph distances.

For a triangle a, b, c and the midpoint m of bc, a flat space has
d(a,m)^2 + d(b,c)^2 / 4 = (d(a,b)^2 + d(a,c)^2) / 2. The defect is (Gu, Sala, Gunel and Re 2019,
section 3.2)

    xi = [d(a,m)^2 + d(b,c)^2 / 4 - (d(a,b)^2 + d(a,c)^2) / 2] / (2 d(a,m)),

averaged over triangles and divided by the mean distance so that it has no units: positive on a
sphere, 0 when flat, negative on a hyperbolic plane and on a tree. m is the sampled state with the
least max(d(b,m), d(c,m)). PAIRS pairs (b, c) are drawn, each with every a.
"""

import numpy as np

from interp.curvature.graph import Matrix

PAIRS = 600


def triangle_defect(distances: Matrix, rng: np.random.Generator) -> float:
    """Mean defect over triangles, divided by the mean distance."""
    n = len(distances)
    b = rng.integers(0, n, PAIRS)
    c = (b + rng.integers(1, n, PAIRS)) % n
    middle = np.maximum(distances[b], distances[c]).argmin(axis=1)
    third = np.arange(n)
    proper = (third != b[:, None]) & (third != c[:, None]) & (third != middle[:, None])
    squared = distances**2
    law = squared[middle] + squared[b, c][:, None] / 4 - (squared[b] + squared[c]) / 2
    defect = np.divide(law, 2 * distances[middle], out=np.zeros_like(law), where=proper)
    return float(defect.sum() / proper.sum() / (distances.sum() / (n * (n - 1))))
