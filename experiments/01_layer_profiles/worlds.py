"""Planted states for experiment 01: a common mean, a class offset and noise, each with its law."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.worlds import PlantedLab, States, World, texts_of
from interp.data.prompt_sets import example_set
from interp.sites import Site

from .protocol import Config

N_LAYERS, D_MODEL, N_PROMPTS, N_TOPICS = 12, 48, 40, 4
NORM_GROWTH = 1.3  # per block
CONFIG = Config(n_prompts=None, n_permutations=99, n_resamples=100)


TOPICS = [
    (name, text) for i in range(N_TOPICS) for name in [f"topics {i}"] for text in texts_of(name, 30)
]


@dataclass(frozen=True)
class Law:
    """How states change with depth; the share is that of the norm that varies."""

    apart: float = 0.0  # offset of a class at the end, in norms of the common mean
    shares: tuple[float, float] = (1.3, 1.3)  # growth of the variance share per block, per half
    mid: float = 1.0  # noise at mid over what lies on the curve of pre, in variance
    alternating: bool = False  # every second layer's mid lies below instead of above


def states_of(laws: dict[tuple[str, int], Law], seed: int, draw: int = 0) -> States:
    """States by set and position; `draw` is of the noise alone."""
    common, offset = np.random.default_rng([seed, 1]).standard_normal((2, D_MODEL))

    def states(
        group: str, rows: Sequence[int], sites: Sequence[Site], positions: Sequence[int]
    ) -> Float[Tensor, "sample site pos d_model"]:
        """Half of a prompt's noise is the same at every site, half is its own."""
        topic, _, number = group.rpartition(" ")
        sign = -1.0 if group == "negative" or number in ("1", "3") else 1.0
        found = np.empty((len(rows), len(sites), len(positions), D_MODEL))
        for i, row in enumerate(rows):
            rng = np.random.default_rng([seed, draw, row, *group.encode()])
            lasting = rng.standard_normal(D_MODEL)
            for j, site in enumerate(sites):
                noise = 0.5**0.5 * (lasting + rng.standard_normal(D_MODEL))
                for k, position in enumerate(positions):
                    law = laws[topic, position]
                    parting = sign * law.apart * (site.depth / N_LAYERS) * offset
                    spread = share_at(law, site) ** 0.5 * noise
                    found[i, j, k] = NORM_GROWTH**site.depth * (common + parting + spread)
        return torch.tensor(found, dtype=torch.float32)

    return states


def share_at(law: Law, site: Site) -> float:
    """Variance share at a site."""
    middle = N_LAYERS / 2
    first, second = min(site.depth, middle), max(site.depth - middle, 0.0)
    share = 0.02 * law.shares[0] ** first * law.shares[1] ** second
    if site.stream == "mid":
        share *= 1 / law.mid if law.alternating and site.layer % 2 else law.mid
    return share


def world(
    name: str,
    truth: dict[str, bool],
    last: Law,
    instruction: Law | None = None,
    topics: Law | None = None,
    untrained: Law | None = None,
) -> World:
    """A world by its laws; controls without one do not part, and neither spreads."""
    flat = Law(shares=(1.0, 1.0))
    at = {("", -1): last, ("", -2): instruction or last}
    at |= {("topics", position): topics or flat for position in (-1, -2)}
    bare = {("", position): untrained or flat for position in (-1, -2)}

    def lab(seed: int) -> PlantedLab:
        """One draw."""
        return PlantedLab(
            states_of(at, seed),
            untrained=states_of(bare, seed, 1),
            n_layers=N_LAYERS,
            n_prompts=N_PROMPTS,
            others={"topics": example_set("topics", TOPICS, "none")},
            seed=seed,
        )

    return World(name, truth, lab)


APART, BARELY = Law(apart=0.3, mid=3.0), Law(apart=0.12, shares=(1.05, 1.05), mid=1.3)
WORLDS = (
    world("parting, spreading, streams apart", {"01a": True, "01b": True, "01c": True}, APART),
    world("the same, hardly", {"01a": True, "01b": True, "01c": True}, BARELY),
    world(
        "labels mean nothing; norm alone grows; one curve",
        {"01a": False, "01b": False, "01c": False},
        Law(shares=(1.0, 1.0)),
    ),
    world("topics part as much", {"01a": False}, APART, topics=Law(apart=0.3)),
    world("random weights part as much", {"01a": False}, APART, untrained=Law(apart=0.3)),
    world("parting at the last token alone", {"01a": False}, APART, Law(mid=3.0)),
    world("spreading in the second half alone", {"01b": False}, Law(shares=(1.0, 1.3))),
    world("streams cross", {"01c": False}, Law(mid=3.0, alternating=True)),
)
