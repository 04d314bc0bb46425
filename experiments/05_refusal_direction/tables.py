"""From the measurements of experiment 05 to the tables that figures are drawn from."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.meter import Edit, Meter
from experiments.lab.selection import Selection
from interp.directions import Direction
from interp.stats import bootstrap_mean

from .measure import ACCEPTED, adding, fall
from .protocol import FAMILIES, SHARES, Config

LABELS = {"harmful": "harmful prompts", "harmless": "harmless tasks"}
LEFT = (0.98, 0.9, 0.5, 0.0)  # of the component, in the curve of removing it


def selection_table(selection: Selection) -> pd.DataFrame:
    """Every candidate with its status, and what random directions would do to the refusal odds."""
    table = selection.candidates.assign(base_bypass=selection.base_bypass)
    table["status"] = [text.split("; ")[0] or "passes" for text in table.failed]
    table.loc[table.selected, "status"] = "chosen"
    low, high = np.percentile(selection.base_bypass - selection.null_effects.effect, [2.5, 97.5])
    return table.assign(failed=table.failed.replace("", "none"), null_low=low, null_high=high)


def rates_table(estimates: Iterable[Estimate]) -> pd.DataFrame:
    """Refusal rate per set and edit."""
    rows = [
        (LABELS[name[1]], name[2], rate.value, rate.low, rate.high, rate.n)
        for rate in estimates
        if (name := rate.name.split("."))[0] == "refusal_rate"
    ]
    return pd.DataFrame(rows, columns=["label", "condition", "value", "low", "high", "n"])


def null_table(scores: pd.DataFrame, effect: Estimate) -> pd.DataFrame:
    """The fall of the refusal odds by the direction ("observed") and by every random direction."""
    random = scores[(scores.measure == "fall") & scores.family.isin(FAMILIES)]
    draws = random.groupby(["family", "draw"], sort=False)["value"].mean().reset_index()
    observed = {"family": "observed", "value": effect.value, "low": effect.low, "high": effect.high}
    return pd.concat([pd.DataFrame([observed]), draws], ignore_index=True).assign(n=effect.n)


def dose_table(
    meter: Meter, direction: Direction, coefficient: float, config: Config
) -> pd.DataFrame:
    """Change of the refusal odds against the KL on text, of adding and of removing more and more.

    Columns: operator, dose (times the difference; share removed), effect, low, high (nats), damage
    (nats per token), n.
    """
    added = sorted({*(share * coefficient for share in SHARES[1:]), *config.doses})
    plan = [("add", dose, adding(direction, dose)) for dose in added]
    removed = ((left, (direction.scale(left),)) for left in LEFT)
    plan += [("remove", 1 - left, Edit(f"scaled/{left:g}", edit)) for left, edit in removed]
    base, rows = meter.scores(ACCEPTED).odds, []
    for operator, dose, edit in meter.lab.progress(plan, "doses"):
        is_added = operator == "add"
        mean = bootstrap_mean(
            meter.scores(ACCEPTED, edit).odds - base if is_added else fall(meter, edit)
        )
        damage = meter.text(edit)["kl"].mean()
        rows.append((operator, dose, damage, mean.value, mean.low, mean.high, mean.n))
    columns = ["operator", "dose", "damage", "effect", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)
