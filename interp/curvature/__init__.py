"""Curvature of a cloud of states, from the geodesics of its k-nearest-neighbour graph.

One estimator per file. Each file's docstring gives the formula, its constants and its source; none
of them can tell curvature from noise alone, so `nulls` and `planted` say what flat and curved
clouds of the same size, covariance and noise would give.
"""
