"""Geodesic distances on a sample: shortest paths in its k-nearest-neighbour graph.

The graph joins each state to its k nearest ones (an edge if either counts the other), with edges
as long as the Euclidean distance (Isomap; Tenenbaum, de Silva and Langford 2000). The edges of the
minimum spanning tree are added, so that the graph is connected whatever the clusters: a gap
between clusters is then crossed where it is narrowest.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path
from scipy.spatial.distance import pdist, squareform

from interp.errors import ActivationError

Matrix = Float[np.ndarray, "sample sample"]
Coordinates = Float[np.ndarray, "sample dimension"]


@dataclass(frozen=True, eq=False)
class Graph:
    """A neighbourhood graph of a sample.

    direct: distances before the graph. geodesic: shortest paths, the metric under test.
    neighbours: each state's k nearest others, nearest first. predecessors: the state before j on
    the shortest path from i, at [i, j]; -9999 where i = j (SciPy's convention).
    """

    direct: Matrix
    geodesic: Matrix
    neighbours: Int[np.ndarray, "sample k"]
    predecessors: Int[np.ndarray, "sample sample"]


def distinct(states: Coordinates, least_variance: float = 1e-10) -> Coordinates | None:
    """The states without repetitions; None where they do not vary at all.

    Their variance is compared with their mean squared norm. A chat template's last token is the
    same in every prompt, and so is its state before the first attention: that is no manifold.
    """
    rows = np.unique(np.asarray(states, dtype=np.float64), axis=0)
    spread = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()
    return None if spread <= least_variance * (rows**2).sum(axis=1).mean() else rows


def euclidean(coordinates: Coordinates) -> Matrix:
    """Pairwise Euclidean distances in float64."""
    return squareform(pdist(np.asarray(coordinates, dtype=np.float64)))


def neighbourhood_graph(distances: Matrix, k: int) -> Graph:
    """The graph of a distance matrix and its geodesics.

    Raises ActivationError when k is not between 1 and n - 1, or when two states coincide (their
    edge would have no length): pass distinct states.
    """
    n = len(distances)
    if not 1 <= k < n:
        raise ActivationError(f"{k} neighbours were asked of {n} states; expected 1 to {n - 1}.")
    off_diagonal = distances + np.diag(np.full(n, np.inf))
    if not np.isfinite(distances).all() or off_diagonal.min() <= 0:
        raise ActivationError(
            "Geodesics need finite distances between distinct states; drop repeated states first."
        )
    nearest = np.argpartition(off_diagonal, k - 1, axis=1)[:, :k]
    order = np.take_along_axis(off_diagonal, nearest, axis=1).argsort(axis=1)
    neighbours = np.take_along_axis(nearest, order, axis=1)
    bridges = minimum_spanning_tree(distances).tocoo()
    rows = np.concatenate([np.repeat(np.arange(n), k), bridges.row])
    columns = np.concatenate([neighbours.ravel(), bridges.col])
    joined = np.zeros((n, n), dtype=bool)
    joined[rows, columns] = joined[columns, rows] = True
    rows, columns = joined.nonzero()
    edges = coo_array((distances[rows, columns], (rows, columns)), shape=(n, n)).tocsr()
    geodesic, predecessors = shortest_path(edges, method="D", return_predecessors=True)
    return Graph(distances, geodesic, neighbours, predecessors)
