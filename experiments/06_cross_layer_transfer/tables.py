"""From the refusal odds of experiment 06 to the tables that figures are drawn from."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.directions import cosine
from interp.geometry import mean_cosine

from .estimates import base_of, interval, left, odds_of, worst_halves
from .measure import HARMFUL, HARMLESS, REAL, SETS, Setup, Sources
from .protocol import OPERATORS


def sets_table(scores: pd.DataFrame, estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """Share of the gap left: median over sources at each kind of sets, windows of the strongest."""
    rows = []
    for kind in SETS:
        e = estimates[f"left.{kind}"]
        rows.append((kind, "sources", e.value, e.low, e.high, e.null_low, e.null_high, e.n))
    base = scores[scores.kind == "base"]
    for kind in ("everywhere", "window"):
        shown = scores[scores.kind == kind]
        for number in sorted(shown.target.unique()):
            found = interval(*left(pd.concat([base, shown[shown.target == number]]), kind)[::2])
            name = f"window from {number}" if kind == "window" else kind
            limits = found.low, found.high, np.nan, np.nan
            rows.append((name, "strongest", found.value, *limits, found.n))
    columns = ["label", "group", "value", "low", "high", "null_low", "null_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def sources_table(scores: pd.DataFrame, gate: pd.DataFrame) -> pd.DataFrame:
    """Share of the gap that each source's direction leaves. Columns: source, kind, value, n, ..."""
    harmful, harmless = base_of(scores).mean(1)
    rows = []
    for kind in SETS:
        odds = odds_of(scores, kind, False, "source", "target")[0].mean(0)
        found = worst_halves((odds - harmless) / (harmful - harmless))
        sources = np.sort(scores[(scores.kind == kind) & (scores.family == REAL)].source.unique())
        rows += [
            (x, kind, share, scores.prompt.nunique())
            for x, share in zip(sources, found, strict=True)
        ]
    table = pd.DataFrame(rows, columns=["source", "kind", "value", "n"])
    return table.merge(gate.rename(columns={"layer": "source"}), on="source")


def singles_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Effect of every direction at every single layer, in nats, and the largest random one's."""
    base = scores[scores.kind == "base"].groupby("prompts")["odds"].mean()
    parts = []
    for operator, sign, on in zip(OPERATORS, (1, -1), (HARMLESS, HARMFUL), strict=True):
        for kind in ("own", "far", "random"):
            part = scores[(scores.kind == f"{operator}/{kind}")]
            part = part[(part.family != REAL) | (part.draw == 0)]
            keys = ["source", "target", "family", "draw"]
            means = part.groupby(keys)["odds"].mean().reset_index(name="value")
            means["value"] = sign * (means["value"].to_numpy(np.float64) - float(base[on]))
            parts.append(means.assign(operator=operator, kind=kind, n=part.prompt.nunique()))
    table = pd.concat(parts, ignore_index=True)
    largest = table[table.kind == "random"].groupby(["operator", "target"])["value"].max()
    return table.join(largest.rename("null"), on=["operator", "target"])


def profile_table(scores: pd.DataFrame, cosines: pd.Series) -> pd.DataFrame:
    """Fall of the odds by the strongest source's direction at every layer, with its cosine."""
    part = scores[scores.kind == "profile"]
    falls = base_of(scores)[0].mean() - part.groupby("target")["odds"].mean()
    table = falls.rename("effect").reset_index().rename(columns={"target": "layer"})
    return table.assign(cosine=cosines[table.layer].to_numpy(), n=part.prompt.nunique())


def class_cosines(layers: Sources) -> pd.Series:
    """Cosine of the class means by layer."""
    found = {
        x: float(mean_cosine(source.positive[:, None], source.negative[:, None])[0])
        for x, source in layers.items()
    }
    return pd.Series(found)


def cosine_table(setup: Setup) -> pd.DataFrame:
    """Cosines between the layers' directions."""
    units = {x: source.direction for x, source in setup.layers.items()}
    rows = [(a, b, cosine(units[a], units[b])) for a in units for b in units]
    return pd.DataFrame(rows, columns=["first", "second", "cosine"])


def rates_table(
    answers: pd.DataFrame, scores: pd.DataFrame, estimates: Mapping[str, Estimate]
) -> pd.DataFrame:
    """Refusal rate of answers under the strongest source's edits, with the mean refusal odds."""
    strongest = scores[scores.kind == "everywhere"].source.iloc[0]
    of_it = scores[(scores.family == REAL) & (scores.draw == 0) & (scores.prompts == HARMFUL)]
    odds = of_it[of_it.source.isin([-1, strongest])].groupby("kind")["odds"].mean()
    rows = []
    for name in answers.condition.unique():
        e = estimates[f"refusal_rate.{name}"]
        rows.append((name, odds[name], e.value, e.low, e.high, e.n))
    columns = ["condition", "odds", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).assign(source=strongest)
