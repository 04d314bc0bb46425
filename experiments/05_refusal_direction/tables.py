"""From the measurements of experiment 05 to the tables that figures are drawn from."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.meter import Edit, Meter
from experiments.lab.selection import Selection
from interp.stats import bootstrap_mean

from .measure import HARMFUL, HARMLESS, Pushes
from .protocol import FAMILIES, SHARES


def selection_table(selection: Selection) -> pd.DataFrame:
    """Every candidate with its status, and what random directions would do to the refusal odds."""
    table = selection.candidates.assign(base_bypass=selection.base_bypass)
    table["status"] = [text.split("; ")[0] or "passes" for text in table.failed]
    table.loc[table.selected, "status"] = "chosen"
    low, high = np.percentile(selection.base_bypass - selection.null_effects.effect, [2.5, 97.5])
    return table.assign(failed=table.failed.replace("", "none"), null_low=low, null_high=high)


def rates_table(estimates: Iterable[Estimate]) -> pd.DataFrame:
    """Refusal rate per set and edit."""
    rates = [rate for rate in estimates if rate.name.startswith("refusal_rate.")]
    rows = [(*rate.name.split(".")[1:], rate.value, rate.low, rate.high, rate.n) for rate in rates]
    return pd.DataFrame(rows, columns=["label", "condition", "value", "low", "high", "n"])


def null_table(scores: pd.DataFrame, effect: Estimate) -> pd.DataFrame:
    """The fall of the refusal odds by the direction ("observed") and by every random direction."""
    random = scores[(scores.measure == "fall") & scores.family.isin(FAMILIES)]
    draws = random.groupby(["family", "draw"], sort=False)["value"].mean().reset_index()
    observed = {"family": "observed", "value": effect.value, "low": effect.low, "high": effect.high}
    return pd.concat([pd.DataFrame([observed]), draws], ignore_index=True).assign(n=effect.n)


def dose_table(meter: Meter, pushes: Pushes, ablated: Edit) -> pd.DataFrame:
    """Wanted change of the refusal odds (nats) against the KL on text (`damage`, per token)."""
    plan = [("add", dose, HARMLESS, pushes["added", dose]) for dose in SHARES[1:]]
    rows = []
    for operator, dose, on, edit in [*plan, ("remove", 1.0, HARMFUL, ablated)]:
        sign = 1 if operator == "add" else -1
        mean = bootstrap_mean(sign * (meter.scores(on, edit) - meter.scores(on)))
        damage = meter.text(edit)["kl"].mean()
        rows.append((operator, dose, damage, mean.value, mean.low, mean.high, mean.n))
    return pd.DataFrame(rows, columns=["operator", "dose", "damage", "effect", "low", "high", "n"])
