"""The method of 05_refusal_direction; protocol.py has the question and the criteria."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.rules import not_found
from experiments.lab.selection import (
    Selection,
    candidate_positions,
    candidate_sites,
    select_direction,
)

from . import estimates, measure, tables
from .protocol import MAX_INCOHERENT, NEAR_BEST, Config, absent


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
    meter = measure.meter_for(config, lab, selection.prompts)
    coefficients = measure.coefficient_rates(meter, direction)
    coefficient = choose_coefficient(coefficients)
    edits = measure.tested_edits(lab, direction, coefficient)
    first_tokens, threshold = measure.refusal_tokens(meter, selection.prompts)
    prompts = measure.scored(meter, edits, first_tokens)
    draws = measure.drawn_directions(meter, selection, coefficient, config)
    effects = measure.effects(meter, edits)
    found = (
        *estimates.selection_estimates(selection, coefficient),
        *estimates.rate_estimates(prompts, draws),
        *estimates.openings_estimates(prompts, effects, draws),
        *estimates.damage_estimates(meter, edits, prompts),
        *estimates.token_estimates(prompts, threshold),
        estimates.accuracy_estimate(lab.model.info.name),
    )
    named = {estimate.name: estimate for estimate in found}
    drawn = {
        "selection": tables.selection_table(selection, named),
        "rates": tables.rates_table(named),
        "dose_response": tables.dose_table(meter, direction, coefficient, draws, config),
        **{f"nulls_{kind}": tables.null_table(kind, named, draws) for kind in effects},
        "answers": tables.answer_rates(prompts),
        "first_words": tables.first_words(meter, edits),
        "prompts": prompts,
        "coefficients": coefficients,
        "reextractions": draws.loc[draws.family == measure.AGAIN, ["draw", "cosine", *effects]],
    }
    return Result(found, drawn, observation(named, selection))


def provenance(lab: Lab, selection: Selection) -> dict[str, str]:
    """What a later user of the saved direction has to know."""
    return {
        "model": lab.model.info.name,
        "contrast": lab.contrast.name,
        "style": lab.style,
        "p": number(selection.p),
        "found": "yes" if selection.found else "no: it does not beat random directions",
    }


def choose_coefficient(rates: pd.DataFrame) -> float:
    """The coefficient that the criterion's rule takes from the rates on validation prompts."""
    coherent = rates.loc[rates.incoherent <= MAX_INCOHERENT]
    if not len(coherent):
        return float(rates.coefficient.min())
    near_best = coherent.loc[coherent.refused >= coherent.refused.max() - NEAR_BEST]
    return float(near_best.coefficient.min())


def observation(e: Mapping[str, Estimate], selection: Selection) -> str:
    """One paragraph that quotes the numbers."""
    site, position = selection.direction.site, selection.direction.position
    refused = f"{number(e['train.refused'].value)} of {e['train.refused'].n}"
    opening = f"Direction from {site}, position {position}. "
    if absent(e):
        opening = f"Behaviour absent: {refused} harmful train prompts are refused. {opening}"
    elif not_found(e):
        opening = (
            f"No direction found: the best of {len(selection.candidates)} candidates, from {site}, "
            f"does not beat random directions (p = {number(selection.p)}). "
        )
    elif not selection.passed:
        opening += f"No candidate met every constraint; this one: {selection.chosen.failed}. "
    return (
        f"{opening}Refusal on {e['refusal_rate.harmful.base'].n} harmful prompts: "
        f"{e['refusal_rate.harmful.base']}, ablated {e['refusal_rate.harmful.ablated']} (KL on "
        f"harmless {e['kl.harmless.ablated']}). On {e['refusal_rate.harmless.base'].n} harmless "
        f"tasks: {e['refusal_rate.harmless.base']}, with {number(e['coefficient'].value)} times "
        f"the difference added {e['refusal_rate.harmless.added']} (KL {e['kl.harmless.added']}). "
        f"On the openings score ablation does {e['effect.ablation']}, the strongest isotropic or "
        f"covariance-matched random direction {e['effect.ablation.largest_null']}; addition "
        f"{e['effect.addition']}, against {e['effect.addition.largest_null']}. Classifier accuracy "
        f"{e['classifier.accuracy']}."
    )
