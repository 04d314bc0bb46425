"""From the measurements of experiment 06 to the tables that figures are drawn from."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate

from .estimates import base_of, odds_of
from .measure import REAL, SETS
from .protocol import DISTANCES, OPERATORS


def sets_table(estimates: Iterable[Estimate]) -> pd.DataFrame:
    """Odds left beyond the allowed part of the gap, at each kind of sets, with intervals."""
    named = {e.name: e for e in estimates}
    rows = [(kind, "", named[f"excess.{kind}"]) for kind in SETS]
    values = [(*at, e.value, e.low, e.high, e.null_low, e.null_high, e.n) for *at, e in rows]
    columns = ["label", "group", "value", "low", "high", "null_low", "null_high", "n"]
    return pd.DataFrame(values, columns=columns).assign(gap=named["gap"].value)


def singles_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Effect of every direction at every single layer, in nats, and whether a random one's is."""
    parts = []
    for operator, sign, base in zip(OPERATORS, (1, -1), base_of(scores)[::-1].mean(1), strict=True):
        part = scores[(scores.kind == operator) & (scores.family == REAL) & (scores.draw == 0)]
        means = part.groupby(["source", "target"])["odds"].mean().reset_index(name="value")
        drawn = sign * (odds_of(scores, operator, True, "target").mean(1) - base)
        null = dict(zip(np.unique(part.target), np.fmax.reduce(drawn), strict=True))
        means["value"] = sign * (means["value"] - base)
        reached = means.value <= means.target.map(null)
        parts.append(means.assign(operator=operator, reached=reached, n=part.prompt.nunique()))
    return pd.concat(parts, ignore_index=True)


def profile_table(scores: pd.DataFrame, cosines: pd.Series) -> pd.DataFrame:
    """Fall by one direction beyond random ones at every layer, with the cosine of class means."""
    odds, nulls = (odds_of(scores, "profile", null, "target") for null in (False, True))
    layers = np.unique(scores.target[scores.kind == "profile"])
    effect = (nulls.mean(0) - odds[0]).mean(0)
    cosine = cosines[layers].to_numpy()
    return pd.DataFrame({"layer": layers, "effect": effect, "cosine": cosine, "n": odds.shape[1]})


def alignment_table(likeness: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over pairs of both R^2, by distance."""
    whole = likeness[likeness.draw < 0].replace({"distance": DISTANCES})
    long = whole.melt(["kind", "distance", "n"], ["identity", "rotation"], "measure")
    grouped = long.groupby(["kind", "measure", "distance", "n"], sort=False)["value"]
    return grouped.agg(value="mean", low="min", high="max").reset_index()
