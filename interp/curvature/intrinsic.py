"""Intrinsic dimension by scikit-dimension, beside Gaussian states of the same covariance.

Estimators by nearest neighbours fall short where the dimension is high and samples are few, so a
reading means something only beside that of Gaussian states of the same number and spread.
"""

from collections.abc import Iterator

import numpy as np
import skdim
from jaxtyping import Float

NEIGHBOURS = 20  # of the maximum likelihood estimate, where there are as many


def two_nn(states: Float[np.ndarray, "sample d_model"]) -> float:
    """From the ratio of the two nearest distances; Facco et al. 2017, Sci. Rep. 7:12140."""
    return float(skdim.id.TwoNN().fit(states).dimension_)


def maximum_likelihood(states: Float[np.ndarray, "sample d_model"]) -> float:
    """From the nearest distances; Levina and Bickel 2004, NIPS 17."""
    neighbours = min(NEIGHBOURS, len(states) - 1)
    return float(skdim.id.MLE().fit(states, n_neighbors=neighbours).dimension_)


ESTIMATORS = {"TwoNN": two_nn, "MLE": maximum_likelihood}


def beside_gaussians(
    states: Float[np.ndarray, "sample d_model"], n_gaussians: int, rng: np.random.Generator
) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Estimator, dimension of the states, and least and largest of that of Gaussian states."""
    vectors, values, _ = np.linalg.svd(states - states.mean(axis=0), full_matrices=False)
    samples = vectors * values  # the same distances in at most as many dimensions as samples
    n = len(samples)
    # A random mixture of centred samples has, in expectation, their covariance.
    mixtures = (rng.standard_normal((n, n)) / np.sqrt(n) for _ in range(n_gaussians))
    gaussians = [mixture @ samples for mixture in mixtures]
    for name, estimator in ESTIMATORS.items():
        value, *null = (estimator(x) for x in (samples, *gaussians))
        yield name, value, (min(null), max(null))
