"""The largest of several estimates, with limits that hold for the largest."""

from collections.abc import Sequence

from scipy.stats import norm

from interp.stats import Interval

TAIL = 0.025


def largest(intervals: Sequence[Interval]) -> Interval:
    """The largest absolute value, with a 95% interval; `n` is how many there are.

    The upper limit is the largest of the upper limits, which is above the largest whichever that
    is; the lower one the largest of lower limits that are corrected for their number.
    """
    every = [folded(one) for one in intervals]
    low = max(corrected_low(one, len(every)) for one in every)
    value, high = max(one.value for one in every), max(one.high for one in every)
    return Interval(value, max(0.0, low), high, len(every))


def corrected_low(one: Interval, n: int) -> float:
    """A 2.5% limit, corrected for n comparisons (Bonferroni, by normal quantiles)."""
    further = norm.ppf(1 - TAIL / n) / norm.ppf(1 - TAIL)
    return float(one.value - further * (one.value - one.low))


def folded(one: Interval) -> Interval:
    """Of the absolute value; the lower limit may be below 0."""
    low, high = (one.low, one.high) if one.value >= 0 else (-one.high, -one.low)
    return Interval(abs(one.value), low, max(high, -low), one.n)
