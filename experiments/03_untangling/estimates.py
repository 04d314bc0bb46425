"""From the profiles of experiment 03 to estimates and tables."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp import stats

from .measure import Draws, Profiles, Source
from .protocol import SETS

LEVELS = ("linear", "nearest", "distance", "cosine")
TABLES = {  # lines of each, with the weights they are of
    "errors": ("linear", "nearest"),
    "distances": ("distance", "cosine"),
    "decomposition": ("turning", "lengths"),
}


def estimates(found: Mapping[Source, Profiles]) -> Iterator[Estimate]:
    """Every number of the experiment."""
    for name in SETS:
        own, control = found[name, "trained"], changes_of(found[name, "untrained"])
        for key, draws in changes_of(own).items():
            null = -own.change("permuted")[1:] if key == "linear.fall" else None
            yield estimate(f"{name}.{key}", draws, own.n, null)
            yield estimate(f"{name}.{key}.over_untrained", draws - control[key], own.n)
        for key in LEVELS:
            for where, draws in zip(("first", "last"), own.thirds(key), strict=True):
                yield estimate(f"{name}.{key}.{where}", draws, own.n)


def changes_of(own: Profiles) -> dict[str, Draws]:
    """What the claims are about, between the thirds of the depth."""
    linear, nearest = own.thirds("linear"), own.thirds("nearest")
    first, left = linear[0] - nearest[0], linear[1] - np.minimum(*nearest)
    return {
        "linear.fall": linear[0] - linear[1],
        "lag.at_first": first,
        "lag.closing": np.maximum(first, 0) - np.maximum(left, 0),
        "distance.growth": own.change("distance"),
        "distance.growth.without_largest": own.change("distance.without_largest"),
        "cosine.fall": -own.change("cosine"),
        "cosine.fall.without_largest": -own.change("cosine.without_largest"),
        "turning.over_lengths": own.change("turning") - own.change("lengths"),
        "moving.over_shrinking": own.change("ln_squared_distance") + own.change("ln_squared_norm"),
    }


def estimate(name: str, draws: Draws, n: int, null: Draws | None = None) -> Estimate:
    """The value of all pairs, with the interval that halves give."""
    interval = replace(stats.half_sample_interval(float(draws[0]), draws[1:]), n=n)
    mde = stats.minimum_detectable_effect_interval(interval)
    return Estimate.of(name, interval, null=null, mde=mde)


def tables(found: Mapping[Source, Profiles]) -> dict[str, pd.DataFrame]:
    """One table per figure, one row per site and line; panels are sets of prompts."""
    return {
        table: pd.concat(
            [
                rows(own, key, source).assign(panel=name, group=f"{key}.{source}")
                for (name, source), own in found.items()
                for key in keys
            ],
            ignore_index=True,
        )
        for table, keys in TABLES.items()
    }


def rows(own: Profiles, key: str, source: str) -> pd.DataFrame:
    """One quantity per site, with its interval, and with permuted labels where there are any."""
    draws = own.of[key]
    columns = stats.interval_columns(draws[1:] - np.median(draws[1:], axis=0) + draws[0])
    if (key, source) == ("linear", "trained"):
        columns |= stats.interval_columns(own.of["permuted"][1:], "null_")
    places = [(str(site), site.depth, own.n) for site in own.sites]
    return pd.DataFrame(places, columns=["site", "depth", "n"]).assign(value=draws[0], **columns)
