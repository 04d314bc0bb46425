"""Planted worlds for experiment 04: known geometry, a known output map, known refusal."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.planted_outputs import Follows, PlantedOutputs
from experiments.lab.worlds import PlantedLab, World
from interp.curvature.planted import Surface, surface
from interp.sites import Site

from .protocol import RADII, THIRDS, Config

N_LAYERS, D_MODEL, N_PROMPTS = 6, 32, 120
NOISE = 0.03  # of every feature, in root mean square lengths of the surface
OFFSET = np.array([1.5, 1.0, *np.full(D_MODEL - 2, 0.1)])  # of a class from the common mean
CONFIG = Config(
    n_sites=1, n_flat=10, n_planted=5, n_halves=20, n_bases=24, n_targets=24, n_test=36,
    n_resamples=100,
)  # fmt: skip

Shapes = Sequence[Surface]
"""What the states lie on, per third of the depth."""


def states_of(shapes: dict[str, Shapes], seed: int) -> Callable[..., Float[Tensor, "..."]]:
    """States of a class offset, a surface whose positions are kept over depth, and noise."""

    @cache
    def sample(group: str, shape: Surface) -> Float[np.ndarray, "sample d_model"]:
        """All prompts of a class."""
        rng = np.random.default_rng([seed, *group.encode()])
        bent = surface(shape, N_PROMPTS, RADII.get(shape, 1.0), rng)[:, :D_MODEL]
        bent = np.pad(bent, ((0, 0), (0, D_MODEL - bent.shape[1])))
        sign = 1 if group == "positive" else -1
        return sign * OFFSET + bent + NOISE * rng.standard_normal(bent.shape)

    def states(
        group: str, rows: Sequence[int], sites: Sequence[Site], positions: Sequence[int]
    ) -> Float[Tensor, "sample site pos d_model"]:
        """Growing a little with depth."""
        thirds = [int(site.depth / (N_LAYERS + 1) * len(THIRDS)) for site in sites]
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
    weights = np.ones(D_MODEL)
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


FLAT: Shapes = "flat", "flat", "flat"
CLUSTERS: Shapes = "clusters", "clusters", "clusters"
SPHERE: Shapes = "sphere", "sphere", "sphere"
HYPERBOLIC: Shapes = "hyperbolic", "hyperbolic", "hyperbolic"
WORLDS = (
    world("flat; all follows L2", True, FLAT, ("l2", "l2")),
    world("flat clusters; all follows L2", True, CLUSTERS, ("l2", "l2")),
    world("sphere; all is whitened", False, SPHERE, ("whitened", "whitened")),
    world("hyperbolic; all is weighted", False, HYPERBOLIC, ("causal", "causal")),
    world(
        "sphere in the last third alone; nothing follows",
        False, ("flat", "flat", "sphere"), ("nothing", "nothing"),
    ),
    world(
        "classes bent opposite ways; output jumps; no refusal",
        False, SPHERE, ("jumps", "l2"), HYPERBOLIC, refuses=False,
    ),
)  # fmt: skip
