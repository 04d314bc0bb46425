"""Intervals for what an edit of a model does, beside those of `interp.stats`: 95%, float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from interp.stats import Interval, newcombe_difference, null_interval, wilson


def newcombe_excess(
    first: Bool[np.ndarray, " sample"], second: Bool[np.ndarray, " sample"], share: float
) -> Interval:
    """What a paired rate exceeds a share of another by: second - share * first.

    Newcombe's interval of the difference (`interp.stats.newcombe_difference`), with the side of the
    first rate multiplied by the share (Zou and Donner 2008, Statistics in Medicine 27:1693-1702).
    """
    one, two = (wilson(int(rate.sum()), len(rate)) for rate in (first, second))
    value = two.value - share * one.value
    plain = newcombe_difference(first, second)
    below = _scaled(plain.value - plain.low, two.value - two.low, one.high - one.value, share)
    above = _scaled(plain.high - plain.value, two.high - two.value, one.value - one.low, share)
    return Interval(value, value - below, value + above, len(first))


def _scaled(third: float, one: float, other: float, share: float) -> float:
    """Third side of a triangle when one of the two sides beside the angle is scaled.

    third^2 = one^2 + other^2 - 2 one other cos, so the angle follows from the plain triangle.
    """
    twice_dot = one**2 + other**2 - third**2
    return float(np.sqrt(max(0.0, one**2 + (share * other) ** 2 - share * twice_dot)))


def two_level_bootstrap(
    statistic: Callable[..., float],
    draws: Float[np.ndarray, "draw sample"],
    *others: Float[np.ndarray, "draw sample"],
    seed: int = 0,
    n_resamples: int = 1000,
) -> Interval:
    """A statistic of the first row of `draws` and of whole `others`, with a percentile interval.

    The other rows of `draws` are the same measurement made again (a direction extracted from
    resampled prompts, say). Each resample takes one row of `draws` at random and resamples the
    columns, the same ones for all arrays. `n` counts columns.
    """
    rng, n = np.random.default_rng(seed), draws.shape[1]
    rows = rng.integers(len(draws), size=n_resamples)
    columns = rng.integers(n, size=(n_resamples, n))
    found = [
        statistic(draws[row, chosen], *(other[:, chosen] for other in others))
        for row, chosen in zip(rows, columns, strict=True)
    ]
    return Interval(float(statistic(draws[0], *others)), *null_interval(np.array(found)), n)
