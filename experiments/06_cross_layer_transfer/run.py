"""The method of 06_cross_layer_transfer; protocol.py has the question and the criteria."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour
from experiments.lab.selection import (
    answering_prompts,
    class_activations,
    directions_of,
    gate_estimates,
)
from experiments.lab.spacing import spaced
from interp.directions import mean_difference
from interp.errors import ExperimentError
from interp.nulls import FAMILIES
from interp.sites import Site
from interp.stats import bootstrap_mean

from .estimates import (
    Rule,
    Transfer,
    explanations,
    extraction_estimates,
    generated_estimates,
    number_of_layers,
    set_estimate,
    transfer,
    transfer_estimates,
)
from .measure import (
    AGAIN,
    NO_DOSE,
    RAW,
    SET_KINDS,
    Cell,
    Job,
    Setup,
    Target,
    effect,
    layer_sets,
    mean_norm,
    nulls,
    openings,
    placements_of,
    prompts_of,
    refusals,
)
from .protocol import CRITERION_DOSE, NULL_PERCENTILE, OPERATORS, OWN_SHARE, Config, Operator
from .tables import (
    alignment_by_distance,
    alignment_estimates,
    alignment_table,
    cosine_estimate,
    cosine_table,
    direction_cosines,
    distance_table,
    matrix_table,
    prompt_table,
    set_table,
)


def prepare(config: Config, lab: Lab) -> Setup:
    """Take directions, norms and nulls from the train prompts at every layer.

    Raises ExperimentError for a model of fewer than four layers.
    """
    n_layers = lab.model.n_layers
    if n_layers < 4:
        raise ExperimentError(
            f"Transfer between layers needs a model of four or more; this one has {n_layers}."
        )
    all_layers = tuple(range(1, n_layers))
    layers = tuple(spaced(all_layers, config.n_targets))
    sites = [Site(layer, "pre") for layer in all_layers]
    prompts = answering_prompts(lab, config.n_train, config.n_prompts)
    found = directions_of(lab, sites, [config.position], prompts)
    directions = {x: found[Site(x, "pre"), config.position] for x in all_layers}
    states = class_activations(lab, sites, [config.position], prompts)
    activations = {x: (states[0][:, i, 0], states[1][:, i, 0]) for i, x in enumerate(all_layers)}
    seed = int(lab.rng("nulls of 06").integers(2**31))
    return Setup(
        prompts=prompts,
        sources=tuple(spaced(layers, config.n_sources)),
        layers=layers,
        targets=(
            *(Target(str(layer), "single", (layer,)) for layer in layers),
            *layer_sets(n_layers, config.n_set_starts, lab.rng("layer sets of 06")),
        ),
        directions=directions,
        nulls={x: nulls(directions[x], *activations[x], config.n_null, seed) for x in all_layers},
        norms={x: mean_norm(*pair) for x, pair in activations.items()},
        activations=activations,
    )


MAIN_DOSE: dict[Operator, str] = {"addition": f"{CRITERION_DOSE:g}", "ablation": NO_DOSE}


def doses(config: Config) -> list[tuple[Operator, str]]:
    """Operators with their doses, those of the criterion first."""
    others: list[str] = [f"{dose:g}" for dose in config.other_doses] + [RAW] * config.raw
    added: list[tuple[Operator, str]] = [("addition", dose) for dose in others]
    return list(dict.fromkeys([*MAIN_DOSE.items(), *added]))


def targets_of(setup: Setup, operator: Operator, dose: str) -> list[Target]:
    """Every target at the criterion's dose, single layers at the others."""
    is_main = dose == MAIN_DOSE[operator]
    return [target for target in setup.targets if is_main or target.kind == "single"]


def transfer_jobs(config: Config, setup: Setup) -> Iterator[Job]:
    """Every source at every target that leaves something to write at."""
    for operator, dose in doses(config):
        for source in setup.sources:
            for target in targets_of(setup, operator, dose):
                if target.written(source):
                    yield Job(operator, dose, setup.directions[source], source, "", 0, target)


