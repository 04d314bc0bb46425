"""Planted states for experiment 03: classes as an exclusive or that a line takes the place of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.worlds import PlantedLab, States, World
from interp.sites import Site

from .protocol import Config

N_LAYERS, D_MODEL, N_PROMPTS = 8, 64, 40
CONFIG = Config(
    n_pairs=None, n_halves=40, n_draws=6, n_permutations=39, n_gaussians=2, n_dimensions=1
)

Ends = tuple[float, float]


@dataclass(frozen=True)
class Law:
    """Sizes of the parts of a state, at the first and at the last layer."""

    tangled: Ends = (1.0, 1.0)  # exclusive or, in a plane
    line: Ends = (0.0, 0.0)  # from the middle to a class, along a line
    common: Ends = (6.0, 6.0)  # mean of all prompts
    own: Ends = (1.0, 1.0)  # of a prompt alone
    lengths: Ends = (0.0, 0.0)  # standard deviation of ln norm between prompts
    growth: float = 1.3  # of the norm, per block


def states_of(laws: dict[str, Law], seed: int) -> States:
    """States by set, alike at all positions; half of what is a prompt's own is its twin's too."""
    axes = np.random.default_rng([seed, 1]).standard_normal((D_MODEL, 4))
    common, first, second, line = np.linalg.qr(axes)[0].T

    def states(
        group: str, rows: Sequence[int], sites: Sequence[Site], positions: Sequence[int]
    ) -> Float[Tensor, "sample site pos d_model"]:
        """Of one class of a set."""
        name, _, side = group.rpartition("/")
        law, label = laws[name], 1 if side == "positive" else -1
        depth = np.array([[site.depth] for site in sites])
        found = []
        for row in rows:
            twins = np.random.default_rng([seed, row, *name.encode()])
            alone = np.random.default_rng([seed, row, *group.encode()])
            own = sum(rng.standard_normal(D_MODEL) for rng in (twins, alone))
            corner = alone.choice([-1, 1]) * (first + label * second)
            state = at(law.common, depth) * common + at(law.own, depth) * own / (2 * D_MODEL) ** 0.5
            state += at(law.tangled, depth) * corner + at(law.line, depth) * label * line
            length = np.exp(alone.standard_normal() * at(law.lengths, depth))
            found.append(law.growth**depth * length * state)
        return torch.tensor(np.array(found), dtype=torch.float32)[:, :, None]

    return states


def at(ends: Ends, depth: Float[np.ndarray, "site 1"]) -> Float[np.ndarray, "site 1"]:
    """Slowly from the first to the second."""
    return ends[0] + (ends[1] - ends[0]) * (depth / N_LAYERS) ** 2


def world(
    name: str, truth: str, law: Law, untrained: Law | None = None, twins: Law | None = None
) -> World:
    """A world by its laws; `truth` has + or - for 03a, 03b, 03c, a space where nothing is said."""
    trained, bare = {"": law, "twins": twins or law}, untrained or Law()

    def lab(seed: int) -> PlantedLab:
        """One draw."""
        return PlantedLab(
            states_of(trained, seed),
            untrained=states_of({"": bare, "twins": bare}, seed + 10**6),
            n_layers=N_LAYERS,
            n_prompts=N_PROMPTS,
            data=("twins",),
            seed=seed,
        )

    marks = zip(("03a", "03b", "03c"), truth, strict=True)
    return World(name, {key: mark == "+" for key, mark in marks if mark != " "}, lab)


ALL = Law(tangled=(1.0, 0.0), line=(0.0, 3.0), own=(1.0, 6.0))
NO_CLASSES = Law(tangled=(0.0, 0.0), own=(2.0, 2.0))
WORLDS = (
    world("untangles, expands, aligns differently", "+++", ALL),
    world("the same, hardly", "+++", Law((1.0, 0.3), (0.0, 1.2), own=(1.5, 4.0))),
    world("nothing but the norm grows", "---", Law()),
    world("random weights do as much", "---", ALL, untrained=ALL),
    world("the contrast set alone", "---", ALL, twins=Law()),
    world("classes mean nothing", "-++", replace(NO_CLASSES, own=(2.0, 8.0))),
    world("on a line everywhere", "-  ", replace(NO_CLASSES, line=(3.0, 3.0))),
    world("parts, but was never tangled", "-  ", replace(NO_CLASSES, line=(0.0, 3.0))),
    world("parts, stays tangled", "-  ", replace(NO_CLASSES, tangled=(0.5, 2.0), line=(0.0, 0.5))),
    world("the nearest neighbour fails instead", "-  ", Law(own=(1.0, 6.0))),
    world("lengths part, directions do not", " +-", Law(lengths=(0.0, 0.8))),
    world("lengths part more than directions", " +-", Law(own=(1.0, 4.0), lengths=(0.0, 0.9))),
    world("the common mean shrinks", " +-", Law(common=(6.0, 1.0), growth=1.0)),
)
