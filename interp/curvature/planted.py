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

from interp.curvature.graph import Coordinates, Matrix
from interp.curvature.holonomy import principal_components
from interp.curvature.spectrum import gram

Shape = Literal["flat", "sphere", "hyperbolic", "tree"]
Surface = Literal["flat", "clusters", "sphere", "hyperbolic"]
BRANCHES = 3
DEPTH = 3


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


def scaled(distances: Matrix) -> Coordinates:
    """Classical scaling: coordinates of the positive part of the Gram matrix, largest first."""
    values, vectors = np.linalg.eigh(gram(distances))
    kept = values > values.max() * 1e-12
    return (vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1]


def on_hyperbolic(positions: Coordinates, radius: float) -> Coordinates:
    """Coordinates of a surface with the hyperbolic metric of the given radius."""
    distances = hyperbolic_distances(positions, radius)
    return scaled(np.sqrt(2 * np.log(np.cosh(distances / radius))) * radius)


def on_tree(n: int, spread: float, rng: np.random.Generator) -> Coordinates:
    """States on a rooted tree, BRANCHES to a node and DEPTH deep, its edges at right angles.

    Uniform along the edges; the root mean square distance from the mean is `spread`.
    """
    levels = [BRANCHES ** (level + 1) for level in range(DEPTH)]
    n_edges = sum(levels)
    parent = np.array([(edge - BRANCHES) // BRANCHES for edge in range(n_edges)])
    path = np.zeros((n_edges, n_edges))
    for edge in range(n_edges):
        if parent[edge] >= 0:
            path[edge] = path[parent[edge]]
        path[edge, edge] = 1
    edge = rng.integers(0, n_edges, n)
    coordinates = path[edge]
    coordinates[np.arange(n), edge] = rng.random(n)
    coordinates = coordinates - coordinates.mean(axis=0)
    return coordinates * spread / np.sqrt((coordinates**2).sum(axis=1).mean())


def bend(
    coordinates: Coordinates,
    shape: Shape,
    dimension: int,
    radius: float,
    rng: np.random.Generator,
) -> Coordinates:
    """The sample with its `dimension` leading components laid on a curved space.

    radius: in units of the root mean square length of those components. `flat` returns the
    principal components unbent, `tree` replaces the leading ones by a tree of the same spread.
    """
    scores = principal_components(coordinates, len(coordinates))
    sheet, noise = scores[:, :dimension], scores[:, dimension:]
    spread = float(np.sqrt((sheet**2).sum(axis=1).mean()))
    if shape == "sphere":
        sheet = on_sphere(sheet, radius * spread)
    elif shape == "hyperbolic":
        sheet = on_hyperbolic(sheet, radius * spread)
    elif shape == "tree":
        sheet = on_tree(len(scores), spread, rng)
    return np.hstack([sheet, noise])


def surface(shape: Surface, n: int, radius: float, rng: np.random.Generator) -> Coordinates:
    """A sample on a surface: Gaussian positions, or three flat clusters 2.75 of their sd apart.

    Root mean square length 1 before it is bent; radius in that unit.
    """
    positions = rng.standard_normal((n, 2))
    if shape == "clusters":
        centres = np.array([[0.0, 1.3], [1.1, -0.6], [-1.1, -0.6]])
        positions = 0.8 * positions + centres[rng.integers(0, len(centres), n)]
    positions /= np.sqrt((positions**2).sum(axis=1).mean())
    if shape == "sphere":
        return on_sphere(positions, radius)
    return on_hyperbolic(positions, radius) if shape == "hyperbolic" else positions
