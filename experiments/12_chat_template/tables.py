"""From the estimates of experiment 12 to the tables that figures are drawn from."""

from collections.abc import Iterable, Mapping

import pandas as pd

from experiments.lab.estimate import Estimate

from .protocol import STYLES

TUNED = {
    "tuned.effect": ("own", "ablated"),
    "tuned.base_effect": ("before", "ablated"),
    "tuned.rise": ("own", "added"),
    "base.rise.tuned": ("own", "added to the base"),
    "base.rise.base": ("before", "added to the base"),
}


def refusing_table(e: Mapping[str, Estimate]) -> pd.DataFrame:
    """Refusal rates by style and class of prompts."""
    kinds = [(style, kind) for style in STYLES for kind in ("harmful", "harmless")]
    return pd.DataFrame([_row(x, kind, e[f"rate.{kind}.{x}"]) for x, kind in kinds])


def effects_table(e: Mapping[str, Estimate]) -> pd.DataFrame:
    """Effects by the style that the direction is taken in (label), and used in (group)."""
    names = [name.split(".") for name in e if name.startswith("effect.")]
    return pd.DataFrame([_row(x[1], x[3], e[".".join(x)]) for x in names])


def tuning_table(e: Mapping[str, Estimate]) -> pd.DataFrame:
    """What the tuned model's direction and the base's do, in the tuned model and in the base."""
    return pd.DataFrame([_row(how, whose, e[name]) for name, (whose, how) in TUNED.items()])


def plain(scores: pd.DataFrame, candidates: Iterable[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What was measured, per prompt and per candidate."""
    return {"scores": scores, "candidates": pd.concat(candidates, ignore_index=True)}


def _row(label: str, group: str, one: Estimate) -> dict[str, object]:
    limits = {name: getattr(one, name) for name in ("low", "high", "null_low", "null_high")}
    return {"label": label, "group": group, "value": one.value, **limits, "n": one.n}
