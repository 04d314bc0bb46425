"""Is a sample curved? Its triangle defect beyond that of its own flat control.

The excess of a sample is its triangle defect (`interp.curvature.triangle`) minus the mean over
draws of its flat control: 0 when flat, positive on a sphere, negative on a hyperbolic plane and on
a tree. The control rotates the sample, mean + Q X_c (`interp.curvature.nulls`), exact for Gaussian
states; where a sample falls into clusters with gaps between them each cluster is rotated on its
own, since gaps read as negative curvature. Many small clusters, or those of a mixture by BIC, are
not granted: they tile a curved sheet and take the curvature into the control.

How many components enter the graph matters: a hyperbolic plane of radius .4 has an excess of .01 in
3 of them, -.04 in 5 and -.06 in 10 (n = 80), because projected on few it is flat.

What planted surfaces of the same size read tells what could have been seen. `sphere` and
`hyperbolic` bend the two leading components of a flat draw and keep the others, the noise; the same
kind with `.bare` leaves the noise out, which in a curved sample holds some of the curvature.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from interp.curvature.graph import Coordinates, euclidean, neighbourhood_graph
from interp.curvature.nulls import rotated
from interp.curvature.planted import Shape, bend
from interp.curvature.spectrum import negative_share
from interp.curvature.triangle import triangle_defect
from interp.errors import ActivationError

SURFACE = 2  # dimensions of what is bent: sectional curvature is that of surfaces
SHAPES: tuple[Shape, ...] = ("sphere", "hyperbolic")
PLANTED = (*SHAPES, *(f"{shape}.bare" for shape in SHAPES))
KINDS = ("data", "halves", "flat", *PLANTED)
ESTIMATORS = ("triangle_defect", "negative_share")
MOST_CLUSTERS = 8
SMALLEST_CLUSTER = 10
SILHOUETTE = 0.5  # mean; "a reasonable structure" from there on (Kaufman and Rousseeuw 1990)

Readings = dict[str, dict[str, list[float]]]
"""Kind of sample, estimator, and one value per draw."""


@dataclass(frozen=True)
class Draws:
    """Sizes of the graph, number of draws, and radii of what is planted.

    Radii are in units of the root mean square length of the two leading components.
    """

    neighbours: int
    radii: Mapping[str, float]
    n_flat: int
    n_planted: int
    n_halves: int


def separate_clusters(coordinates: Coordinates) -> Int[np.ndarray, " sample"]:
    """Labels of Ward's clusters, of at most MOST_CLUSTERS, that gaps separate; else all 0.

    The number of clusters with the largest mean silhouette counts, if that is SILHOUETTE or more
    and every cluster has SMALLEST_CLUSTER states.
    """
    tree, distances = linkage(coordinates, method="ward"), euclidean(coordinates)
    best, labels = SILHOUETTE, np.zeros(len(coordinates), dtype=np.int64)
    for n in range(2, MOST_CLUSTERS + 1):
        found = fcluster(tree, n, criterion="maxclust") - 1
        sizes = np.bincount(found)
        if len(sizes) == n and sizes.min() >= SMALLEST_CLUSTER:
            score = float(silhouette_score(distances, found, metric="precomputed"))
            if score >= best:
                best, labels = score, found
    return labels


def flat_control(
    coordinates: Coordinates, labels: Int[np.ndarray, " sample"], rng: np.random.Generator
) -> Coordinates:
    """Every cluster rotated about its own mean, which keeps its mean and covariance exactly."""
    result = np.empty_like(coordinates)
    for label in np.unique(labels):
        result[labels == label] = rotated(coordinates[labels == label], rng)
    return result


def reading(coordinates: Coordinates, k: int, rng: np.random.Generator) -> tuple[float, float]:
    """ESTIMATORS on the geodesics of the k-nearest-neighbour graph."""
    geodesic = neighbourhood_graph(euclidean(coordinates), k).geodesic
    return triangle_defect(geodesic, rng), negative_share(geodesic)


def sample_of(
    kind: str,
    coordinates: Coordinates,
    labels: Int[np.ndarray, " sample"],
    draws: Draws,
    rng: np.random.Generator,
) -> Coordinates:
    """One random sample of a kind, from the principal components of the data."""
    if kind == "halves":
        n = len(coordinates)
        return coordinates[rng.choice(n, n // 2, replace=False)]
    shape, _, bare = kind.partition(".")
    flat = flat_control(coordinates[:, :SURFACE] if bare else coordinates, labels, rng)
    if shape == "flat":
        return flat
    return bend(flat, shape, SURFACE, draws.radii[shape], rng)  # type: ignore[arg-type]


def readings(coordinates: Coordinates, draws: Draws, rng: np.random.Generator) -> Readings:
    """ESTIMATORS on the data and on every draw of each of the KINDS.

    coordinates: distinct states, as their leading principal components. `halves` are random halves
    of the data, without replacement. Raises ActivationError with fewer than twice as many states as
    neighbours.
    """
    if len(coordinates) < 2 * draws.neighbours + 2:
        raise ActivationError(
            f"{len(coordinates)} distinct states are too few for {draws.neighbours} neighbours and "
            "random halves; use more prompts or fewer neighbours."
        )
    labels = separate_clusters(coordinates)
    counts = {"halves": draws.n_halves, "flat": draws.n_flat}
    counts |= dict.fromkeys(PLANTED, draws.n_planted)
    with threadpool_limits(1):  # threads on matrices this small only wait for one another
        found = {"data": [reading(coordinates, draws.neighbours, rng)]}
        for kind, n in counts.items():
            samples = (sample_of(kind, coordinates, labels, draws, rng) for _ in range(n))
            found[kind] = [reading(sample, draws.neighbours, rng) for sample in samples]
    return {
        kind: dict(zip(ESTIMATORS, map(list, zip(*values, strict=True)), strict=True))
        for kind, values in found.items()
    }


def excess(found: Readings, estimator: str = "triangle_defect") -> tuple[float, float]:
    """Of the data over the mean of its flat controls, and the standard error of that.

    The spread of random halves is that of the whole (Shao and Wu 1989, the delete-half jackknife).
    """
    halves, flat = (np.array(found[kind][estimator]) for kind in ("halves", "flat"))
    error = np.hypot(halves.std(ddof=1), flat.std(ddof=1) / np.sqrt(len(flat)))
    return float(found["data"][estimator][0] - flat.mean()), float(error)


def power(found: Readings, kind: str, bound: float, z: float = 1.96) -> float:
    """Share of planted draws whose interval, by the data's error, lies beyond the bound."""
    planted = np.array(found[kind]["triangle_defect"]) - np.mean(found["flat"]["triangle_defect"])
    sign = -1 if kind.startswith("hyperbolic") else 1
    return float(np.mean(sign * planted - z * excess(found)[1] > bound))
