"""Ollivier-Ricci curvature of the neighbourhood graph.

kappa(x, y) = 1 - W1(m_x, m_y) / d(x, y) on the graph's edges, where W1 is the transport distance
between the measures around x and y (Ollivier 2009, definition 3). m_x is uniform on x and its k
nearest neighbours, the lazy random walk that stays with probability 1 / (k + 1); d is the
geodesic. Two uniform measures on equally many points are transported by a permutation (Birkhoff),
so W1 is an assignment problem, solved exactly: the same number as the linear programme of optimal
transport libraries, ten times faster. Positive on a sphere, negative on a tree; neither sign alone
says that a space is curved, because k and noise shift it: compare with the nulls.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from interp.curvature.graph import Graph

EDGES = 500


def edge_curvature(graph: Graph, x: int, y: int) -> float:
    """Curvature of one edge, at most 1, without units."""
    around_x = np.append(graph.neighbours[x], x)
    around_y = np.append(graph.neighbours[y], y)
    cost = graph.geodesic[np.ix_(around_x, around_y)]
    transport = cost[linear_sum_assignment(cost)].mean()
    return float(1 - transport / graph.geodesic[x, y])


def ollivier_ricci(graph: Graph, rng: np.random.Generator) -> float:
    """Mean curvature over EDGES random edges from a state to one of its k nearest."""
    n, k = graph.neighbours.shape
    chosen = rng.choice(n * k, size=min(EDGES, n * k), replace=False)
    pairs = [(int(e) // k, int(graph.neighbours[e // k, e % k])) for e in chosen]
    return float(np.mean([edge_curvature(graph, x, y) for x, y in pairs]))
