"""From the estimates of experiment 13 to the tables that figures are drawn from."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate

from .estimates import WAYS
from .protocol import LENGTHS, UNDOERS


def left_table(e: Mapping[str, Estimate]) -> pd.DataFrame:
    """Share left per undoer and way."""
    rows = [(u, way, e[f"left.{u}.{way}"]) for u in UNDOERS for way in WAYS]
    return pd.DataFrame([(u, w, x.value, x.low, x.high, x.n) for u, w, x in rows],
                        columns=["label", "group", "value", "low", "high", "n"])  # fmt: skip


def filler_table(e: Mapping[str, Estimate]) -> pd.DataFrame:
    """Share kept per length of filler (`depth`, tokens) and way; all of it at none."""
    rows = [(0, way, 1.0, 1.0, 1.0, e["lead"].n) for way in WAYS]
    for length in LENGTHS:
        found = {way: e[f"kept.{length}.{way}"] for way in WAYS}
        rows += [(length, way, x.value, x.low, x.high, x.n) for way, x in found.items()]
    return pd.DataFrame(rows, columns=["depth", "group", "value", "low", "high", "n"])


def match_table(matches: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Rise of the odds against the KL, of every site's vector by dose and of every sentence."""
    none = curves[curves.dose == 0].odds.iloc[0]
    vectors = pd.DataFrame({"group": curves.site, "dose": curves.dose, "damage": curves.kl,
                            "effect": curves.odds - none, "null": False})  # fmt: skip
    sentences = pd.DataFrame({"group": "sentence", "dose": 0.0, "damage": matches["kl.prompt"],
                              "effect": matches["rise.prompt"], "null": True})  # fmt: skip
    return pd.concat([vectors[vectors.dose > 0], sentences], ignore_index=True)
