"""One number with its 95% interval, its null, and where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from interp.stats import Alternative, Interval

    Null = Float[np.ndarray, " draw"] | tuple[float | None, float | None]


@dataclass(frozen=True)
class Estimate:
    """One number with its 95% interval, and what the null gives.

    `null_low` and `null_high` are the 2.5 and 97.5 percentiles of the null, None only where no null
    makes sense. `mde` is the minimum detectable effect (80% power, two-sided 5%), in `unit`.
    """

    name: str  # dotted and stable, e.g. refusal_rate.harmful.ablated
    value: float
    low: float | None = None
    high: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    n: int = 0
    p: float | None = None
    mde: float | None = None
    unit: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        interval: Interval,
        *,
        null: Null | None = None,
        p: float | None = None,
        alternative: Alternative = "greater",
        mde: float | None = None,
        unit: str = "",
    ) -> Estimate:
        """An estimate from its interval and its null.

        `null` holds draws, which then give p by `interp.stats.permutation_p` unless it is passed,
        or the two limits.
        """
        from interp import stats

        limits: tuple[float | None, float | None]
        if null is None or isinstance(null, tuple):
            limits = null or (None, None)
        else:
            limits = stats.null_interval(null)
            p = stats.permutation_p(interval.value, null, alternative) if p is None else p
        value, low, high = (float(x) for x in (interval.value, interval.low, interval.high))
        null_low, null_high = (None if x is None else float(x) for x in limits)
        return cls(
            name, value, low, high, null_low, null_high, interval.n,
            None if p is None else float(p), mde, unit,
        )  # fmt: skip

    def above(self, limit: float) -> bool:
        """Whether the whole interval lies above the limit; False without an interval."""
        return self.low is not None and self.low > limit

    def below(self, limit: float) -> bool:
        """Whether the whole interval lies below the limit; False without an interval."""
        return self.high is not None and self.high < limit

    def __str__(self) -> str:
        null = limits(self.null_low, self.null_high)
        unit = f" {self.unit}" if self.unit else ""
        shown = f"{number(self.value)}{unit}{limits(self.low, self.high)}"
        return f"{shown}, null{null}" if null else shown


def number(value: float | None) -> str:
    """Three significant digits, as in the text of an observation."""
    return f"{value:.3g}" if value is not None and math.isfinite(value) else "not measured"


def limits(low: float | None, high: float | None) -> str:
    """` [low, high]`, empty where there is no interval."""
    return "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
