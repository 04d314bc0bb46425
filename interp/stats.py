"""Intervals, paired tests, permutation p-values and minimum detectable effects, all in float64.

Every function is pure; those that draw take the seed as an argument, and the caller records it.
Intervals are at 95%. Distances, spectra and nearest neighbours must not be bootstrapped
(duplicates break them): see `half_sample_interval`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from interp.errors import DataError

CONFIDENCE = 0.95
POWER = 0.80

Alternative = Literal["greater", "less", "two-sided"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval, from `n` observations; `value` need not be the middle."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> Interval:
    """Rate with the Wilson score interval (Wilson 1927, JASA 22:209).

    Raises DataError when there is no trial or the count is impossible.
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"A rate needs 0 <= successes <= n and n >= 1; got {successes} of {n}.")
    limits = scipy_stats.binomtest(int(successes), int(n)).proportion_ci(CONFIDENCE, "wilson")
    return Interval(successes / n, float(limits.low), float(limits.high), int(n))


def newcombe_difference(
    first: Bool[np.ndarray, " sample"], second: Bool[np.ndarray, " sample"]
) -> Interval:
    """Difference of two paired rates, second - first, with Newcombe's score interval.

    Method 10 of Newcombe 1998, Statistics in Medicine 17:2635-2650: the distances from each rate
    to its Wilson limits, combined as the sides of a triangle whose angle is the
    continuity-corrected phi coefficient of the 2 x 2 table.
    """
    both, only_first, only_second, neither = _paired_counts(first, second)
    n = both + only_first + only_second + neither
    one, two = wilson(both + only_first, n), wilson(both + only_second, n)
    phi = _corrected_phi(both, only_first, only_second, neither)
    difference = (only_second - only_first) / n
    below = _third_side(two.value - two.low, one.high - one.value, phi)
    above = _third_side(two.high - two.value, one.value - one.low, phi)
    return Interval(difference, difference - below, difference + above, n)


def bootstrap_mean(
    values: Float[np.ndarray, " sample"], seed: int = 0, n_resamples: int = 2000
) -> Interval:
    """Mean with a percentile bootstrap interval over values."""
    values = _finite(values, "the values to average")
    _check_rows([len(values)], paired=True)
    low, high = _percentile(np.mean, (values,), seed, n_resamples)
    return Interval(float(values.mean()), low, high, len(values))


def bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[np.ndarray],
    paired: bool,
    seed: int = 0,
    n_resamples: int = 2000,
) -> Interval:
    """Any statistic of whole arrays with a percentile bootstrap interval over their first axis.

    `paired`: the arrays share their rows and are resampled together; otherwise each on its own.
    `n` counts rows once where paired, else over all arrays. Raises DataError with fewer than two
    rows or unequal pairs.
    """
    lengths = [len(array) for array in arrays]
    _check_rows(lengths, paired)
    # Rows are resampled through their indices, so that arrays of any number of axes go through
    # scipy whole; the loop is here because scipy's own, draw by draw, is several times slower.
    indices = tuple(np.arange(n, dtype=np.float64) for n in (lengths[:1] if paired else lengths))

    def of_draws(*drawn: np.ndarray, axis: int) -> np.ndarray:
        """The statistic of the rows of every draw; `axis`, always the last, is theirs."""
        every = [np.atleast_2d(rows).astype(np.intp) for rows in drawn]
        chosen = zip(*(every * len(arrays) if paired else every), strict=True)
        found = [
            statistic(*(a[row] for a, row in zip(arrays, rows, strict=True))) for rows in chosen
        ]
        return np.array(found, np.float64).reshape(drawn[0].shape[:-1])

    low, high = _percentile(of_draws, indices, seed, n_resamples)
    n = lengths[0] if paired else sum(lengths)
    return Interval(float(statistic(*arrays)), low, high, n)


def _check_rows(lengths: Sequence[int], paired: bool) -> None:
    if not lengths or min(lengths) < 2 or (paired and len(set(lengths)) > 1):
        raise DataError(
            "A bootstrap needs two or more rows in each array, as many in each when paired; "
            f"got {list(lengths)}."
        )


