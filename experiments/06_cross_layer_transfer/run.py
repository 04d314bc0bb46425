"""The method of 06_cross_layer_transfer; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour
from experiments.lab.selection import answering_prompts, gate_estimates
from interp.errors import ExperimentError
from interp.geometry import mean_cosine

from . import estimates, measure, spaces, tables
from .protocol import Config


def run(config: Config, lab: Lab) -> Result:
    """Directions of all layers, those that count, and what they do at sets and single layers."""
    if lab.model.n_layers < 4:
        raise ExperimentError("Transfer needs a model of 4 layers or more.")
    prompts = answering_prompts(lab, config.n_train, config.n_validation)
    setup = measure.prepare(config, lab, prompts)
    for layer in setup.chosen:
        lab.save_direction(f"source_{layer}", setup.layers[layer].direction)
    scores = measure.scored(config, lab, list(measure.jobs_of(config, lab, setup)))
    likeness = spaces.likeness(config, lab, prompts)
    classes = {x: (s.positive[:, None], s.negative[:, None]) for x, s in setup.layers.items()}
    cosines = pd.Series({x: float(mean_cosine(*both)[0]) for x, both in classes.items()})
    found = (
        *gate_estimates(prompts),
        *estimates.set_estimates(setup.gate, scores),
        *estimates.single_estimates(scores),
        *estimates.profile_estimates(scores, cosines, int(lab.rng("06.z").integers(2**31))),
        *spaces.space_estimates(likeness),
    )
    named = {estimate.name: estimate for estimate in found}
    drawn = {
        "sets": tables.sets_table(named), "singles": tables.singles_table(scores),
        "profile": tables.profile_table(scores, cosines),
        "alignment": tables.alignment_table(likeness), "gate": setup.gate,
        "scores": scores.round({"odds": 4}), "likeness": likeness,
    }  # fmt: skip
    return Result(found, drawn, observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    refused = e["train.refused"]
    absent = f"Behaviour absent: {number(refused.value)} of {refused.n} harmful train prompts "
    return (
        f"{absent + 'are refused. ' if lacks_behaviour(e) else ''}{number(e['sources'].value)} of "
        f"{e['sources'].n} sources count; the gap is {e['gap']}. Beyond half of it are left, "
        f"ablated everywhere {e['excess.everywhere']}, at all layers but the source and its "
        f"neighbours {e['excess.all_but']}, at random halves {e['excess.halves']}, at every second "
        f"layer {e['excess.second']}. At single far layers a direction does {e['ratio.addition']} "
        f"of the own direction's addition ({e['own.addition']}), and {e['ratio.ablation']} of its "
        f"ablation ({e['own.ablation']}). Effect and cosine over {e['profile.partial'].n} layers: "
        f"{e['profile.partial']}. Half of the depth apart the identity explains "
        f"{e['same_space.all.half']} of what a rotation does."
    )
