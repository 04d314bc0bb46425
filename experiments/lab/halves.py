"""Statistics of a whole sample, row 0, and of random halves of it without replacement, below.

For what resampling with replacement breaks, such as distances and nearest neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from experiments.lab.estimate import Estimate
from interp import stats
from interp.sites import Site

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


@dataclass(frozen=True)
class Profiles:
    """Quantities at every site, each for the whole sample and for every half of it."""

    sites: Sequence[Site]  # evenly spaced in depth
    n: int  # samples, per class where there are classes
    of: Mapping[str, Float[np.ndarray, "draw site"]]

    def thirds(self, name: str) -> tuple[Draws, Draws, Draws]:
        """Means over the first, the middle and the last third of the depth."""
        share = np.linspace(0, 1, len(self.sites))
        first, last = share <= 1 / 3, share >= 2 / 3
        middle = ~(first | last) if len(share) > 3 else np.ones(len(share), dtype=bool)
        one, two, three = (self.of[name][:, w].mean(axis=1) for w in (first, middle, last))
        return one, two, three

    def change(self, name: str) -> Draws:
        """Last third minus first third."""
        first, _, last = self.thirds(name)
        return last - first

    def table(self, name: str) -> pd.DataFrame:
        """One row per site, with `value`, `low` and `high`."""
        places = [(str(site), site.depth, self.n) for site in self.sites]
        draws = self.of[name]
        around = draws[1:] - np.median(draws[1:], axis=0) + draws[0]
        found = pd.DataFrame(places, columns=["site", "depth", "n"])
        return found.assign(value=draws[0], **stats.interval_columns(around))
