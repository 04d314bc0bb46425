"""The method of 05_refusal_direction; protocol.py has the question and the criteria."""

from collections.abc import Mapping
from dataclasses import replace

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit
from experiments.lab.results import Result
from experiments.lab.rules import not_found
from experiments.lab.selection import (
    Selection,
    candidate_positions,
    candidate_sites,
    select_direction,
)

from . import estimates, measure, tables
from .protocol import Config, absent


def run(config: Config, lab: Lab) -> Result:
    """Choose the direction and its coefficient, measure every edit on the test prompts."""
    selection = select_direction(
        lab,
        candidate_sites(lab, config.n_sites or None),
        candidate_positions(lab, config.n_positions or None),
        config.n_validation,
        config.n_train,
    )
    direction = selection.direction
    lab.save_direction("refusal", replace(direction, provenance=provenance(lab, selection)))
    meter = measure.meter_for(config, lab, selection)
    coefficients = measure.coefficient_rates(meter, direction)
    coefficient = measure.choose_coefficient(coefficients)
    edits = {
        ("harmful", "base"): BASE,
        ("harmful", "ablated"): Edit("ablated", (direction.ablate(),)),
        ("harmless", "base"): BASE,
        ("harmless", "added"): measure.adding(direction, coefficient),
    }
    if weights := measure.weights_edit(lab, direction):
        edits["harmful", "orthogonalised"] = weights
    answers = measure.answered(meter, edits)
    effects = measure.effects(meter, selection, weights, config)
    levels = measure.levels(meter, direction, coefficient)
    found = (
        *estimates.selection_estimates(selection, coefficient),
        *estimates.rate_estimates(answers),
        *estimates.effect_estimates(effects),
        *estimates.level_estimates(levels),
        estimates.accuracy_estimate(lab.model.info.name),
    )
    named = {estimate.name: estimate for estimate in found}
    drawn = {
        "selection": tables.selection_table(selection),
        "rates": tables.rates_table(named),
        "nulls": tables.null_table(effects, named),
        "dose_response": tables.dose_table(meter, direction, coefficient, config),
        "prompts": answers,
        "scores": tables.score_table(effects, levels),
        "coefficients": coefficients,
    }
    return Result(tuple(named.values()), drawn, observation(named, selection))


def provenance(lab: Lab, selection: Selection) -> dict[str, str]:
    """What a later user of the saved direction has to know."""
    return {
        "model": lab.model.info.name,
        "contrast": lab.contrast.name,
        "style": lab.style,
        "p": number(selection.p),
        "found": "yes" if selection.found else "no: it does not beat random directions",
    }


def observation(e: Mapping[str, Estimate], selection: Selection) -> str:
    """One paragraph that quotes the numbers."""
    site, position = selection.direction.site, selection.direction.position
    opening = f"Direction from {site}, position {position}. "
    if absent(e):
        refused = f"{number(e['train.refused'].value)} of {e['train.refused'].n}"
        opening = f"Behaviour absent: {refused} harmful train prompts are refused. {opening}"
    elif not_found(e):
        opening = (
            f"No direction found: the best of {len(selection.candidates)} candidates, from {site}, "
            f"does not beat random directions (p = {number(selection.p)}). "
        )
    elif not selection.passed:
        opening += f"No candidate met every constraint; this one: {selection.chosen.failed}. "
    weights = e.get("refusal_rate.harmful.orthogonalised", "not to be had")
    return (
        f"{opening}Refusal on {e['refusal_rate.harmful.base'].n} harmful prompts: "
        f"{e['refusal_rate.harmful.base']}, ablated {e['refusal_rate.harmful.ablated']}, taken out "
        f"of the weights {weights}. Ablation lowers the refusal odds by {e['effect.ablated']} and "
        f"costs accepted harmless prompts a KL of {e['kl.accepted.ablated']}. On "
        f"{e['refusal_rate.harmless.base'].n} harmless tasks: {e['refusal_rate.harmless.base']}, "
        f"with {number(e['coefficient'].value)} times the difference added "
        f"{e['refusal_rate.harmless.added']}. A rising curve explains {e['graded.r2']} of how the "
        f"odds follow the dose; the largest step is {e['graded.step']} of their range of "
        f"{e['graded.range']}. Classifier accuracy {e['classifier.accuracy']}."
    )
