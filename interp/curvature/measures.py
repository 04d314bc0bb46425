"""All estimators on one sample, in one pass over its graph."""

import numpy as np

from interp.curvature.dimension import two_nearest_neighbours
from interp.curvature.graph import Coordinates, Matrix, euclidean, neighbourhood_graph
from interp.curvature.gromov import relative_delta
from interp.curvature.holonomy import holonomy
from interp.curvature.ollivier import ollivier_ricci
from interp.curvature.spectrum import fitted_radii, negative_share
from interp.curvature.triangle import triangle_defect

VOTING = ("delta_rel", "triangle_defect", "negative_share", "fit_ratio", "ollivier", "holonomy")


def metric_measures(distances: Matrix, rng: np.random.Generator) -> dict[str, float]:
    """The estimators that need a metric alone: delta, triangle defect, spectrum and radii."""
    return {
        "delta_rel": relative_delta(distances, rng),
        "triangle_defect": triangle_defect(distances, rng),
        "negative_share": negative_share(distances),
        **fitted_radii(distances, rng),
    }


def measures(
    coordinates: Coordinates, k: int, rng: np.random.Generator, ollivier: bool = True
) -> dict[str, float]:
    """Every estimator on a sample of distinct states, by name.

    k: neighbours of the graph whose shortest paths are the metric. `ollivier` is left out when
    not asked for: it takes longer than all others together.
    """
    graph = neighbourhood_graph(euclidean(coordinates), k)
    values = metric_measures(graph.geodesic, rng)
    if ollivier:
        values["ollivier"] = ollivier_ricci(graph, rng)
    values["holonomy"] = holonomy(coordinates, rng)
    values["twonn"] = two_nearest_neighbours(graph.direct)
    return values
