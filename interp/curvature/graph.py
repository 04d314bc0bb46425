"""Geodesic distances on a sample: shortest paths in its k-nearest-neighbour graph.

The graph joins each state to its k nearest ones (an edge if either counts the other), with edges
as long as the Euclidean distance (Isomap; Tenenbaum, de Silva and Langford 2000). Where that leaves
it in parts the edges of the minimum spanning tree are added, so that a gap between clusters is
crossed where it is narrowest.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree, shortest_path
from scipy.spatial.distance import pdist, squareform

from interp.errors import ActivationError

Matrix = Float[np.ndarray, "sample sample"]
Coordinates = Float[np.ndarray, "sample dimension"]


def distinct(states: Coordinates, least_variance: float = 1e-10) -> Coordinates | None:
    """The states in their order, without repetitions; None where they do not vary at all.

    Their variance is compared with their mean squared norm. A chat template's last token is the
    same in every prompt, and so is its state before the first attention: that is no manifold.
    """
    states = np.asarray(states, dtype=np.float64)
    rows = states[np.sort(np.unique(states, axis=0, return_index=True)[1])]
    spread = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()
    return None if spread <= least_variance * (rows**2).sum(axis=1).mean() else rows


def principal_components(coordinates: Coordinates, n: int) -> Coordinates:
    """Scores on the first n principal components, from the inner products between samples."""
    centred = coordinates - coordinates.mean(axis=0)
    n_samples = len(centred)
    values, vectors = eigh(
        centred @ centred.T, subset_by_index=(max(0, n_samples - n), n_samples - 1)
    )
    return (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]


def euclidean(coordinates: Coordinates) -> Matrix:
    """Pairwise Euclidean distances in float64."""
    return squareform(pdist(np.asarray(coordinates, dtype=np.float64)))


def geodesics(distances: Matrix, k: int) -> Matrix:
    """Shortest paths in the graph of a distance matrix.

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
    joined = np.zeros((n, n), dtype=bool)
    joined[np.arange(n)[:, None], nearest] = True
    if connected_components(csr_array(joined), directed=False, return_labels=False) > 1:
        joined[minimum_spanning_tree(distances).nonzero()] = True
    return shortest_path(csr_array(np.where(joined | joined.T, distances, 0)), method="D")
