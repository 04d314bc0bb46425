"""From the profiles of experiment 03 to estimates and tables."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.halves import Draws, Profiles, estimate
from interp import stats

from .measure import Source
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
            for where, draws in zip(("first", "middle", "last"), own.thirds(key), strict=True):
                yield estimate(f"{name}.{key}.{where}", draws, own.n)


def changes_of(own: Profiles) -> dict[str, Draws]:
    """What the claims are about, between the thirds of the depth."""
    linear, nearest = own.thirds("linear"), own.thirds("nearest")
    first, left = linear[0] - nearest[0], linear[2] - np.minimum(nearest[0], nearest[2])
    return {
        "linear.fall": linear[0] - linear[2],
        "lag.at_first": first,
        "lag.closing": np.maximum(first, 0) - np.maximum(left, 0),
        "distance.growth": own.change("distance"),
        "distance.growth.without_largest": own.change("distance.without_largest"),
        "cosine.fall": -own.change("cosine"),
        "cosine.fall.without_largest": -own.change("cosine.without_largest"),
        "turning.over_lengths": own.change("turning") - own.change("lengths"),
        "moving.over_shrinking": own.change("ln_squared_distance") + own.change("ln_squared_norm"),
    }


def tables(found: Mapping[Source, Profiles]) -> dict[str, pd.DataFrame]:
    """One table per figure, one row per site and line; panels are sets of prompts."""
    parts = {name: [] for name in TABLES}
    for (name, source), own in found.items():
        for table, keys in TABLES.items():
            for key in keys:
                rows = own.table(key).assign(panel=name, group=f"{key}.{source}")
                if (key, source) == ("linear", "trained"):
                    permuted = own.of["permuted"][1:]
                    rows = rows.assign(**stats.interval_columns(permuted, "null_"))
                parts[table].append(rows)
    return {name: pd.concat(rows, ignore_index=True) for name, rows in parts.items()}