def null_jobs(config: Config, setup: Setup) -> Iterator[Job]:
    """Every random direction at the target it was drawn for, shared by all sources.

    A set's directions are those drawn at its middle layer.
    """
    for operator, dose in doses(config):
        is_main = dose == MAIN_DOSE[operator]
        for target in targets_of(setup, operator, dose):
            at_main = config.n_null if target.kind == "single" else config.n_null_set
            n_draws = at_main if is_main else config.n_null_other
            for i, direction in enumerate(setup.nulls[target.layers[len(target.layers) // 2]]):
                family, draw = FAMILIES[i // config.n_null], i % config.n_null
                if draw < n_draws:
                    yield Job(operator, dose, direction, None, family, draw, target)


def extraction_jobs(config: Config, setup: Setup, rng: np.random.Generator) -> Iterator[Job]:
    """Directions from train prompts drawn with replacement, at their own and the next far layer."""
    for source in setup.sources:
        positive, negative = setup.activations[source]
        far = [x for x in setup.layers if abs(x - source) >= config.far_layers]
        layers = [source, *sorted(far, key=lambda x: (abs(x - source), x))[:1]]
        for draw in range(config.n_extractions):
            rows = [rng.integers(len(side), size=len(side)) for side in (positive, negative)]
            again = mean_difference(positive[rows[0]], negative[rows[1]])
            for operator, dose in MAIN_DOSE.items():
                for layer in layers:
                    target = Target(str(layer), "single", (layer,))
                    yield Job(operator, dose, again, source, AGAIN, draw, target)


def measure(config: Config, lab: Lab, setup: Setup) -> list[Cell]:
    """The effect of every job on every prompt, each saved as it is measured."""
    jobs = [
        *transfer_jobs(config, setup),
        *null_jobs(config, setup),
        *extraction_jobs(config, setup, lab.rng("extractions of 06")),
    ]
    n_prompts = {False: config.n_prompts, True: config.n_null_prompts}
    return [
        Cell(job, effect(lab, setup, job, n_prompts[job.source is None]))
        for job in lab.progress(jobs, "transfer cells")
    ]


def generated(config: Config, lab: Lab, setup: Setup, cells: Sequence[Cell]) -> pd.DataFrame:
    """Refusal rates of generated answers in cells spread evenly over the range of effects."""
    rows = []
    for operator in OPERATORS:
        prompts, length = prompts_of(setup, operator), config.max_new_tokens
        base = refusals(lab, f"answers/base/{operator}", prompts, [], length)
        chosen = list(generated_cells(config, cells, operator))
        for cell, group in lab.progress(chosen, f"cells that answer, {operator}"):
            key = f"answers/{cell.job.key}"
            rate = refusals(lab, key, prompts, placements_of(setup, cell.job), length)
            change = rate - base if operator == "addition" else base - rate
            mean = float(cell.effects.mean())
            rows.append((group, cell.job.key, mean, base, rate, change, len(prompts)))
    columns = ["group", "cell", "effect", "base_rate", "rate", "change", "n"]
    return pd.DataFrame(rows, columns=columns)


def generated_cells(
    config: Config, cells: Sequence[Cell], operator: Operator
) -> Iterator[tuple[Cell, str]]:
    """Half of the cells to generate for, with their group: the operator, or null."""
    for group, wanted in ((str(operator), config.n_generated), ("null", config.n_generated_null)):
        chosen = [
            c
            for c in cells
            if c.job.operator == operator
            and (c.job.source is None if group == "null" else c.job.is_transfer)
        ]
        chosen.sort(key=lambda c: (c.effects.mean(), c.job.key))
        for i in spaced(range(len(chosen)), wanted // 2):
            yield chosen[i], group


def run(config: Config, lab: Lab) -> Result:
    """Measure the transfer matrix, its nulls, and what explains it."""
    setup = prepare(config, lab)
    cells = measure(config, lab, setup)
    rule = Rule(config.far_layers, OWN_SHARE, NULL_PERCENTILE)
    found = {o: transfer(cells, setup, o, dose, rule) for o, dose in MAIN_DOSE.items()}
    answered = generated(config, lab, setup, cells) if config.n_generated else None
    tables = tables_of(config, setup, cells, found, int(lab.rng("alignment of 06").integers(2**31)))
    estimates = (
        *base_estimates(lab, setup),
        *operator_estimates(config, lab, setup, cells, found),
        *cosine_estimate(tables["cosines"], config.far_layers),
        *alignment_estimates(tables["alignment_pairs"]),
        *([] if answered is None else generated_estimates(answered, config.n_permutations, 0)),
    )
    by_name = {e.name: e for e in estimates}
    tables["sets"] = set_table(by_name)
    if answered is not None:
        tables["generated"] = answered
    return Result(estimates, tables, observation(by_name))


def operator_estimates(
    config: Config,
    lab: Lab,
    setup: Setup,
    cells: Sequence[Cell],
    found: Mapping[Operator, Transfer],
) -> list[Estimate]:
    """Everything estimated per operator."""
    rng, seed = lab.rng("bootstrap of 06"), int(lab.rng("permutations of 06").integers(2**31))
    n = config.n_permutations
    return [
        e
        for operator, t in found.items()
        for e in (
            *transfer_estimates(operator, t, rng),
            *(set_estimate(cells, operator, kind, rng) for kind in SET_KINDS),
            *extraction_estimates(cells, operator),
            *explanations(setup, operator, t, n, seed),
            number_of_layers(cells, operator, MAIN_DOSE[operator], n, seed),
        )
    ]


def tables_of(
    config: Config,
    setup: Setup,
    cells: Sequence[Cell],
    found: Mapping[Operator, Transfer],
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Every table that needs no estimate."""
    pairs = alignment_table(setup, seed)
    effects = matrix_table(cells, setup, doses(config), NULL_PERCENTILE)
    single = effects[effects["kind"] == "single"]
    added = single[single["operator"] == "addition"]
    tables = {
        "transfer_addition": added[added["dose"] != RAW],
        "transfer_ablation": single[single["operator"] == "ablation"],
        "transfer_sets": effects[effects["kind"] != "single"],
        "distance": pd.concat([distance_table(o, t) for o, t in found.items()]),
        "effect_cosine": cosine_table(cells, setup, MAIN_DOSE["addition"], config.far_layers),
        "cosines": direction_cosines(setup),
        "alignment": alignment_by_distance(pairs),
        "alignment_pairs": pairs,
        "per_prompt": prompt_table(cells),
    }
    if config.raw:
        tables["transfer_raw"] = added[added["dose"] == RAW]
    return tables


def base_estimates(lab: Lab, setup: Setup) -> list[Estimate]:
    """The unedited model: train prompts answered as their class says, openings score per class.

    There is no null of a base value.
    """
    found = gate_estimates(setup.prompts)
    for operator, name in (("addition", "harmless"), ("ablation", "harmful")):
        scores = openings(lab, f"base/{operator}", prompts_of(setup, operator), [])
        mean = bootstrap_mean(scores)
        found.append(
            Estimate(
                f"openings.{name}.base", mean.value, mean.low, mean.high, n=mean.n, unit="nats"
            )
        )
    return found


def observation(estimates: Mapping[str, Estimate]) -> str:
    """One paragraph with the numbers that decide."""
    parts = []
    if lacks_behaviour(estimates):
        refused, accepted = estimates["train.refused"], estimates["train.accepted"]
        parts.append(
            f"Behaviour absent: of the train prompts {refused.value:.0f} of {refused.n} harmful "
            f"ones are refused and {accepted.value:.0f} of {accepted.n} harmless ones accepted."
        )
    for operator in OPERATORS:
        present, own, far, share, passing = (
            estimates[f"{name}.{operator}"]
            for name in (
                "sources_present",
                "own_effect",
                "far_effect",
                "far_share_of_own",
                "sources_passing",
            )
        )
        parts.append(
            f"{operator.capitalize()}: at its own layer {own}, above the null for "
            f"{round(present.value * present.n)} of {present.n} sources; far from it {far}; far "
            f"over own {share}; {round(passing.value * passing.n)} of {passing.n} sources pass."
        )
    return " ".join(parts)
