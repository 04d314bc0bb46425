"""The method of 09_repeated_ablation; protocol.py has the question and the criteria."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.meter import SHOWING
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour
from experiments.lab.selection import answering_prompts, found_estimate, gate_estimates

from . import estimates, measure, rounds
from .protocol import LEFT, Config

NAN = float("nan")
Tables = dict[str, pd.DataFrame]


def run(config: Config, lab: Lab) -> Result:
    """Ablate directions of a model that refuses; teach one that does not, and take it away."""
    lab.require_refusal("reads how a model refuses")
    found = gate_estimates(answering_prompts(lab, config.n_train, config.n_validation))
    drawn: Tables = {}
    if lacks_behaviour({one.name: one for one in found}):
        found += [Estimate("selection.p", NAN), *(Estimate(x, NAN) for x in estimates.STEERED)]
    else:
        found += steered(config, lab, drawn)
    counted = rounds.counted(lab, config)
    found += estimates.count_estimates(counted)
    drawn["counted"] = counted
    if len(loops := loop_table(counted)):
        drawn["loop"] = loops
    return Result(tuple(found), drawn, observation({one.name: one for one in found}))


def steered(config: Config, lab: Lab, drawn: Tables) -> Iterator[Estimate]:
    """What 09a, b and d ask; the tables are added to those that are drawn."""
    selection = measure.selected(lab, config)
    provenance = {"model": lab.model.info.name, "contrast": lab.contrast.name, "style": lab.style}
    lab.save_direction("refusal", replace(selection.direction, provenance=provenance))
    yield found_estimate(selection)
    edits, kl = measure.edits_of(lab, selection, config)
    answers = measure.answered(lab, edits, config)
    asked = measure.writes_chinese(lab, config)
    found = [*estimates.answer_estimates(answers)]
    yield from found
    yield Estimate("chinese.asked", sum(asked) / len(asked), n=len(asked), unit="prompts")
    yield from (Estimate(f"kl.{name}", value, unit="nats") for name, value in kl.items())
    candidates = selection.candidates.assign(effect=lambda x: selection.base_bypass - x.bypass)
    drawn |= {"prompts": answers, "answers": rates_table(found), "candidates": candidates}


def rates_table(found: list[Estimate]) -> pd.DataFrame:
    """Rates by what is counted (`label`) and what is ablated (`group`)."""
    named = {one.name: one for one in found}
    rows = [
        (label, group, one.value, one.low, one.high, one.n)
        for label in ("mixed", "reworded", "chinese")
        for group in estimates.CONDITIONS[label == "reworded" :]
        if (one := named.get(f"{label}.{group}")) is not None and one.n
    ]
    return pd.DataFrame(rows, columns=["label", "group", "value", "low", "high", "n"])


def loop_table(counted: pd.DataFrame) -> pd.DataFrame:
    """Share of harmful prompts refused, by model and number of directions ablated (`depth`)."""
    shown = counted[counted.directions >= 0]
    refused = shown.answer.isin(SHOWING)
    keys = {"group": shown.model, "depth": shown.directions}
    found = refused.groupby([*keys.values()]).agg(["mean", "size"]).reset_index()
    found.columns = [*keys, "value", "n"]
    tried = found.groupby("group").depth.transform("max") > 0
    return found[tried].sort_values(["group", "depth"], ascending=[False, True])


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    untouched = e["refused.untouched"]
    opening = f"{number(untouched.value)} of {untouched.n} harmful prompts are refused unedited"
    told = ""
    if lacks_behaviour(e):
        opening = f"Behaviour absent (09a, b, d): {opening}"
    else:
        weak = "a weak direction" if e["weak"].value else "no weak direction"
        told = (
            f" The strong direction leaves {number(e['left'].value)} of the refusals; there is "
            f"{weak}. Refused and then answered: {rates(e, 'mixed')}. Refused in another way: "
            f"{rates(e, 'reworded')}; other first sentences: {rates(e, 'sentence')}. Turned to "
            f"Chinese: {rates(e, 'chinese')}; asked for it, {number(e['chinese.asked'].value)} do."
        )
    if untouched.value > LEFT:
        return f"{opening}.{told} No rounds were taught, since it refuses already (09c)."
    if not isfinite(e["growth"].value):
        return f"{opening}.{told} No rounds were taught (09c)."
    return (
        f"{opening}.{told} Taught, the models refuse {number(e['taught.harmful'].value)} of them "
        f"or more, by {number(e['taught.gap'].value)} or more than of harmless ones. Rounds take "
        f"{number(e['directions.rounds'].value)} directions, the longest control "
        f"{number(e['directions.controls'].value)}: a growth of {e['growth']}."
    )


def rates(e: Mapping[str, Estimate], name: str) -> str:
    """The rates under all conditions, in words."""
    words = {"base": "unedited", "weak": "weak", "strong": "strong", "random": "random"}
    shown = {words[key]: e[f"{name}.{key}"] for key in words if f"{name}.{key}" in e}
    return ", ".join(f"{key} {one}" for key, one in shown.items())
