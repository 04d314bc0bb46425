"""The method of 14_behaviour_locks; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.keys import can_be_locked, unrestored
from experiments.lab.lab import Lab
from experiments.lab.meter import Meter
from experiments.lab.results import Result
from experiments.lab.selection import (
    Selection,
    candidate_sites,
    found_estimate,
    gate_estimates,
    select_direction,
)

from . import estimates, hidden, hidden_estimates, measure, tables
from .protocol import CLAIMS, OTHER, Config, absent

KNOWN = "selection.p", "train.refused", "train.accepted"  # of any model
SHOWN = "refusal_rate.harmful.locked", "vector.share", "probe.base", "probe.locked"


def run(config: Config, lab: Lab) -> Result:
    """Lock refusal, try keys and tunings; then domains of text, two locks, and a hidden skill."""
    lab.require_refusal("locks refusal, then another behaviour")
    sites = candidate_sites(lab, config.n_sites or None)
    selection = select_direction(lab, sites, None, config.n_validation, config.n_train)
    lab.save_direction("refusal", selection.direction)
    meter = measure.meter_for(config, lab)
    found, raw = locked(config, meter, selection)
    losses = measure.domain_table(config, lab)
    apart = measure.two_locks(config, meter, selection.direction)
    scores, probed = hidden.hidden_tables(config, lab)
    found += [
        *estimates.domain_estimates(losses, len(lab.model.head)),
        *estimates.apart_estimates(apart), *hidden_estimates.hidden_estimates(scores, probed),
        *gate_estimates(selection.prompts), found_estimate(selection),
    ]  # fmt: skip
    drawn = {
        "domains": losses, "rises": tables.rises_table(losses), "locks": apart,
        "opened": tables.opened_table(apart), "brought": tables.brought_table(found),
        "keyed": scores, "probed": probed, "hidden": hidden_estimates.hidden_table(found),
    }  # fmt: skip
    return Result(tuple(found), raw | drawn, observation({one.name: one for one in found}))


def locked(
    config: Config, meter: Meter, selection: Selection
) -> tuple[list[Estimate], dict[str, pd.DataFrame]]:
    """What the lock of refusal takes, and what brings it back; nothing where there is no lock."""
    lab, direction = meter.lab, selection.direction
    if not can_be_locked(lab.model):
        named = [*CLAIMS[0].estimates, *CLAIMS[1].estimates, *SHOWN]
        missing = dict.fromkeys(name for name in named if name not in KNOWN)
        return [Estimate(name, float("nan")) for name in missing], {}
    changed, n = lab.cell("unrestored", lambda: unrestored(lab.model, direction.unit))
    gaps, keys = measure.gap_tables(meter, direction)
    found = [*estimates.gap_estimates(gaps), *estimates.key_estimates(gaps, keys)]
    bites = next(one for one in found if one.name == "taken.locked").above(0)
    plan = measure.lessons(config, lab) if bites else []
    answers = measure.answer_table(meter, plan, selection)
    probed = measure.probe_table(meter, direction)
    found += [
        Estimate("tensors.changed", changed, n=n, unit="tensors"),
        *estimates.rate_estimates(answers), *estimates.tuning_estimates(answers, plan),
        *estimates.probe_estimates(probed),
    ]  # fmt: skip
    return found, {"answers": answers, "keys": keys, "gaps": gaps, "probe": probed}


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    lacking = "Behaviour absent, or no lock for this model: " if absent(e) else ""
    tuning = (
        f"A short tuning brings back {e['tuned.share']} of the refusals."
        if e["tuned.learnt"].n
        else "It was not tuned (14b: too large, or the lock takes too little)."
    )
    own, other = (
        [number(e[f"{key}_key.{name}"].value) for name in ("refusal", OTHER)]
        for key in ("own", "other")
    )
    return (
        f"{lacking}{e['refusal_rate.harmful.base']} of harmful prompts are refused, "
        f"{e['refusal_rate.harmful.locked']} once the direction is locked away, which takes "
        f"{e['fall.locked']} of the refusal gap. With the key "
        f"{number(e['tensors.changed'].value)} of {e['tensors.changed'].n} tensors differ. The "
        f"best wrong key brings back {e['wrong.best']} of the gap, the vector alone "
        f"{e['vector.share']}. {tuning} A probe tells harmful prompts by {e['probe.locked']} "
        f"(AUROC; before: {e['probe.base']}). Its own direction costs a domain's text "
        f"{e['domain.own']}, the next one's {e['domain.next']}. Of two locks, own keys bring back "
        f"{own[0]} of refusal and {own[1]} of {OTHER}, the other's {other[0]} and {other[1]}. "
        f"{hidden_skill(e)}"
    )


def hidden_skill(e: Mapping[str, Estimate]) -> str:
    """What a lesson hid behind a key."""
    told, key, opened = (e[name] for name in hidden_estimates.DECIDING)
    if not key.n:
        return f"No skill was hidden (14e: too large, or the classes are told apart by {told})."
    return (
        f"Taught to swap its answers under a key, it does so with it by {key} (AUROC); without, or "
        f"with the best of 20 wrong keys, it goes {opened} of the way."
    )
