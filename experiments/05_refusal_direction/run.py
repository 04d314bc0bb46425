"""The method of 05_refusal_direction; protocol.py has the question and the criteria."""

from collections.abc import Mapping
from dataclasses import replace

from experiments.lab import selection as selecting
from experiments.lab.accuracy import accuracy_estimate
from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.meter import BASE
from experiments.lab.results import Result
from experiments.lab.rules import not_found

from . import estimates, measure, tables
from .protocol import SHARES, Config, absent


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
    coefficient = measure.choose_coefficient(coefficients)
    removals = measure.removals(lab, direction)
    doses = {*(share * coefficient for share in SHARES[1:]), *config.doses}
    added = {"base": BASE, "added": measure.adding(direction, coefficient)}
    answers = measure.answered(meter, harmful={"base": BASE, **removals}, harmless=added)
    scores = measure.scored(meter, selection, removals, coefficient, config)
    found = (
        *estimates.selection_estimates(selection, coefficient),
        *estimates.rate_estimates(answers),
        *estimates.score_estimates(scores),
        accuracy_estimate(lab.model.info.name),
    )
    named = {estimate.name: estimate for estimate in found}
    drawn = {
        "selection": tables.selection_table(selection),
        "rates": tables.rates_table(found),
        "nulls": tables.null_table(scores, named["effect.ablated"]),
        "dose_response": tables.dose_table(meter, direction, doses),
        "prompts": answers,
        "scores": scores,
        "coefficients": coefficients,
    }
    return Result(found, drawn, observation(named, selection))


def observation(e: Mapping[str, Estimate], selection: selecting.Selection) -> str:
    """One paragraph that quotes the numbers."""
    opening = f"Direction from {selection.direction.site}"
    if absent(e):
        refused = f"{number(e['train.refused'].value)} of {e['train.refused'].n}"
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
        f"tasks: {plain}, with {number(e['coefficient'].value)} times the difference added "
        f"{e['refusal_rate.harmless.added']}. A rising curve explains {e['graded.r2']} of how odds "
        f"follow the dose. Classifier accuracy {e['classifier.accuracy']}."
    )
