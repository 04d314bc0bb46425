"""Errors, distances and cosines at every site: of random halves, and under permuted labels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.halves import Draws, Profiles, halves, inside
from experiments.lab.lab import Lab
from experiments.lab.pairs import pairs_of
from interp import geometry
from interp.few_shot import linear_errors, mean_errors, nearest_errors
from interp.sites import Site, all_sites
from interp.spread import spread_within

from .protocol import MIN_PAIRS, N_LARGEST, N_SHOTS, SETS, Config

States = Float[Tensor, "sample site d_model"]
Source = tuple[str, str]
"""Set of prompts, and "trained" or "untrained"."""


def measure(config: Config, lab: Lab) -> tuple[dict[Source, Profiles], dict[Source, States]]:
    """Profiles and states of both sets, with the trained weights and with random ones.

    The harmful prompts are first, and row 0 of errors is the mean over halves.
    """
    streams = ("pre", "mid") if lab.model.info.has_mid else ("pre",)
    sites = all_sites(lab.model.n_layers, streams)[1:]  # 0.pre is the embedding of one token
    pairs = {name: pairs_of(lab, name, config.n_pairs, MIN_PAIRS) for name in SETS}
    found: dict[Source, Profiles] = {}
    states: dict[Source, States] = {}
    once = replace(config, n_permutations=1)  # nothing is read from those of random weights
    for source, bench, settings in (("trained", lab, config), ("untrained", lab.untrained(), once)):
        for name, sides in pairs.items():
            at = [bench.position("last_instruction")]
            here = torch.cat([bench.activations(side, sites, at)[:, :, 0] for side in sides])
            found[name, source] = profiles(settings, lab, name, sites, here)
            states[name, source] = here
    return found, states


def profiles(
    config: Config, lab: Lab, name: str, sites: Sequence[Site], states: States
) -> Profiles:
    """Every quantity, on halves that are the same for every source of states."""
    n = len(states) // 2
    half = halves(n, config.n_halves, lab.rng(f"halves {name}"))
    within = inside(n, half)
    kept = geometry.without_dimensions(states, geometry.largest_dimensions(states, N_LARGEST))
    found = []
    for whole, rest in lab.progress(zip(states.unbind(1), kept.unbind(1)), name, len(sites)):
        gram, without = geometry.gram_matrix(whole), geometry.gram_matrix(rest)
        at_site = errors(config, lab, name, gram, half) | spread_within(gram, within)
        parts = spread_within(without, within).items()
        found.append(at_site | {f"{key}.without_largest": draws for key, draws in parts})
    of = {key: np.stack([at_site[key] for at_site in found], axis=1) for key in found[0]}
    return Profiles(sites, n, of)


def errors(
    config: Config, lab: Lab, name: str, gram: np.ndarray, half: np.ndarray
) -> dict[str, Draws]:
    """Errors of both rules within every half, before them their mean; `permuted` of the linear one.

    There the labels are flipped in a random half of the pairs, and all pairs are drawn from.
    """
    size, ones = (config.n_permutations, len(gram) // 2), np.ones((len(half), len(gram) // 2))
    flips = lab.rng(f"labels {name}").choice([-1.0, 1.0], size)
    found = {}
    for key, rule, signs, pairs in (
        ("linear", linear_errors, ones, half),
        ("nearest", nearest_errors, ones, half),
        ("permuted", linear_errors, flips, np.broadcast_to(np.arange(size[1]), size)),
    ):
        rng = lab.rng(f"draws {name}")  # the same for both rules, all sites and all sources
        means = mean_errors(rule, gram, signs, pairs, N_SHOTS, config.n_draws, rng)
        found[key] = np.concatenate([[means.mean()], means])
    return found
