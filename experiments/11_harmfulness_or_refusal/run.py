"""The method of 11_harmfulness_or_refusal; protocol.py has the question and the criteria."""

from collections.abc import Mapping
from math import isfinite

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.partial_effects import Panel
from experiments.lab.results import Result
from experiments.lab.rules import MIN_PAIRS

from . import estimates, measure, tables
from .protocol import Config, inverts


def run(config: Config, lab: Lab) -> Result:
    """Regress the projections of both positions; steer if the model can judge harm at all."""
    lab.require_refusal("tells refusal from harmfulness")
    scorer, asked = measure.Scorer(lab), measure.requests(config, lab)
    prompts, sites = measure.prompt_table(scorer, asked), measure.sites_of(lab)
    panel = Panel(measure.states_of(lab, asked.texts, sites), asked.harmful.astype(np.float64),
                  prompts[["reworded_1", "reworded_2"]].to_numpy().T, asked.source,
                  asked.cluster)  # fmt: skip
    seed = int(lab.rng("11.bootstrap").integers(2**31))
    texts, scores = measure.judged(scorer, config.n_inverted)
    found = [
        *estimates.effect_estimates(panel, config.n_resamples, seed),
        estimates.refused_estimate(prompts), *estimates.unsteered_estimates(scores),
    ]  # fmt: skip
    judges = inverts({one.name: one for one in found})
    steered = measure.steered(config, scorer, texts[1]) if judges else pd.DataFrame()
    found += estimates.steering_estimates(scores, steered)
    drawn = {
        "prompts": tables.with_projections(prompts, panel, sites),
        "effects": tables.effects_table(found), "inversion": tables.inversion_table(found),
        "scores": scores,
    }  # fmt: skip
    if judges:
        drawn |= {"steering": tables.steering_table(found), "steered": steered}
    return Result(tuple(found), drawn, observation({one.name: one for one in found}))


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    absent = "Behaviour absent: " if e["refused"].value < MIN_PAIRS else ""
    refused = f"{number(e['refused'].value)} of {e['refused'].n} harmful prompts are refused"
    steering = (
        f"The harmfulness direction moves that word by {e['inversion.by_harm']} of the gap and "
        f"refusal by {e['odds.by_harm']}, the refusal direction by {e['inversion.by_refusal']} "
        f"and {e['odds.by_refusal']}."
        if isfinite(e["inversion.by_harm"].value)
        else "So nothing was steered (gate of 11b: accuracy)."
    )
    return (
        f"{absent}{refused}. Partial effect of harmfulness: "
        f"{e['harm.instruction']} at the instruction's last token, {e['harm.template']} at the "
        f"template's; of refusal: {e['refusal.instruction']} and {e['refusal.template']}. "
        f"Dissociation: {e['dissociation']} (directions of the label alone: "
        f"{e['dissociation.by_label']}, of the odds alone: {e['dissociation.by_odds']}). Odds in "
        f"both wordings correlate by {e['reliability']}, label and odds by {e['overlap']}. "
        f"The model says which requests are harmful with an accuracy of "
        f"{number(e['inversion.accuracy'].value)}, with the words swapped "
        f"{number(e['swapped.accuracy'].value)}. {steering}"
    )
