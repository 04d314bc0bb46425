"""From the measurements of experiment 06 to the tables that figures are drawn from."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate

from .estimates import base_of, odds_of
from .measure import REAL, SETS
from .protocol import DISTANCES, OPERATORS


def sets_table(estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """Odds left beyond half of the gap at each kind of sets, with intervals."""
    found = {kind: estimates[f"excess.{kind}"] for kind in SETS}
    rows = [(kind, "source median", e.value, e.low, e.high, e.n) for kind, e in found.items()]
    table = pd.DataFrame(rows, columns=["label", "group", "value", "low", "high", "n"])
    return table.assign(gap=estimates["gap"].value)


def singles_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Effect of every direction at every single layer, in nats, and whether a random one's is."""
    parts = []
    for operator, sign, base in zip(OPERATORS, (1, -1), base_of(scores)[::-1].mean(1), strict=True):
        part = scores[(scores.kind == operator) & (scores.family == REAL) & (scores.draw == 0)]
        means = part.groupby(["source", "target"])["odds"].mean().reset_index(name="value")
        drawn = sign * (odds_of(scores, operator, True, "target").mean(1) - base)
        null = dict(zip(np.unique(part.target), np.fmax.reduce(drawn), strict=True))
        means["value"] = sign * (means["value"] - base)
        reached = means["value"] <= means["target"].map(null)
        parts.append(means.assign(operator=operator, reached=reached, n=part.prompt.nunique()))
    return pd.concat(parts, ignore_index=True)


def profile_table(scores: pd.DataFrame, cosines: pd.Series) -> pd.DataFrame:
    """Fall by one direction beyond random ones at every layer, with the cosine of class means."""
    odds, nulls = (odds_of(scores, "profile", null, "target") for null in (False, True))
    layers = np.unique(scores.target[scores.kind == "profile"])
    table = pd.DataFrame({"layer": layers, "effect": (nulls.mean(0) - odds[0]).mean(0)})
    return table.assign(cosine=cosines[layers].to_numpy(), n=odds.shape[1])


def alignment_table(likeness: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over pairs of both R^2, by distance."""
    whole = likeness[likeness.draw < 0].replace({"distance": DISTANCES})
    long = whole.melt(["kind", "distance", "n"], ["identity", "rotation"], "measure")
    grouped = long.groupby(["kind", "measure", "distance", "n"], sort=False)["value"]
    return grouped.agg(value="mean", low="min", high="max").reset_index()
