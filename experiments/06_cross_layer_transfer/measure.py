"""What is written where, and what it does: every direction at every target, each a cell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import Edit, Meter
from experiments.lab.selection import Prompts, class_activations
from experiments.lab.spacing import spaced
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.interventions import Add, Placement
from interp.nulls import FAMILIES, of_family
from interp.sites import Site

from .protocol import CRITERION_DOSE, OPERATORS, Config, Operator

SET_KINDS = ("window", "every second", "random subset", "all but source")
RAW = "raw"  # the dose of a difference that is added at its own length
MAIN_DOSE: dict[Operator, str] = {"addition": f"{CRITERION_DOSE:g}", "ablation": "none"}
POSITION = -1  # of the token that directions are taken at

Score = TypeVar("Score", float, np.ndarray)


@dataclass(frozen=True)
class Target:
    """Layers that one intervention is written at."""

    name: str
    kind: str  # "single", or one of SET_KINDS
    layers: tuple[int, ...]

    def written(self, source: int | None) -> tuple[int, ...]:
        """A set leaves out the source layer, a single layer is what it is."""
        return tuple(x for x in self.layers if self.kind == "single" or x != source)


@dataclass(frozen=True, eq=False)
class Layer:
    """States of the train prompts of both classes, their direction, and random directions."""

    states: Float[Tensor, "sample d_model"]
    direction: Direction
    nulls: Sequence[tuple[str, int, Direction]] = ()  # family, number, direction

    @cached_property
    def norm(self) -> float:
        """Mean length of the states."""
        return float(self.states.double().norm(dim=-1).mean())


@dataclass(frozen=True, eq=False)
class Setup:
    """Every layer but the first, which of them are sources, and where directions are written."""

    layers: Mapping[int, Layer]
    sources: Sequence[int]
    singles: Sequence[int]  # the layers that are written at alone
    targets: Sequence[Target]  # those, and sets of layers


@dataclass(frozen=True, eq=False)
class Job:
    """One direction to be written at one target."""

    operator: Operator
    dose: str  # share of the layer's mean norm, RAW, or none of an ablation
    direction: Direction
    target: Target
    source: int | None = None  # the layer it was taken at; None for a random direction
    family: str = ""  # of a random direction
    draw: int = 0

    def edit(self, layers: Mapping[int, Layer]) -> Edit:
        """The intervention at `pre`, at every token, by a name that is unique within a run.

        An addition is shared out: each of m layers gets 1/m of its dose, since what is added at one
        layer is still there at the next.
        """
        origin = f"{self.family}{self.draw}" if self.source is None else f"source{self.source}"
        name = f"{self.operator}/{self.dose}/{origin}/{self.target.name}"
        sites = [Site(layer, "pre") for layer in self.target.written(self.source)]
        if self.operator == "ablation":
            return Edit(name, [self.direction.ablate(tuple(sites))])
        is_raw = self.dose == RAW
        lengths = [
            self.direction.norm if is_raw else float(self.dose) * layers[site.layer].norm
            for site in sites
        ]
        added = [Add(self.direction.unit * (length / len(sites))) for length in lengths]
        return Edit(name, [Placement(add, (site,)) for add, site in zip(added, sites, strict=True)])


def prepare(config: Config, lab: Lab, prompts: Prompts) -> Setup:
    """Take directions and nulls at every layer, from the train prompts.

    Raises ExperimentError for a model of fewer than four layers.
    """
    n_layers = lab.model.n_layers
    if n_layers < 4:
        raise ExperimentError(
            f"Transfer between layers needs a model of four or more; this one has {n_layers}."
        )
    sites = [Site(layer, "pre") for layer in range(1, n_layers)]
    seed = int(lab.rng("nulls of 06").integers(2**31))
    found = class_activations(lab, sites, [POSITION], prompts)
    layers = {
        site.layer: layer_of(site, [part[:, i, 0] for part in found], config.n_null, seed)
        for i, site in enumerate(sites)
    }
    singles = spaced(list(layers), config.n_targets)
    sets = layer_sets(n_layers, config.n_set_starts, lab.rng("layer sets of 06"))
    targets = [*(Target(str(x), "single", (x,)) for x in singles), *sets]
    return Setup(layers, spaced(singles, config.n_sources), singles, targets)


def layer_of(
    site: Site, classes: Sequence[Float[Tensor, "sample d_model"]], n_null: int, seed: int
) -> Layer:
    """With `n_null` random directions of each family; equal seeds make draws alike.

    Alike at every layer means: the same isotropic vector, the same mixture of prompts, the same
    permutation of the labels; so a null's median over layers is as correlated as a direction's.
    """
    positive, negative = classes
    direction = mean_difference(positive, negative, site, POSITION)
    drawn = {f: of_family(f, direction, positive, negative, n_null, seed) for f in FAMILIES}
    nulls = [(family, i, null) for family, of in drawn.items() for i, null in enumerate(of)]
    return Layer(torch.cat([positive, negative]), direction, nulls)


def layer_sets(n_layers: int, n_starts: int, rng: np.random.Generator) -> list[Target]:
    """Sets of layers, alike in number for each start: a window, every second, a random subset.

    Starts lie around a third of the depth (every second from 8, in a model of 24 layers). The set
    of all layers comes last; every set leaves out the source when it is written.
    """
    middle = n_layers // 3
    starts = {middle + 2 * (i - (n_starts - 1) // 2) for i in range(n_starts)}
    found = []
    for start in sorted(s for s in starts if 1 <= s <= n_layers - 2):
        second = tuple(range(start, n_layers, 2))
        window = tuple(range(start, start + len(second)))
        subset = tuple(sorted(rng.choice(np.arange(1, n_layers), len(second), replace=False)))
        found += [
            Target(f"{start} to {window[-1]}", "window", window),
            Target(f"every 2nd from {start}", "every second", second),
            Target(f"{len(subset)} random ({start})", "random subset", tuple(map(int, subset))),
        ]
    return [*found, Target("all but source", "all but source", tuple(range(1, n_layers)))]


def jobs(config: Config, setup: Setup) -> Iterator[Job]:
    """Every source and every random direction at every target that leaves something to write at.

    Sets are written at with the criterion's doses only. Random directions are shared by all
    sources; those of a set were drawn at its middle layer.
    """
    others = [f"{dose:g}" for dose in config.other_doses] + [RAW] * config.raw
    added: list[tuple[Operator, str]] = [("addition", dose) for dose in others]
    for operator, dose in dict.fromkeys([*MAIN_DOSE.items(), *added]):
        is_main = dose == MAIN_DOSE[operator]
        for target in setup.targets if is_main else setup.targets[: len(setup.singles)]:
            for source in (x for x in setup.sources if target.written(x)):
                yield Job(operator, dose, setup.layers[source].direction, target, source)
            n_draws = config.n_null if target.kind == "single" else config.n_null_set
            for family, draw, null in setup.layers[target.layers[len(target.layers) // 2]].nulls:
                if draw < (n_draws if is_main else config.n_null_other):
                    yield Job(operator, dose, null, target, None, family, draw)


def meter_of(config: Config, lab: Lab, prompts: Prompts) -> Meter:
    """Addition is measured on harmless validation prompts, ablation on harmful ones.

    Random directions are measured on the first of them, the sets `addition.null`, `ablation.null`.
    """
    sets = dict(zip(OPERATORS, reversed(prompts.validation), strict=True))
    first = {f"{name}.null": texts[: config.n_null_prompts] for name, texts in sets.items()}
    return Meter(lab, {**sets, **first}, answer_tokens=config.max_new_tokens)


def measure(config: Config, setup: Setup, meter: Meter) -> pd.DataFrame:
    """The effect of every direction at every target, one cell a row, by source; nulls come last.

    Columns: those of `Job`, the target by its name; its `kind`; the `edit` and its name, `cell`;
    `effects` on every prompt in nats, their mean `effect` and number `n`. A null has no source.
    """
    rows = []
    for job in meter.lab.progress(list(jobs(config, setup)), "transfer cells"):
        edit = job.edit(setup.layers)
        on = job.operator if job.source is not None else f"{job.operator}.null"
        edited = meter.scores(on, edit).openings
        effects = shift(job.operator, meter.scores(job.operator).openings[: len(edited)], edited)
        where = {"target": job.target.name, "kind": job.target.kind, "cell": edit.name}
        found = {"edit": edit, "effects": effects, "effect": effects.mean(), "n": len(effects)}
        rows.append({**vars(job), **where, **found})
    return pd.DataFrame(rows).sort_values("source", kind="stable")


def shift(operator: Operator, base: Score, edited: Score) -> Score:
    """How far an edit moves a score the way it should: up by addition, down by ablation."""
    return edited - base if operator == "addition" else base - edited


def generated(config: Config, meter: Meter, cells: pd.DataFrame) -> pd.DataFrame:
    """Refusal rates of generated answers in cells spread evenly over the range of effects."""
    rows = []
    for operator in OPERATORS:
        base, n = meter.refused(operator), len(meter.prompts[operator])
        ranked = cells[cells["operator"] == operator].sort_values(["effect", "cell"])
        for group, wanted in ((operator, config.n_generated), ("null", config.n_generated_null)):
            among = ranked[ranked["source"].isna() == (group == "null")]
            chosen = among.iloc[spaced(range(len(among)), wanted // 2)]
            named = f"answers, {operator}, {group}"
            for cell in meter.lab.progress(chosen.itertuples(), named, len(chosen)):
                rate = meter.refused(operator, cell.edit)
                change = shift(operator, base, rate)
                rows.append((group, cell.cell, cell.effect, base, rate, change, n))
    columns = ["group", "cell", "effect", "base_rate", "rate", "change", "n"]
    return pd.DataFrame(rows, columns=columns)
