"""The method of 05_refusal_direction; protocol.py has the question and the criteria."""

from collections.abc import Mapping
from dataclasses import replace
from math import isnan

from experiments.lab import selection as selecting
from experiments.lab.accuracy import accuracy_estimate
from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.rules import not_found

from . import estimates, measure, tables
from .protocol import COEFFICIENTS, Config, absent


def run(config: Config, lab: Lab) -> Result:
    """Choose the direction and its coefficient, measure every edit on the test prompts."""
    sites = selecting.candidate_sites(lab, config.n_sites or None)
    positions = selecting.candidate_positions(lab, config.n_positions or None)
    sizes = config.n_validation, config.n_train
    selection = selecting.select_direction(lab, sites, positions, *sizes)
    direction = selection.direction
    provenance = {"model": lab.model.info.name, "contrast": lab.contrast.name, "style": lab.style}
    provenance |= {"p": number(selection.p), "found": "yes" if selection.found else "no"}
    lab.save_direction("refusal", replace(direction, provenance=provenance))
    meter = measure.meter_for(config, lab, selection)
    coefficients = measure.coefficient_rates(meter, direction)
    chosen = measure.choose_coefficient(coefficients)
    most = COEFFICIENTS[0] if isnan(chosen) else chosen
    pushes = measure.pushes_of(lab, selection, most, config.n_nulls)
    removals = measure.removals(lab, direction)
    scores = measure.scored(meter, selection, removals, pushes, config)
    added = {"added": pushes["added", 1.0], **measure.strongest(scores, pushes)}
    answers = measure.answered(meter, harmful=removals, harmless=added)
    found = [*estimates.selection_estimates(selection, chosen), *estimates.rate_estimates(answers)]
    found += [*estimates.score_estimates(scores), accuracy_estimate(lab.model.info.name)]
    named = {estimate.name: estimate for estimate in found}
    drawn = {
        "selection": tables.selection_table(selection), "rates": tables.rates_table(found),
        "nulls": tables.null_table(scores, named["effect.ablated"]),
        "dose_response": tables.dose_table(meter, pushes, removals["ablated"]),
        "prompts": answers, "scores": scores, "coefficients": coefficients,
    }  # fmt: skip
    return Result(tuple(found), drawn, observation(named, selection))


def observation(e: Mapping[str, Estimate], selection: selecting.Selection) -> str:
    """One paragraph that quotes the numbers."""
    opening = f"Direction from {selection.direction.site}"
    if absent(e):
        refused = f"{e['train.refused'].value:g} of {e['train.refused'].n}"
        opening = f"Behaviour absent: {refused} harmful train prompts are refused. {opening}"
    elif not_found(e):
        opening = f"No direction found: none beats random ones. {opening}"
    elif not selection.passed:
        opening += f" ({selection.chosen.failed})"
    base, plain = (e[f"refusal_rate.{on}.base"] for on in ("harmful", "harmless"))
    return (
        f"{opening}. Refusal on {base.n} harmful prompts: {base}, ablated "
        f"{e['refusal_rate.harmful.ablated']}; the refusal odds fall by {e['effect.ablated']}, at "
        f"a KL of {e['kl.accepted.ablated']} on accepted harmless prompts. On {plain.n} harmless "
        f"tasks: {plain}, with the direction added {e['refusal_rate.harmless.added']}. A rising "
        f"curve explains {e['graded.r2']} of how odds follow the dose, up to a coefficient of "
        f"{number(e['coefficient'].value)}. Classifier accuracy {e['classifier.accuracy']}."
    )
