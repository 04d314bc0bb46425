"""What experiment 06 writes where: targets, directions and nulls, and the cells it measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.selection import Prompts
from interp.directions import Direction
from interp.generation import answers
from interp.interventions import Add, Placement, ablate
from interp.nulls import FAMILIES, of_family
from interp.scores import classify, refusal_scores
from interp.sites import Site

from .protocol import Operator

SET_KINDS = ("window", "every second", "random subset", "all but source")
RAW, NO_DOSE = "raw", "none"
AGAIN = "again"  # the family of directions taken again from resampled prompts


@dataclass(frozen=True)
class Target:
    """Layers that one intervention is written at."""

    name: str
    kind: str  # "single", or one of SET_KINDS
    layers: tuple[int, ...]

    def written(self, source: int | None) -> tuple[int, ...]:
        """A set leaves out the source layer, a single layer is what it is."""
        return (
            self.layers if self.kind == "single" else tuple(x for x in self.layers if x != source)
        )


@dataclass(frozen=True, eq=False)
class Setup:
    """Directions, nulls and mean norms of every layer; `layers` are the single ones written at."""

    prompts: Prompts
    sources: tuple[int, ...]
    layers: tuple[int, ...]
    targets: tuple[Target, ...]
    directions: Mapping[int, Direction]
    nulls: Mapping[int, tuple[Direction, ...]]  # draw i of a layer was drawn like i of any other
    norms: Mapping[int, float]
    activations: Mapping[int, tuple[torch.Tensor, torch.Tensor]]  # harmful, harmless


@dataclass(frozen=True, eq=False)
class Job:
    """One direction written at one target."""

    operator: Operator
    dose: str  # share of the layer's mean norm, RAW or NO_DOSE
    direction: Direction
    source: int | None  # the layer it was taken at; None for nulls
    family: str  # one of FAMILIES, AGAIN, or empty for the layer's direction itself
    draw: int
    target: Target

    @property
    def key(self) -> str:
        """Name of the cell, unique within a run."""
        origin = "" if self.source is None else f"source{self.source}"
        drawn = f"{self.family}{self.draw}" if self.family else ""
        return f"{self.operator}/{self.dose}/{origin}{drawn}/{self.target.name}"

    @property
    def is_transfer(self) -> bool:
        """A layer's direction itself: no null, and not taken again."""
        return not self.family


@dataclass(frozen=True, eq=False)
class Cell:
    """A job with its effect on every prompt, in nats."""

    job: Job
    effects: Float[np.ndarray, " sample"]


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


def edits(
    operator: Operator,
    dose: str,
    direction: Direction,
    layers: Sequence[int],
    norms: Mapping[int, float],
) -> list[Placement]:
    """The intervention at the layers' `pre` sites, at every token.

    An addition is shared out: each of m layers gets 1/m of its dose, since what is added at one
    layer is still there at the next.
    """
    if operator == "ablation":
        return [Placement(ablate(direction.unit), tuple(Site(layer, "pre") for layer in layers))]
    lengths = {x: direction.norm if dose == RAW else float(dose) * norms[x] for x in layers}
    return [
        Placement(Add(direction.unit * (lengths[x] / len(layers))), (Site(x, "pre"),))
        for x in layers
    ]


def nulls(
    direction: Direction, positive: torch.Tensor, negative: torch.Tensor, n: int, seed: int
) -> tuple[Direction, ...]:
    """`n` random directions of each family; equal seeds make draw i alike at every layer.

    Alike means: the same isotropic vector, the same mixture of prompts, the same permutation of
    the labels; so the median over layers of a null is as correlated as that of a direction.
    """
    return tuple(
        null
        for family in FAMILIES
        for null in of_family(family, direction, positive, negative, n, seed)
    )


def mean_norm(positive: torch.Tensor, negative: torch.Tensor) -> float:
    """Mean length of the activations of both classes."""
    return float(torch.cat([positive, negative]).double().norm(dim=-1).mean())


def prompts_of(setup: Setup, operator: Operator) -> tuple[str, ...]:
    """Harmless validation prompts for addition, harmful ones for ablation."""
    harmful, harmless = setup.prompts.validation
    return harmless if operator == "addition" else harmful


def effect(lab: Lab, setup: Setup, job: Job, n_prompts: int) -> Float[np.ndarray, " sample"]:
    """How far the job moves the openings score the way it should, per prompt, in nats.

    Addition should raise it on harmless prompts, ablation lower it on harmful ones. `n_prompts` of
    the validation prompts are used.
    """
    prompts = prompts_of(setup, job.operator)
    base = openings(lab, f"base/{job.operator}", prompts, [])[:n_prompts]
    edited = openings(lab, job.key, prompts[:n_prompts], placements_of(setup, job))
    return edited - base if job.operator == "addition" else base - edited


def placements_of(setup: Setup, job: Job) -> list[Placement]:
    """What the job writes into the model."""
    layers = job.target.written(job.source)
    return edits(job.operator, job.dose, job.direction, layers, setup.norms)


def openings(
    lab: Lab, key: str, prompts: Sequence[str], placements: Sequence[Placement]
) -> Float[np.ndarray, " sample"]:
    """Openings score of every prompt under the placements, from the cell if it was measured."""

    def compute() -> list[float]:
        return refusal_scores(lab.model, lab.tokens(prompts), placements).openings.tolist()

    return np.array(lab.cell(key, compute), dtype=np.float64)


def refusals(
    lab: Lab, key: str, prompts: Sequence[str], placements: Sequence[Placement], max_new_tokens: int
) -> float:
    """Share of generated answers that refuse (not: that disclaim, or refuse and then comply)."""

    def compute() -> list[str]:
        tokens = lab.tokens(prompts)
        return [
            classify(a)
            for a in answers(lab.model, tokens, placements, max_new_tokens=max_new_tokens)
        ]

    classes = lab.cell(key, compute)
    return float(np.mean([c == "refused" for c in classes]))
