"""Errors of two rules that learn from a few labelled samples, from inner products alone.

Both see the same training samples, and every draw of them is one row, so that hundreds of draws
cost one batched solve. A linear rule fails where the classes are tangled (exclusive or, rings);
the nearest neighbour fails where they overlap.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

RIDGE = 0.01  # penalty over the mean squared length of the centred training samples
CHUNK = 500  # draws in memory at a time

Gram = Float[np.ndarray, "sample sample"]
Labels = Float[np.ndarray, "draw sample"]
Errors = Float[np.ndarray, " draw"]

Rule = Callable[[Gram, Labels, "Draws"], Errors]


class Draws(NamedTuple):
    """Which samples each draw learns from, and which it is tested on."""

    train: Int[np.ndarray, "draw train"]
    test: Int[np.ndarray, "draw test"]


def mean_errors(
    rule: Rule,
    gram: Gram,
    signs: Float[np.ndarray, "row n"],
    pairs: Int[np.ndarray, "row pair"],
    n_shots: int,
    n_draws: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " row"]:
    """Mean error over `n_draws` draws of `n_shots` of a row's pairs, tested on its other pairs.

    Pair i of n is sample i, labelled `signs[row, i]`, and sample n + i, labelled the opposite.
    """
    found, n, step = [], signs.shape[1], max(1, CHUNK // n_draws)
    for some, rows in ((signs[i:][:step], pairs[i:][:step]) for i in range(0, len(signs), step)):
        order = rng.permuted(np.repeat(rows, n_draws, axis=0), axis=1)
        samples = np.stack([order, n + order], axis=2).reshape(len(order), -1)
        labels = np.repeat(np.hstack([some, -some]), n_draws, axis=0)
        draws = Draws(samples[:, : 2 * n_shots], samples[:, 2 * n_shots :])
        found.append(rule(gram, labels, draws).reshape(-1, n_draws).mean(axis=1))
    return np.concatenate(found)


def linear_errors(gram: Gram, labels: Labels, draws: Draws) -> Errors:
    """Share of the test samples that a ridge classifier gets wrong, per draw; float64.

    Least squares on labels of -1 and 1 with an intercept (Hoerl and Kennard 1970, Technometrics
    12:55), in its dual form. Training labels must be balanced, so that the intercept is the mean
    training score. The penalty is RIDGE times the mean squared length, so no scale matters.
    """
    among, y = _block(gram, draws.train, draws.train), _of(labels, draws.train)
    rows = among.mean(axis=1, keepdims=True)
    centred = among - rows - rows.swapaxes(1, 2) + rows.mean(axis=2, keepdims=True)
    size = np.trace(centred, axis1=1, axis2=2) / y.shape[1]
    penalty = RIDGE * np.where(size > 0, size, 1.0)
    weights = np.linalg.solve(centred + penalty[:, None, None] * np.eye(y.shape[1]), y[..., None])
    scores = (_block(gram, draws.test, draws.train) - rows) @ weights  # weights sum to 0
    return _errors(scores[..., 0], _of(labels, draws.test))


def nearest_errors(gram: Gram, labels: Labels, draws: Draws) -> Errors:
    """Share of the test samples whose nearest training sample is of the other class, per draw."""
    half_squares = np.diag(gram)[draws.train][:, None] / 2 - _block(gram, draws.test, draws.train)
    nearest = np.take_along_axis(draws.train, half_squares.argmin(axis=2), axis=1)
    return _errors(_of(labels, nearest), _of(labels, draws.test))


def _block(gram: Gram, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return gram[rows[:, :, None], columns[:, None, :]]


def _of(labels: Labels, chosen: np.ndarray) -> np.ndarray:
    return np.take_along_axis(labels, chosen, axis=1)


def _errors(scores: np.ndarray, labels: np.ndarray) -> Errors:
    """A score of 0 is half an error."""
    return (1 - np.sign(scores) * labels).mean(axis=1) / 2
