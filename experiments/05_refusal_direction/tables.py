"""From the cells and estimates of experiment 05 to the tables that figures are drawn from."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.meter import Edit, Meter
from experiments.lab.selection import Selection
from interp.directions import Direction
from interp.refusal_classifier import ANSWER_CLASSES
from interp.stats import bootstrap_mean

from .estimates import by_condition
from .measure import AGAIN, Edits, edits_of, effects, prompt_ids
from .protocol import Config

SET_LABELS = {
    "harmful": "harmful prompts",
    "contrast": "harmful prompts of the contrast set",
    "harmless": "harmless tasks",
}
CONDITIONS = ("base", "ablated", "added", "orthogonalised")
N_SHOWN = 8  # prompts per set whose answers' first words are shown

Named = Mapping[str, Estimate]


def selection_table(selection: Selection, estimates: Named) -> pd.DataFrame:
    """Every candidate with its status, and what random directions would do to the bypass score."""
    effect = estimates["effect.ablation"]
    first_failed = [text.split("; ")[0] or "passes" for text in selection.candidates.failed]
    table = selection.candidates.assign(status=first_failed, base_bypass=selection.base_bypass)
    table.loc[table.selected, "status"] = "chosen"
    table["null_low"] = selection.base_bypass - (effect.null_high or 0.0)
    table["null_high"] = selection.base_bypass - (effect.null_low or 0.0)
    return table.assign(failed=[text or "none" for text in table.failed])


def rates_table(estimates: Named) -> pd.DataFrame:
    """Refusal rate per set and edit, with intervals and, where measured, null rates."""
    columns = ("value", "low", "high", "null_low", "null_high", "n")
    rows = [
        {"label": label, "condition": condition, **{name: getattr(rate, name) for name in columns}}
        for condition in CONDITIONS
        for on, label in SET_LABELS.items()
        if (rate := estimates.get(f"refusal_rate.{on}.{condition}"))
    ]
    return pd.DataFrame(rows)


def answer_rates(prompts: pd.DataFrame) -> pd.DataFrame:
    """Share of every class of answer, per set and edit."""
    rows = [
        {"set": on, "condition": condition, "answer": answer,
         "share": float((part.answer == answer).mean()), "n": len(part)}
        for (on, condition), part in by_condition(prompts.dropna(subset=["answer"])).items()
        for answer in ANSWER_CLASSES
    ]  # fmt: skip
    return pd.DataFrame(rows)


def first_words(meter: Meter, edits: Edits) -> pd.DataFrame:
    """How the answers to some prompts begin. Columns: set, prompt (id), base, edited."""
    parts = []
    for on, edit in (("harmful", edits["ablation"]), ("harmless", edits["addition"])):
        words = {"base": meter.first_words(on), "edited": meter.first_words(on, edit)}
        part = pd.DataFrame({"set": on, "prompt": prompt_ids(meter.prompts[on]), **words})
        parts.append(part.head(N_SHOWN))
    return pd.concat(parts, ignore_index=True)


def null_table(kind: str, estimates: Named, draws: pd.DataFrame) -> pd.DataFrame:
    """The effect of one edit of every random direction and of the true one ("observed").

    `cosine` is that with the true one.
    """
    effect = estimates[f"effect.{kind}"]
    observed = {"family": "observed", "draw": 0, "cosine": 1.0, "effect": effect.value}
    observed |= {"low": effect.low, "high": effect.high, "n": effect.n}
    columns = ["family", "draw", "cosine", kind]
    random = draws.loc[draws.family != AGAIN, columns].rename(columns={kind: "effect"})
    return pd.concat([pd.DataFrame([observed]), random.assign(n=effect.n)], ignore_index=True)


def dose_table(
    meter: Meter, direction: Direction, coefficient: float, draws: pd.DataFrame, config: Config
) -> pd.DataFrame:
    """Effect against damage on text of adding and of removing more and more.

    Random directions, at the coefficient and wholly removed, are the null rows.
    """
    added = ((dose, edits_of(direction, dose, f"/{dose:g}")) for dose in config.doses)
    plan = [("add", dose, "addition", edits["addition"]) for dose, edits in added]
    for factor in config.factors:
        edit = Edit(f"scaled/{factor:g}", (direction.scale(factor),))
        plan.append(("remove", 1 - factor, "ablation", edit))
    rows = []
    for operator, dose, kind, edit in meter.lab.progress(plan, "doses"):
        mean = bootstrap_mean(effects(meter, {kind: edit})[kind], seed=meter.lab.seed)
        found = {"damage": meter.text(edit)["kl"].mean(), "effect": mean.value}
        limits = {"low": mean.low, "high": mean.high, "null": False, "n": mean.n}
        rows.append({"operator": operator, "dose": dose, **found, **limits})
    for draw in draws.dropna(subset=["addition_damage"]).to_dict("records"):
        for operator, dose, kind in (("add", coefficient, "addition"), ("remove", 1.0, "ablation")):
            found = {"damage": draw[f"{kind}_damage"], "effect": draw[kind], "null": True}
            rows.append({"operator": operator, "dose": dose, **found, "n": rows[0]["n"]})
    return pd.DataFrame(rows)
