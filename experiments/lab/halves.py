"""Statistics of a whole sample, row 0, and of random halves of it without replacement, below.

For what resampling with replacement breaks, such as distances and nearest neighbours.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from experiments.lab.estimate import Estimate
from interp import stats

Draws = Float[np.ndarray, " draw"]


def halves(n: int, n_halves: int, rng: np.random.Generator) -> Int[np.ndarray, "half item"]:
    """Random halves of n items."""
    return np.argsort(rng.random((n_halves, n)), axis=1)[:, : n // 2]


def inside(n: int, of: Int[np.ndarray, "half item"]) -> Bool[np.ndarray, "draw n"]:
    """Which items are in each: all of them first, then every half."""
    chosen = np.ones((1 + len(of), n), dtype=bool)
    chosen[1:] = False
    np.put_along_axis(chosen[1:], of, True, axis=1)
    return chosen


def estimate(name: str, draws: Draws, n: int, null: Draws | None = None) -> Estimate:
    """The value of the whole sample of n, with the interval that halves give."""
    interval = replace(stats.half_sample_interval(float(draws[0]), draws[1:]), n=n)
    mde = stats.minimum_detectable_effect_interval(interval)
    return Estimate.of(name, interval, null=null, mde=mde)


def columns(draws: Float[np.ndarray, "draw site"]) -> dict[str, Float[np.ndarray, " site"]]:
    """`value`, `low` and `high` of every site."""
    around = draws[1:] - np.median(draws[1:], axis=0) + draws[0]
    return {"value": draws[0], **stats.interval_columns(around)}
