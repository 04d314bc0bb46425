"""From the measurements of experiment 05 to the tables that figures are drawn from."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.meter import Edit, Meter
from experiments.lab.selection import Selection
from interp.directions import Direction
from interp.stats import bootstrap_mean

from .measure import ACCEPTED, Effects, adding, fall
from .protocol import SHARES, Config

LABELS = {"harmful": "harmful prompts", "harmless": "harmless tasks"}
Named = Mapping[str, Estimate]


def selection_table(selection: Selection) -> pd.DataFrame:
    """Every candidate with its status, and what random directions would do to the refusal odds."""
    first_failed = [text.split("; ")[0] or "passes" for text in selection.candidates.failed]
    table = selection.candidates.assign(status=first_failed, base_bypass=selection.base_bypass)
    table.loc[table.selected, "status"] = "chosen"
    low, high = np.percentile(selection.base_bypass - selection.null_effects.effect, [2.5, 97.5])
    failed = [text or "none" for text in table.failed]
    return table.assign(failed=failed, null_low=low, null_high=high)


def rates_table(estimates: Named) -> pd.DataFrame:
    """Refusal rate per set and edit."""
    rates = [one for name, one in estimates.items() if name.startswith("refusal_rate.")]
    rows = [
        {"label": LABELS[on], "condition": condition, "value": rate.value, "low": rate.low,
         "high": rate.high, "n": rate.n}
        for rate in rates
        for _, on, condition in [rate.name.split(".")]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def null_table(effects: Effects, estimates: Named) -> pd.DataFrame:
    """The fall of the refusal odds by the direction ("observed") and by every random direction."""
    effect = estimates["effect.ablated"]
    observed = {"family": "observed", "draw": 0, "effect": effect.value}
    rows = [{**observed, "low": effect.low, "high": effect.high}]
    rows += [
        {"family": family, "draw": draw, "effect": value}
        for family, values in effects.nulls.items()
        for draw, value in enumerate(values.mean(1))
    ]
    return pd.DataFrame(rows).assign(n=effect.n)


def dose_table(
    meter: Meter, direction: Direction, coefficient: float, config: Config
) -> pd.DataFrame:
    """Change of the refusal odds against the KL on text, of adding and of removing more and more.

    Columns: operator, dose (times the difference; share removed), effect, low, high (nats), damage
    (nats per token), n.
    """
    doses = sorted({*(share * coefficient for share in SHARES[1:]), *config.doses})
    base = meter.scores(ACCEPTED).odds
    plan = [("add", dose, adding(direction, dose)) for dose in doses]
    for factor in config.factors:
        plan.append(
            ("remove", 1 - factor, Edit(f"scaled/{factor:g}", (direction.scale(factor),)))
        )
    rows = []
    for operator, dose, edit in meter.lab.progress(plan, "doses"):
        added = operator == "add"
        change = meter.scores(ACCEPTED, edit).odds - base if added else fall(meter, edit)
        mean = bootstrap_mean(change)
        found = {"operator": operator, "dose": dose, "damage": meter.text(edit)["kl"].mean()}
        rows.append({**found, "effect": mean.value, "low": mean.low, "high": mean.high, "n": mean.n})
    return pd.DataFrame(rows)


def score_table(effects: Effects, levels: np.ndarray) -> pd.DataFrame:
    """Per scored prompt (its place in the set): falls, KL, and the odds at every dose, in nats."""
    harmful = {"fall.ablated": effects.ablated[0]}
    if effects.weights is not None:
        harmful["fall.orthogonalised"] = effects.weights[0]
    accepted = {"kl.ablated": effects.kl[0]}
    accepted |= {f"odds.added.{s:g}": v for s, v in zip(SHARES, levels, strict=True)}
    parts = [
        pd.DataFrame({"set": on, "row": range(len(v)), "measure": name, "value": v})
        for on, group in (("harmful", harmful), ("accepted", accepted))
        for name, v in group.items()
    ]
    return pd.concat(parts, ignore_index=True)
