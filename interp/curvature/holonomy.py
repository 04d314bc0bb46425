"""Holonomy: how much a frame turns when it is carried around a geodesic triangle.

The sample is reduced to its first PCA_DIMENSIONS principal components, and each state gets the
plane of the first two principal directions of its NEIGHBOURS nearest ones (more neighbours than
dimensions, so that the plane is determined). A frame goes from one state to the next on a shortest
path by the orthogonal matrix nearest to T_i' T_j (Singer and Wu 2012, eq. 2.3). Around a closed
triangle it returns turned by the enclosed curvature (Gauss-Bonnet): zero when flat, area / R^2 on
a sphere or a hyperbolic plane. The angle has no sign here, since the frames have no common
orientation, and a loop that reverses a frame counts as 180 degrees.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh

from interp.curvature.graph import Coordinates, Graph, euclidean, neighbourhood_graph

PCA_DIMENSIONS = 8
NEIGHBOURS = 12
CORNERS = 20
STEPS = ((1, 1), (2, 3), (5, 4))
"""Triangles join random corners i, i + s and i + s + t, counted cyclically, for each (s, t)."""

Frames = Float[np.ndarray, "sample dimension 2"]
Turns = Float[np.ndarray, "*batch 2 2"]


def principal_components(coordinates: Coordinates, n: int) -> Coordinates:
    """Scores on the first n principal components, from the inner products between samples."""
    centred = coordinates - coordinates.mean(axis=0)
    n_samples = len(centred)
    values, vectors = eigh(
        centred @ centred.T, subset_by_index=(max(0, n_samples - n), n_samples - 1)
    )
    return (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]


def nearest_rotation(matrices: Turns) -> Turns:
    """Orthogonal matrix nearest to each matrix (Procrustes; Schonemann 1966)."""
    left, _, right = np.linalg.svd(matrices)
    return left @ right


def tangent_frames(coordinates: Coordinates, neighbours: Int[np.ndarray, "sample k"]) -> Frames:
    """Orthonormal basis of each state's best-fit plane through its neighbours."""
    local = coordinates[neighbours]
    local = local - local.mean(axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(local, full_matrices=False)
    return np.swapaxes(axes[:, :2], 1, 2)


def transports(frames: Frames, graph: Graph, corners: Int[np.ndarray, " corner"]) -> Turns:
    """Rotation at [i, j] that carries a frame from corner j to corner i along the shortest path."""
    at, home = np.meshgrid(corners, corners)
    total = np.broadcast_to(np.eye(2), (*at.shape, 2, 2)).copy()
    while (moving := at != home).any():
        before = graph.predecessors[home[moving], at[moving]]
        overlap = np.swapaxes(frames[before], 1, 2) @ frames[at[moving]]
        total[moving] = nearest_rotation(overlap) @ total[moving]
        at[moving] = before
    return total


def holonomy(coordinates: Coordinates, rng: np.random.Generator) -> float:
    """Median angle over triangles, in degrees, 0 to 180."""
    reduced = principal_components(coordinates, PCA_DIMENSIONS)
    n = len(reduced)
    graph = neighbourhood_graph(euclidean(reduced), min(NEIGHBOURS, n - 1))
    corners = rng.choice(n, size=min(CORNERS, n), replace=False)
    carried = transports(tangent_frames(reduced, graph.neighbours), graph, corners)
    starts = range(len(corners))
    loops = [(i, i + s, i + s + t) for i in starts for s, t in STEPS]
    a, b, c = np.array(loops).T % len(corners)
    loop = carried[a, b] @ carried[b, c] @ carried[c, a]
    cosine = np.clip((loop[:, 0, 0] + loop[:, 1, 1]) / 2, -1, 1)
    reversed_frame = np.linalg.det(loop) < 0
    return float(np.median(np.where(reversed_frame, 180.0, np.degrees(np.arccos(cosine)))))