def _percentile(
    statistic: Callable[..., np.ndarray], data: Sequence[np.ndarray], seed: int, n_resamples: int
) -> tuple[float, float]:
    """Limits of the percentile bootstrap; `statistic` takes all draws at once, and their axis."""
    limits = scipy_stats.bootstrap(
        tuple(data),
        statistic,
        n_resamples=n_resamples,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(limits.low), float(limits.high)


def half_sample_interval(value: float, halves: Float[np.ndarray, " draw"]) -> Interval:
    """Interval of a statistic that duplicates break, from random halves without replacement.

    A half's spread about the halves' median is that of the whole sample (Shao and Wu 1989, Ann.
    Stat. 17:1176, the delete-half jackknife); the median itself is not used, since half a sample is
    biased.
    """
    low, high = null_interval(halves - np.median(halves))
    return Interval(value, value + low, value + high, len(halves))


def permutation_p(
    observed: float, null: Float[np.ndarray, " draw"], alternative: Alternative = "greater"
) -> float:
    """p-value of `observed` among null draws, (1 + #{null >= observed}) / (1 + draws); never 0.

    Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39. Ties count against the finding,
    also ties that differ by rounding. `two-sided` doubles the smaller tail. What is NaN has p NaN;
    raises DataError for null draws that are not finite.
    """
    null = _finite(null, "the null draws")
    if np.isnan(observed):
        return float("nan")
    tolerance = 1e-12 * abs(observed)
    above = (1 + np.count_nonzero(null >= observed - tolerance)) / (1 + len(null))
    below = (1 + np.count_nonzero(null <= observed + tolerance)) / (1 + len(null))
    return float(
        {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}[alternative]
    )


def max_statistic_p(
    observed: Float[np.ndarray, " site"], null: Float[np.ndarray, "draw site"]
) -> Float[np.ndarray, " site"]:
    """p-value per site against the largest null value of each draw over all sites.

    Single-step maximum statistic (Westfall and Young 1993, ch. 2): controls the family-wise
    error. Large values count as evidence. One permutation per row of `null`, so that the sites of
    a row stay together.
    """
    largest = _finite(null, "the null draws").max(axis=1)
    return np.array([permutation_p(float(value), largest) for value in observed], dtype=np.float64)


def spearman(
    x: Float[np.ndarray, "*batch sample"], y: Float[np.ndarray, "*batch sample"]
) -> Float[np.ndarray, "*batch"]:
    """Rank correlation along the last axis; ties share their mean rank, 0 with a constant."""
    x, y = (scipy_stats.rankdata(values, axis=-1) for values in (x, y))
    x, y = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (x, y))
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    return np.divide((x * y).sum(axis=-1), scale, out=np.zeros_like(scale), where=scale > 0)


def circular_shift_spearman(
    x: Float[np.ndarray, " layer"], y: Float[np.ndarray, " layer"]
) -> tuple[float, float]:
    """Spearman's rho of two autocorrelated series, and its two-sided p by circular shifts.

    All shifts of the second are used, so p is at least 1 / number of layers. Neighbouring layers
    are alike, which the usual p takes for independent evidence; shifting keeps that likeness and
    breaks only the alignment.
    """
    x, y = _finite(x, "the first series"), _finite(y, "the second series")
    if len(x) != len(y) or len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise DataError(
            "Rank correlation needs two series of one length, three or more, neither constant."
        )
    shifted = np.stack([np.roll(y, shift) for shift in range(len(y))])
    rho = spearman(np.broadcast_to(x, shifted.shape), shifted)
    return float(rho[0]), permutation_p(abs(float(rho[0])), np.abs(rho[1:]))


def holm(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """p-values in their own order, corrected for their number (Holm 1979, Scand. J. Stat. 6:65)."""
    return np.asarray(
        multipletests(_finite(p_values, "the p-values"), method="holm")[1], dtype=np.float64
    )


def minimum_detectable_effect_interval(interval: Interval) -> float:
    """Smallest effect found with 80% power at two-sided 5%, from a measured 95% interval.

    The half width is 1.96 standard errors where the estimate is about normal; the effect is 2.80
    of them.
    """
    standard_error = (interval.high - interval.low) / (
        2 * scipy_stats.norm.ppf((1 + CONFIDENCE) / 2)
    )
    return float(_normal_quantiles() * standard_error)


def null_interval(null: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of null draws."""
    low, high = np.percentile(_finite(null, "the null draws"), [2.5, 97.5])
    return float(low), float(high)


def interval_columns(
    draws: Float[np.ndarray, "draw *item"], prefix: str = ""
) -> dict[str, Float[np.ndarray, "*item"]]:
    """The 2.5 and 97.5 percentiles over draws of every item, as columns `low` and `high`."""
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return {f"{prefix}low": low, f"{prefix}high": high}


def _normal_quantiles() -> float:
    """z[.975] + z[.80] = 2.80: effect over standard error that 80% power asks for."""
    return float(scipy_stats.norm.ppf([(1 + CONFIDENCE) / 2, POWER]).sum())


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    """Values in float64; DataError where there is none or one is not finite."""
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise DataError(f"Expected {what} to be finite and not empty; got {values.size} values.")
    return values


def _paired_counts(first: np.ndarray, second: np.ndarray) -> tuple[int, int, int, int]:
    """Pairs where both, only the first, only the second, and neither is true."""
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise DataError(
            f"Paired answers need two equal lists; got {first.shape} and {second.shape}."
        )
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    both, only_first, only_second, neither = (int(np.count_nonzero(cell)) for cell in cells)
    return both, only_first, only_second, neither


def _corrected_phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi of the paired table; where positive its numerator is reduced by n / 2, not below 0."""
    n = both + only_first + only_second + neither
    margins = (
        (both + only_first)
        * (only_second + neither)
        * (both + only_second)
        * (only_first + neither)
    )
    if margins == 0:
        return 0.0
    numerator = both * neither - only_first * only_second
    corrected = max(numerator - n / 2, 0.0) if numerator > 0 else float(numerator)
    return float(corrected / np.sqrt(float(margins)))


def _third_side(a: float, b: float, cosine: float) -> float:
    """Third side of a triangle by the law of cosines; rounding below 0 is taken as 0."""
    return float(np.sqrt(max(a * a - 2 * cosine * a * b + b * b, 0.0)))
