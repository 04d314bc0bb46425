"""How well inner products order what the output does: rank correlations, bootstrap and null.

Metrics are compared within groups of segments that have the same origin, and of samples of one
class, since what differs between groups is ordered by every metric alike.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from interp.stats import spearman

N_PERMUTATIONS = 100

OutputKL = Float[np.ndarray, "site step base group target"]
Lengths = Float[np.ndarray, "site metric base group target"]


class Orders(NamedTuple):
    """Spearman of every metric: as measured, resampled, and with the order shuffled."""

    value: Float[np.ndarray, " metric"]
    draws: Float[np.ndarray, "draw metric"]
    null: Float[np.ndarray, "draw metric"]


def change_on_halving(kl: OutputKL, steps: Sequence[float]) -> Float[np.ndarray, "site judged"]:
    """Change of KL / t^2 as a step is halved, for all steps but the first: upper quartile.

    Small where the output induces a metric, KL = t^2 v'Gv / 2 + O(t^3). Each step is the double of
    the one before.
    """
    curvature = kl / np.square(steps)[:, None, None, None]
    change = np.abs(curvature[:, :-1] / curvature[:, 1:] - 1)
    return np.quantile(change, 0.75, axis=(2, 3, 4))


def segment_spearman(
    kl: OutputKL, lengths: Lengths, counts: Bool[np.ndarray, "site judged"]
) -> Float[np.ndarray, " metric"]:
    """Within each base and group of targets, averaged over those and the steps that count."""
    found = spearman(*np.broadcast_arrays(kl[:, 1:, None], lengths[:, None]))
    return found.mean(axis=(-2, -1))[counts].mean(axis=0)


def segment_orders(
    kl: OutputKL,
    lengths: Lengths,
    counts: Bool[np.ndarray, "site judged"],
    n: int,
    rng: np.random.Generator,
) -> Orders:
    """Of length with KL; bootstrap over bases and targets at once (Owen 2007).

    The null exchanges the targets of a group in the lengths, not in the KL. At least one step has
    to count.
    """
    n_bases, *shape = kl.shape[2:]

    def pick(bases: np.ndarray, targets: np.ndarray) -> tuple:
        """Index of other bases, and of other targets within each group."""
        return ..., bases[:, None, None], np.arange(shape[0])[:, None], targets

    draws, every = [], np.arange(n_bases)
    for _ in range(n):
        index = pick(rng.choice(every, n_bases), rng.integers(0, shape[1], shape))
        draws.append(segment_spearman(kl[index], lengths[index], counts))
    orders = rng.permuted(np.tile(np.arange(shape[1]), (N_PERMUTATIONS, shape[0], 1)), axis=2)
    null = [segment_spearman(kl, lengths[pick(every, order)], counts) for order in orders]
    return Orders(segment_spearman(kl, lengths, counts), np.stack(draws), np.stack(null))


def projection_spearman(
    scores: Float[np.ndarray, " sample"], projections: Float[np.ndarray, "site metric sample"]
) -> Float[np.ndarray, " metric"]:
    """Averaged over sites."""
    return spearman(*np.broadcast_arrays(scores, projections)).mean(axis=0)


def projection_orders(
    scores: Float[np.ndarray, " sample"],
    projections: Float[np.ndarray, "site metric sample"],
    n: int,
    rng: np.random.Generator,
) -> Orders:
    """Of projection with score; bootstrap and null over samples."""
    picked = rng.integers(0, len(scores), (n, len(scores)))
    draws = [projection_spearman(scores[at], projections[..., at]) for at in picked]
    shuffled = rng.permuted(np.tile(scores, (N_PERMUTATIONS, 1)), axis=1)
    null = [projection_spearman(of_draw, projections) for of_draw in shuffled]
    return Orders(projection_spearman(scores, projections), np.stack(draws), np.stack(null))
