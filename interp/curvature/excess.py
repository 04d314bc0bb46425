"""Is a sample curved? Its triangle defect beyond those of its own flat controls.

The excess of a sample is the signed distance of its triangle defect (`interp.curvature.triangle`)
from the span of its controls' means: 0 within, positive on a sphere, negative on a hyperbolic plane
and on a tree. There are two controls (`interp.curvature.nulls`), since the defect of a flat sample
depends on its distribution: one keeps the covariance, one the principal components' distributions.
Where a sample falls into clusters with gaps between them each cluster is drawn on its own, since
gaps read as negative curvature. Many small clusters, or those of a mixture by BIC, are not granted:
they tile a curved sheet and take the curvature into the controls.

What could have been seen is the excess of planted samples, by the same path: rotated controls whose
two leading components are bent and whose others stay, as noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Int
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from interp.curvature.graph import Coordinates, euclidean, geodesics
from interp.curvature.nulls import permuted, rotated
from interp.curvature.planted import Shape, bend
from interp.curvature.triangle import triangle_defect
from interp.errors import ActivationError

SURFACE = 2  # dimensions of what is bent: sectional curvature is that of surfaces
SHAPES: tuple[Shape, ...] = ("sphere", "hyperbolic")
CONTROLS = {"rotated": rotated, "permuted": permuted}
MOST_CLUSTERS = 8
SMALLEST_CLUSTER = 10
SILHOUETTE = 0.5  # mean; "a reasonable structure" from there on (Kaufman and Rousseeuw 1990)

Labels = Int[np.ndarray, " sample"]
Readings = dict[str, list[float]]
"""Triangle defects of the `data`, their `halves` and CONTROLS; excess of planted SHAPES."""


@dataclass(frozen=True)
class Draws:
    """Neighbours in the graph, radii of what is planted, and numbers of draws.

    Radii are in units of the root mean square length of the two leading components.
    """

    neighbours: int
    radii: Mapping[str, float]
    n_controls: int  # of each kind
    n_planted: int  # of each shape


def separate_clusters(coordinates: Coordinates) -> Labels:
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
    coordinates: Coordinates, labels: Labels, kind: str, rng: np.random.Generator
) -> Coordinates:
    """Every cluster drawn anew about its own mean, by one of CONTROLS."""
    result = np.empty_like(coordinates)
    for label in np.unique(labels):
        result[labels == label] = CONTROLS[kind](coordinates[labels == label], rng)
    return result


def reading(coordinates: Coordinates, k: int, rng: np.random.Generator) -> float:
    """Triangle defect of the geodesics of the k-nearest-neighbour graph."""
    return triangle_defect(geodesics(euclidean(coordinates), k), rng)


def with_controls(coordinates: Coordinates, draws: Draws, rng: np.random.Generator) -> Readings:
    """The sample's triangle defect, and those of every draw of its controls."""
    labels, read = separate_clusters(coordinates), partial(reading, k=draws.neighbours, rng=rng)
    found = {"data": [read(coordinates)]}
    for kind in CONTROLS:
        samples = (flat_control(coordinates, labels, kind, rng) for _ in range(draws.n_controls))
        found[kind] = [read(sample) for sample in samples]
    return found


def readings(
    coordinates: Coordinates,
    halves: Int[np.ndarray, "draw half"],
    draws: Draws,
    rng: np.random.Generator,
) -> Readings:
    """All that is measured on a sample.

    coordinates: distinct states, as their leading principal components. halves: rows of random
    halves; the same for samples of the same prompts, so that their errors can be added up. Raises
    ActivationError with fewer than twice as many states as neighbours.
    """
    if len(coordinates) < 2 * draws.neighbours + 2:
        raise ActivationError(
            f"{len(coordinates)} distinct states are too few for {draws.neighbours} neighbours and "
            "random halves; use more prompts or fewer neighbours."
        )
    with threadpool_limits(1):  # threads on matrices this small only wait for one another
        found = with_controls(coordinates, draws, rng)
        found["halves"] = [reading(coordinates[half], draws.neighbours, rng) for half in halves]
        labels = separate_clusters(coordinates)
        for shape in SHAPES:
            flat = [
                flat_control(coordinates, labels, "rotated", rng) for _ in range(draws.n_planted)
            ]
            planted = [bend(sample, shape, SURFACE, draws.radii[shape]) for sample in flat]
            found[shape] = [excess(with_controls(sample, draws, rng)) for sample in planted]
    return found


def excess(found: Readings) -> float:
    """Signed distance of the data's triangle defect from the span of its controls' means."""
    means = [float(np.mean(found[kind])) for kind in CONTROLS]
    return found["data"][0] - float(np.clip(found["data"][0], min(means), max(means)))


def control_variance(found: Readings) -> float:
    """Squared standard error of the mean of the control that is known worst."""
    return max(float(np.var(found[kind], ddof=1)) / len(found[kind]) for kind in CONTROLS)


def standard_error(found: Readings) -> float:
    """Of the excess.

    The spread of random halves is that of the whole (Shao and Wu 1989, the delete-half jackknife).
    """
    return float(np.sqrt(np.var(found["halves"], ddof=1) + control_variance(found)))


def pooled_error(groups: Sequence[Sequence[Readings]]) -> float:
    """Of the mean absolute excess over all samples of several groups.

    The samples of a group have the same rows in their halves, so their errors are added up half by
    half, each with the sign of its excess. Groups are independent.
    """
    variance = 0.0
    for samples in groups:
        middles = [np.mean([np.mean(found[kind]) for kind in CONTROLS]) for found in samples]
        signs = [np.sign(x["data"][0] - middle) for x, middle in zip(samples, middles, strict=True)]
        halves = np.array([found["halves"] for found in samples])
        variance += np.var(signs @ halves, ddof=1) + sum(map(control_variance, samples))
    return float(np.sqrt(variance) / sum(map(len, groups)))
