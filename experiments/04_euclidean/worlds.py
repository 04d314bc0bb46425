"""Planted worlds for experiment 04: known geometry, a known output map, known refusal."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.planted_outputs import Follows, PlantedOutputs
from experiments.lab.worlds import PlantedLab, World
from interp.curvature.planted import on_hyperbolic, on_sphere
from interp.sites import Site

from .protocol import DEPTHS, RADII, Config

N_LAYERS, D_MODEL, N_PROMPTS = 6, 32, 100
NOISE = 0.03  # of every feature, in root mean square lengths of the states
OFFSET = np.array([1.5, 1.0, *np.full(D_MODEL - 2, 0.1)])  # of a class from the common mean
CONFIG = Config(n_prompts=None, n_bases=12, n_targets=16, n_test=None, n_resamples=100)

Shape = Literal["plane", "clusters", "t5", "box", "long", "sphere", "hyperbolic"]
Shapes = Sequence[Shape]
"""What the states lie on, per third of the depth."""


def shape_of(shape: Shape, n: int, rng: np.random.Generator) -> Float[np.ndarray, "sample d"]:
    """States of root mean square length 1 (before they are bent) of one shape.

    Flat in D_MODEL decaying components: Student's t with 5 degrees of freedom, a uniform box, 15%
    of the states at 3 times the length. In a plane: Gaussian, or three clusters 2.75 of their sd
    apart; on a sphere or a hyperbolic plane.
    """
    decaying = rng.standard_normal((n, D_MODEL)) / np.arange(1, D_MODEL + 1)
    x = rng.standard_normal((n, 2))
    if shape == "t5":
        x = decaying / np.sqrt(rng.chisquare(5, (n, 1)) / 5)
    elif shape == "box":
        x = rng.uniform(-1, 1, decaying.shape) / np.arange(1, D_MODEL + 1)
    elif shape == "long":
        x = decaying * np.where(rng.random((n, 1)) < 0.15, 3, 1)
    elif shape == "clusters":
        centres = np.array([[0.0, 1.3], [1.1, -0.6], [-1.1, -0.6]])
        x = 0.8 * x + centres[rng.integers(0, len(centres), n)]
    x /= np.sqrt((x**2).sum(axis=1).mean())
    if shape == "sphere":
        return on_sphere(x, RADII[shape])
    return on_hyperbolic(x, RADII[shape]) if shape == "hyperbolic" else x


def states_of(shapes: dict[str, Shapes], seed: int) -> Callable[..., Float[Tensor, "..."]]:
    """States of a class offset, a shape whose positions are kept over depth, and noise."""

    @cache
    def sample(group: str, shape: Shape) -> Float[np.ndarray, "sample d_model"]:
        """All prompts of a class."""
        rng = np.random.default_rng([seed, *group.encode()])
        found = shape_of(shape, N_PROMPTS, rng)[:, :D_MODEL]
        found = np.pad(found, ((0, 0), (0, D_MODEL - found.shape[1])))
        sign = 1 if group == "positive" else -1
        return sign * OFFSET + found + NOISE * rng.standard_normal(found.shape)

    def states(
        group: str, rows: Sequence[int], sites: Sequence[Site], positions: Sequence[int]
    ) -> Float[Tensor, "sample site pos d_model"]:
        """Growing a little with depth."""
        thirds = [int(site.depth / (N_LAYERS + 1) * len(DEPTHS)) for site in sites]
        at = zip(sites, thirds, strict=True)
        found = [1.02**s.depth * sample(group, shapes[group][t])[list(rows)] for s, t in at]
        return torch.tensor(np.stack(found, 1)[:, :, None], dtype=torch.float32)

    return states


def world(
    name: str,
    truth: bool,
    positive: Shapes,
    follows: tuple[Follows, Follows],
    negative: Shapes | None = None,
    refuses: bool = True,
) -> World:
    """By the shapes of both classes, and what output and refusal follow; claims are true alike."""
    shapes = {"positive": positive, "negative": negative or positive}
    weights = np.linspace(1.3, 0.7, D_MODEL)
    if "causal" in follows:
        weights[:2] = 0.005

    def lab(seed: int) -> PlantedLab:
        """One draw."""
        states = states_of(shapes, seed)
        made = PlantedLab(
            states, untrained=states, n_layers=N_LAYERS, n_prompts=N_PROMPTS, seed=seed
        )
        outputs = PlantedOutputs(made, *follows, refuses, weights, OFFSET)
        made.outputs = outputs  # type: ignore[attr-defined]
        return made

    return World(name, dict.fromkeys(("04a", "04b", "04c"), truth), lab)


def everywhere(shape: Shape) -> Shapes:
    """In every third."""
    return shape, shape, shape


T5, BOX = everywhere("t5"), everywhere("box")
LONG, CLUSTERS = everywhere("long"), everywhere("clusters")
SPHERE, HYPERBOLIC = everywhere("sphere"), everywhere("hyperbolic")
WORLDS = (
    world("flat: Student's t and a box; all follows L2", True, T5, ("l2", "l2"), BOX),
    world("flat: long states and clusters; all follows L2", True, LONG, ("l2", "l2"), CLUSTERS),
    world("sphere; all is whitened", False, SPHERE, ("whitened", "whitened")),
    world("hyperbolic; all is weighted", False, HYPERBOLIC, ("causal", "causal")),
    world(
        "sphere in the last third alone; nothing follows",
        False, ("plane", "plane", "sphere"), ("nothing", "nothing"),
    ),
    world(
        "classes bent opposite ways; output jumps; no refusal",
        False, SPHERE, ("jumps", "l2"), HYPERBOLIC, refuses=False,
    ),
)  # fmt: skip
