"""Errors, distances and cosines at every site: of random halves, and under permuted labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from interp import geometry
from interp.errors import DataError
from interp.few_shot import linear_errors, mean_errors, nearest_errors
from interp.sites import Site, all_sites
from interp.spread import spread

from .protocol import MIN_PAIRS, N_LARGEST, N_SHOTS, SETS, Config

Draws = Float[np.ndarray, " draw"]
States = Float[Tensor, "sample site d_model"]
Source = tuple[str, str]
"""Set of prompts, and "trained" or "untrained"."""


@dataclass(frozen=True)
class Profiles:
    """Every quantity at every site; the first row of each is of all pairs, the others of halves."""

    sites: Sequence[Site]
    n: int  # prompts per class
    of: Mapping[str, Float[np.ndarray, "draw site"]]
    states: States  # the positive class first

    def thirds(self, name: str) -> tuple[Draws, Draws]:
        """Means over the first and over the last third of the depth."""
        share = np.linspace(0, 1, len(self.sites))
        first, last = (self.of[name][:, inside] for inside in (share <= 1 / 3, share >= 2 / 3))
        return first.mean(axis=1), last.mean(axis=1)

    def change(self, name: str) -> Draws:
        """Last third minus first third."""
        first, last = self.thirds(name)
        return last - first


def measure(config: Config, lab: Lab) -> dict[Source, Profiles]:
    """Both sets, with the trained weights and with random ones."""
    streams = ("pre", "mid") if lab.model.info.has_mid else ("pre",)
    sites = all_sites(lab.model.n_layers, streams)[1:]  # 0.pre is the embedding of one token
    pairs = {name: pairs_of(config, lab, name) for name in SETS}
    found: dict[Source, Profiles] = {}
    for source, bench in (("trained", lab), ("untrained", lab.untrained())):
        for name, sides in pairs.items():
            at = [bench.position("last_instruction")]
            states = torch.cat([bench.activations(side, sites, at)[:, :, 0] for side in sides])
            found[name, source] = profiles(config, lab, name, sites, states)
    return found


def pairs_of(config: Config, lab: Lab, name: str) -> tuple[list[str], list[str]]:
    """As many harmful as harmless prompts; twins at equal places, others paired at random.

    Those that end in a full stop, if any do: the last token is then the same in all of them.
    """
    found, rng = lab.contrast if name == "contrast" else lab.data(name), lab.rng(f"pairs {name}")
    sides = [list(found.positive), list(found.negative)]
    if name == "contrast":
        sides = [[side[i] for i in rng.permutation(len(side))] for side in sides]
    pairs = list(zip(*sides, strict=False))
    pairs = [pair for pair in pairs if all(text.endswith(".") for text in pair)] or pairs
    if len(pairs) < MIN_PAIRS:
        raise DataError(f"{MIN_PAIRS} or more prompts per class are needed; {name}: {len(pairs)}.")
    chosen = np.sort(rng.permutation(len(pairs))[: config.n_pairs])
    return [pairs[i][0] for i in chosen], [pairs[i][1] for i in chosen]


def profiles(
    config: Config, lab: Lab, name: str, sites: Sequence[Site], states: States
) -> Profiles:
    """Every quantity, on halves that are the same for every source of states."""
    n = len(states) // 2
    order = np.argsort(lab.rng(f"halves {name}").random((config.n_halves, n)), axis=1)
    inside = np.ones((1 + config.n_halves, n), dtype=bool)
    np.put_along_axis(inside[1:], order[:, n // 2 :], False, axis=1)
    kept = geometry.without_dimensions(states, geometry.largest_dimensions(states, N_LARGEST))
    found = []
    for whole, rest in lab.progress(zip(states.unbind(1), kept.unbind(1)), name, len(sites)):
        gram = geometry.gram_matrix(whole)
        without = spread_within(geometry.gram_matrix(rest), inside)
        found.append({f"{key}.without_largest": draws for key, draws in without.items()})
        found[-1] |= errors(config, lab, name, gram, order[:, : n // 2]) | spread_within(
            gram, inside
        )
    of = {key: np.stack([at_site[key] for at_site in found], axis=1) for key in found[0]}
    return Profiles(sites, n, of, states)


def errors(
    config: Config, lab: Lab, name: str, gram: np.ndarray, halves: np.ndarray
) -> dict[str, Draws]:
    """Errors of both rules within every half, before them their mean; `permuted` of the linear one.

    There the labels are flipped in a random half of the pairs, and all pairs are drawn from.
    """
    size, ones = (config.n_permutations, len(gram) // 2), np.ones((len(halves), len(gram) // 2))
    flips = lab.rng(f"labels {name}").choice([-1.0, 1.0], size)
    found = {}
    for key, rule, signs, pairs in (
        ("linear", linear_errors, ones, halves),
        ("nearest", nearest_errors, ones, halves),
        ("permuted", linear_errors, flips, np.broadcast_to(np.arange(size[1]), size)),
    ):
        rng = lab.rng(f"draws {name}")  # the same for both rules, all sites and all sources
        means = mean_errors(rule, gram, signs, pairs, N_SHOTS, config.n_draws, rng)
        found[key] = np.concatenate([[means.mean()], means])
    return found


def spread_within(gram: np.ndarray, inside: np.ndarray) -> dict[str, Draws]:
    """Distances, cosines and norms within a class, averaged over both classes."""
    n = len(gram) // 2
    classes = [spread(block, inside) for block in (gram[:n, :n], gram[n:, n:])]
    return {name: (classes[0][name] + classes[1][name]) / 2 for name in classes[0]}
