# READ NOW, before anything else: RED_TEAM.md at the root of this worktree (from the lead)
"""The method of 06_cross_layer_transfer; protocol.py has the question and the criteria."""

from collections.abc import Mapping

from experiments.lab import selection as selecting
from experiments.lab.accuracy import accuracy_estimate
from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour
from interp.errors import ExperimentError

from . import estimates, measure, spaces, tables
from .protocol import Config

LEAST_LAYERS = 4


def run(config: Config, lab: Lab) -> Result:
    """Directions of all layers, those that count, and what they do at sets and single layers."""
    if lab.model.n_layers < LEAST_LAYERS:
        raise ExperimentError(f"Transfer needs a model of {LEAST_LAYERS} layers or more.")
    prompts = selecting.answering_prompts(lab, config.n_train, config.n_validation)
    setup = measure.prepare(config, lab, prompts)
    for layer in setup.chosen:
        lab.save_direction(f"source_{layer}", setup.layers[layer].direction)
    meter = measure.meter_for(config, lab)
    jobs = [
        *measure.set_jobs(config, setup),
        *measure.single_jobs(config, setup),
        *measure.profile_jobs(setup),
    ]
    scores = measure.scored(meter, jobs)
    answers = measure.answered(meter, jobs, setup.chosen[0])
    likeness = spaces.likeness(config, lab)
    cosines = tables.class_cosines(setup.layers)
    found = (
        *selecting.gate_estimates(prompts),
        *estimates.gate_estimates(setup.gate, scores),
        *estimates.set_estimates(scores),
        *estimates.single_estimates(scores),
        *estimates.profile_estimates(scores, cosines, int(lab.rng("06.z").integers(2**31))),
        *spaces.space_estimates(likeness),
        *estimates.rate_estimates(answers),
        accuracy_estimate(lab.model.info.name),
    )
    named = {estimate.name: estimate for estimate in found}
    drawn = {
        "sets": tables.sets_table(scores, named),
        "sources": tables.sources_table(scores, setup.gate),
        "singles": tables.singles_table(scores),
        "profile": tables.profile_table(scores, cosines),
        "cosines": tables.cosine_table(setup),
        "alignment": spaces.distance_table(likeness),
        "rates": tables.rates_table(answers, scores, named),
        "alignment_pairs": likeness,
        "gate": setup.gate,
        "scores": scores.round({"odds": 4}),
        "prompts": answers,
    }
    return Result(found, drawn, observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    absent = f"Behaviour absent: {number(e['train.refused'].value)} of {e['train.refused'].n} "
    absent += "harmful train prompts are refused. "
    return (
        f"{absent if lacks_behaviour(e) else ''}{number(e['sources'].value)} of {e['sources'].n} "
        f"sources count; the gap is {e['gap']}. Left of it, ablated at all layers but the source "
        f"and its neighbours {e['left.all_but']}, at random halves {e['left.halves']}, at every "
        f"second layer {e['left.second']}. At single far layers a direction does "
        f"{e['ratio.addition']} of the own direction's addition ({e['own.addition']}), and "
        f"{e['ratio.ablation']} of its ablation ({e['own.ablation']}). Effect and cosine of the "
        f"class means over {e['profile.partial'].n} layers: {e['profile.partial']}. The identity "
        f"explains {e['same_space.all']} of what a rotation does, {e['same_space.without']} "
        f"without the largest dimensions. Answers refused: {e['refusal_rate.base']}, everywhere "
        f"{e['refusal_rate.everywhere']}, without the source {e['refusal_rate.all_but']}."
    )
