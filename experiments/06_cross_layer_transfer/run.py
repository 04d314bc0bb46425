"""The method of 06_cross_layer_transfer; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour
from experiments.lab.selection import answering_prompts, gate_estimates

from . import estimates, tables
from .measure import SET_KINDS, generated, measure, meter_of, prepare
from .protocol import OPERATORS, Config


def run(config: Config, lab: Lab) -> Result:
    """Measure the transfer matrix, its nulls, and what explains it."""
    prompts = answering_prompts(lab, config.n_train, config.n_prompts)
    setup, meter = prepare(config, lab, prompts), meter_of(config, lab, prompts)
    cells = measure(config, setup, meter)
    transfers = {o: estimates.transfer(cells, setup, o, config.far_layers) for o in OPERATORS}
    cosines = tables.cosine_table(setup)
    likeness, of_likeness = tables.likeness(setup, int(lab.rng("alignment of 06").integers(2**31)))
    frames = {
        **tables.matrices(cells),
        "distance": pd.concat([tables.distance_table(*item) for item in transfers.items()]),
        "effect_cosine": tables.effect_by_cosine(cells, setup, config.far_layers),
        "cosines": cosines,
        "alignment": likeness,
        "per_prompt": tables.per_prompt(cells),
    }
    found = [*gate_estimates(prompts), *estimates.base_estimates(meter)]
    rng, seed = lab.rng("bootstrap of 06"), int(lab.rng("permutations of 06").integers(2**31))
    for operator, t in transfers.items():
        found += estimates.transfer_estimates(operator, t, rng)
        found += [estimates.set_estimate(cells, operator, kind, rng) for kind in SET_KINDS]
        found += estimates.explanations(operator, t, setup, config.n_permutations, seed)
    found += [*tables.cosine_estimates(cosines, config.far_layers), *of_likeness]
    if config.n_generated:
        frames["generated"] = generated(config, meter, cells)
        found += estimates.generated_estimates(frames["generated"], config.n_permutations)
    by_name = {estimate.name: estimate for estimate in found}
    return Result(tuple(found), {**frames, "sets": tables.set_table(by_name)}, observation(by_name))


def observation(found: Mapping[str, Estimate]) -> str:
    """One paragraph with the numbers that decide."""
    parts = []
    if lacks_behaviour(found):
        refused, accepted = found["train.refused"], found["train.accepted"]
        parts.append(
            f"Behaviour absent: of the train prompts {refused.value:.0f} of {refused.n} harmful "
            f"ones are refused and {accepted.value:.0f} of {accepted.n} harmless ones accepted."
        )
    for operator in OPERATORS:
        names = "sources_present", "own_effect", "far_effect", "far_share_of_own", "sources_passing"
        present, own, far, share, passing = (found[f"{name}.{operator}"] for name in names)
        parts.append(
            f"{operator.capitalize()}: at its own layer {own}, above the null for "
            f"{round(present.value * present.n)} of {present.n} sources; far from it {far}; far "
            f"over own {share}; {round(passing.value * passing.n)} of {passing.n} sources pass."
        )
    return " ".join(parts)
