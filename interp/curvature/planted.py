"""Planted spaces: samples whose curvature is known, with the data's own spread and noise.

`bend` takes a sample, reads the scores of its m leading principal components as positions in the
tangent space at the pole of a sphere or a hyperbolic space of radius R, and maps them there by the
exponential map; the other components stay as they are and are the noise. Distances on a sphere are
chords. A hyperbolic space has no chords in a small Euclidean one, but 2 R^2 log cosh(d/R) is the
square of a Euclidean distance on it (log cosh d is conditionally negative definite: Faraut and
Harzallah 1974) and equals d^2 to fourth order, so the surface it gives in a high-dimensional space
has the hyperbolic metric exactly; classical scaling finds it.
"""

from typing import Literal

import numpy as np

from interp.curvature.graph import Coordinates, Matrix, principal_components

Shape = Literal["sphere", "hyperbolic"]


def on_sphere(positions: Coordinates, radius: float) -> Coordinates:
    """Exponential map at the pole of a sphere; coordinates in one more dimension."""
    length = np.linalg.norm(positions, axis=1, keepdims=True)
    angle = length / radius
    along = positions * np.sinc(angle / np.pi)
    return np.hstack([along, radius * (1 - np.cos(angle))])


def hyperbolic_distances(positions: Coordinates, radius: float) -> Matrix:
    """Distances between points at exp(positions) of a hyperbolic space of the given radius.

    By the hyperbolic law of cosines, with the pole as the third corner.
    """
    length = np.linalg.norm(positions, axis=1) / radius
    unit = positions / np.maximum(length * radius, np.finfo(np.float64).tiny)[:, None]
    cosine = np.clip(unit @ unit.T, -1, 1)
    cosh = np.outer(np.cosh(length), np.cosh(length))
    cosh = cosh - np.outer(np.sinh(length), np.sinh(length)) * cosine
    distances = radius * np.arccosh(np.maximum(cosh, 1))
    np.fill_diagonal(distances, 0)
    return distances


def gram(distances: Matrix) -> Matrix:
    """-J D^2 J / 2 with J = I - 11'/n: inner products about the mean, were distances Euclidean."""
    squared = distances**2
    rows = squared.mean(axis=1)
    return -(squared - rows[:, None] - rows[None, :] + rows.mean()) / 2


def scaled(distances: Matrix) -> Coordinates:
    """Classical scaling: coordinates of the positive part of the Gram matrix, largest first."""
    values, vectors = np.linalg.eigh(gram(distances))
    kept = values > values.max() * 1e-12
    return (vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1]


def on_hyperbolic(positions: Coordinates, radius: float) -> Coordinates:
    """Coordinates of a surface with the hyperbolic metric of the given radius."""
    distances = hyperbolic_distances(positions, radius)
    return scaled(np.sqrt(2 * np.log(np.cosh(distances / radius))) * radius)


def bend(
    coordinates: Coordinates,
    shape: Shape,
    dimension: int,
    radius: float,
) -> Coordinates:
    """The sample with its `dimension` leading components laid on a curved space.

    radius: in units of the root mean square length of those components.
    """
    scores = principal_components(coordinates, len(coordinates))
    sheet, noise = scores[:, :dimension], scores[:, dimension:]
    spread = float(np.sqrt((sheet**2).sum(axis=1).mean()))
    lay = on_sphere if shape == "sphere" else on_hyperbolic
    return np.hstack([lay(sheet, radius * spread), noise])
