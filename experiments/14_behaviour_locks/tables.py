"""From the measurements of experiment 14 to the tables that figures are drawn from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.stats import bootstrap_mean

from .protocol import OTHER

DRAWS = 500  # of the bootstrap: intervals that are only drawn
BROUGHT = ("wrong.random", "wrong.permuted", "vector.share")


def brought_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """What brings refusal back: shares of the gap by keys, of the refusals by tunings."""
    rows = [
        (one.name, "gap" if one.name in BROUGHT else "answers", one.value, one.low, one.high, one.n)
        for one in found
        if one.low is not None and (one.name in BROUGHT or one.name.startswith("tuned.share/"))
    ]
    return pd.DataFrame(rows, columns=["label", "group", "value", "low", "high", "n"])


def rises_table(losses: pd.DataFrame) -> pd.DataFrame:
    """Rise of the loss by domain and direction, in nats per token."""
    rows = []
    for name, part in losses.groupby("domain", sort=False):
        for group in ("own", "next"):
            rise = bootstrap_mean((part[group] - part.base).to_numpy(), n_resamples=DRAWS)
            rows.append((name, group, rise.value, rise.low, rise.high, rise.n))
    return pd.DataFrame(rows, columns=["label", "group", "value", "low", "high", "n"])


def opened_table(locks: pd.DataFrame) -> pd.DataFrame:
    """Gap of each behaviour, in nats, with both locks shut, with one open, and with none."""
    rows = []
    for name, part in locks.groupby("behaviour", sort=False):
        for group in ("base", "refusal", OTHER, "both"):
            gap = bootstrap_mean(part[group].to_numpy(np.float64), n_resamples=DRAWS)
            rows.append((name, group, gap.value, gap.low, gap.high, gap.n))
    return pd.DataFrame(rows, columns=["label", "group", "value", "low", "high", "n"])
