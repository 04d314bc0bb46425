"""Flat controls: what samples with no curvature but the spread of the data give.

`rotated` is mean + Q X_c, with X_c the centred states and Q a Haar-random orthogonal n x n matrix
that fixes the vector of ones. It keeps the sample's mean and covariance exactly, and for Gaussian
states it draws from their distribution given both (Langsrud 2005, rotation tests), so it is exact;
drawing from a Gaussian with the sample covariance is not.

`permuted` orders the scores on each principal component anew. It keeps the distribution of each:
uniform ones stay a box, and long tails stay.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import helmert

from interp.curvature.graph import Coordinates


def haar_orthogonal(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    """Haar-random orthogonal matrix, by QR with the signs fixed (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def off_ones(n: int) -> Float[np.ndarray, "n n_less_one"]:
    """Orthonormal basis of the complement of the vector of ones."""
    # Matrix products of a transposed view may round otherwise.
    return np.ascontiguousarray(helmert(n).T)


def rotated(coordinates: Coordinates, rng: np.random.Generator) -> Coordinates:
    """mean + Q X_c: the same mean and covariance to rounding, Gaussian otherwise."""
    n = len(coordinates)
    if n < 2:
        return coordinates
    mean = coordinates.mean(axis=0)
    basis = off_ones(n)
    turned = haar_orthogonal(n - 1, rng) @ (basis.T @ (coordinates - mean))
    return mean + basis @ turned


def permuted(coordinates: Coordinates, rng: np.random.Generator) -> Coordinates:
    """The scores on each principal component of the sample, each in an order of its own."""
    mean = coordinates.mean(axis=0)
    left, scale, axes = np.linalg.svd(coordinates - mean, full_matrices=False)
    return mean + rng.permuted(left * scale, axis=0) @ axes
