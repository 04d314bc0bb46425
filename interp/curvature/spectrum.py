"""Spectra of distances: the share that no Euclidean space can hold, and the best curvature.

Classical scaling turns distances into a Gram matrix -J D^2 J / 2 with J = I - 11'/n; it has no
negative eigenvalue exactly when D is Euclidean (Schoenberg 1935; Torgerson 1952). Likewise
R^2 cos(D/R) has none when D is on a sphere of radius R, and -R^2 cosh(D/R) has exactly one when D
is on a hyperbolic space of radius R (Wilson, Hancock, Pekalska and Duin 2014, sections 4 and 5).
"""

import numpy as np
from jaxtyping import Float

from interp.curvature.graph import Matrix

LANDMARKS = 50
"""States that enter the radius fit: it solves 2 * len(RADII) eigenproblems per sample."""

RADII = np.geomspace(1.0, 10.0, 12)
"""Radii tried, in units of diameter / pi: the first is the smallest sphere that holds the data."""


def gram(distances: Matrix) -> Matrix:
    """-J D^2 J / 2: inner products about the mean, were the distances Euclidean."""
    squared = distances**2
    rows = squared.mean(axis=1)
    return -(squared - rows[:, None] - rows[None, :] + rows.mean()) / 2


def negative_share(distances: Matrix) -> float:
    """Sum of |negative eigenvalues| of the Gram matrix over the sum of all |eigenvalues|."""
    values = np.linalg.eigvalsh(gram(distances))
    return float(-values[values < 0].sum() / np.abs(values).sum())


def misfit(
    distances: Matrix, radii: Float[np.ndarray, " radius"], sign: int
) -> Float[np.ndarray, " radius"]:
    """Sum of |eigenvalues of the wrong sign| at each radius; sign +1 sphere, -1 hyperbolic.

    Divided by the sum of |eigenvalues| of the Gram matrix, so that both tend to `negative_share`
    as the radius grows, and all radii compare on one scale.
    """
    scaled = distances[None] / radii[:, None, None]
    model = np.cos(scaled) if sign > 0 else -np.cosh(scaled)
    values = np.linalg.eigvalsh(model * radii[:, None, None] ** 2)
    wrong = values if sign > 0 else values[:, 1:]
    return -np.minimum(wrong, 0).sum(axis=1) / np.abs(np.linalg.eigvalsh(gram(distances))).sum()


def fitted_radii(distances: Matrix, rng: np.random.Generator) -> dict[str, float]:
    """Best-fit radii of a sphere and of a hyperbolic space, and which of the two fits better.

    `sphere_radius` and `hyperbolic_radius` are in units of the mean distance and lie on a grid
    (`RADII`). `fit_ratio` is log(best hyperbolic misfit / best spherical misfit): larger where a
    sphere fits better; geodesics of noisy flat samples already favour the sphere.
    """
    n = len(distances)
    chosen = rng.choice(n, size=min(LANDMARKS, n), replace=False)
    part = distances[np.ix_(chosen, chosen)]
    scale = float(part.mean()) * len(part) / (len(part) - 1)
    radii = RADII * part.max() / np.pi
    sphere, hyperbolic = misfit(part, radii, 1), misfit(part, radii, -1)
    smallest = np.finfo(np.float64).eps
    return {
        "sphere_radius": float(radii[sphere.argmin()] / scale),
        "hyperbolic_radius": float(radii[hyperbolic.argmin()] / scale),
        "fit_ratio": float(np.log((hyperbolic.min() + smallest) / (sphere.min() + smallest))),
    }
