"""Cosine and variance of two classes at every site: as measured, permuted and resampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from interp import geometry, stats
from interp.sites import Site, all_sites

from .protocol import CLASSES, N_LARGEST, POSITIONS, Config

N_SPLITS = 4  # random halvings over which the cosine without the common mean is averaged
FORMS = ("all", "without_largest")  # choices of dimensions

PerSite = Float[np.ndarray, " site"]
Draws = Float[np.ndarray, "draw site"]
States = Float[Tensor, "sample site pos d_model"]


@dataclass(frozen=True)
class Profiles:
    """Every quantity at every site, for one source of states: as measured, and resampled.

    Those of `geometry.Resampled`, `rest_cosine` without the common mean, `excess` of 1 - cosine
    over the mean of permuted labels, and, as measured alone, `largest_variance` of each class.
    """

    sites: Sequence[Site]
    n: tuple[int, int]  # prompts per class
    true: Mapping[str, PerSite]
    permuted: Mapping[str, Draws]
    bootstrapped: Mapping[str, Draws]

    @property
    def depth(self) -> PerSite:
        """Of every site, in blocks."""
        return np.array([site.depth for site in self.sites])

    @property
    def is_deep(self) -> np.ndarray:
        """Which sites are in the deeper half."""
        return self.depth >= np.median(self.depth)

    @property
    def error(self) -> PerSite:
        """Bootstrap standard error of the cosine."""
        return self.bootstrapped["cosine"].std(axis=0, ddof=1)

    @cached_property
    def p(self) -> PerSite:
        """Of the excess, corrected over sites."""
        return stats.max_statistic_p(self.true["excess"], self.permuted["excess"])

    def fall(self, per_site: Float[np.ndarray, "*draw site"]) -> Float[np.ndarray, "*draw"]:
        """Mean over the deeper half of the sites minus that over the shallower half."""
        deep = per_site[..., self.is_deep].mean(axis=-1)
        return deep - per_site[..., ~self.is_deep].mean(axis=-1)


Source = tuple[str, str, str]
"""What the states are of ("harmful", "topics", "untrained"), position, form."""


def measure(config: Config, lab: Lab) -> tuple[dict[Source, Profiles], float]:
    """Profiles of every source, and the largest share of the norm that one dimension holds."""
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    states = {"harmful": classes(config, lab, sites)}
    topics = lab.data("topics")
    states["topics"] = classes(config, lab, sites, topics.positive, topics.negative)
    states["untrained"] = classes(config, lab.untrained(), sites)
    found: dict[Source, Profiles] = {}
    for i, position in enumerate(POSITIONS):
        for name, both in states.items():
            here = [part[:, :, i] for part in both]
            found[name, position, "all"] = profiles(config, lab, sites, *here)
        pooled = torch.cat([part[:, :, i] for part in states["harmful"]])
        largest = geometry.largest_dimensions(pooled, N_LARGEST)
        kept = [geometry.without_dimensions(part[:, :, i], largest) for part in states["harmful"]]
        found["harmful", position, "without_largest"] = profiles(config, lab, sites, *kept)
    return found, float(geometry.largest_share(pooled).max())


def classes(
    config: Config, lab: Lab, sites: Sequence[Site], *given: Sequence[str]
) -> tuple[States, States]:
    """States of both classes at both positions: of the contrast set, or of the given prompts."""
    positions = [lab.position(name) for name in POSITIONS]
    found = []
    sides = given or (lab.contrast.positive, lab.contrast.negative)
    for name, texts in zip(CLASSES, sides, strict=True):
        size = min(config.n_prompts or len(texts), len(texts))
        chosen = np.sort(lab.rng(f"prompts {name}").choice(len(texts), size, replace=False))
        found.append(lab.activations([texts[i] for i in chosen], sites, positions))
    return found[0], found[1]


def profiles(
    config: Config,
    lab: Lab,
    sites: Sequence[Site],
    positive: Float[Tensor, "positive site d_model"],
    negative: Float[Tensor, "negative site d_model"],
) -> Profiles:
    """Measure one source at every site, with shared permutations and resamples."""
    n, states = (len(positive), len(negative)), torch.cat([positive, negative])
    seeds = [int(lab.rng(use).integers(2**31)) for use in ("permutation", "bootstrap")]
    splits = lab.rng("halves").integers(2**31, size=N_SPLITS).tolist()
    true = over_sites(lab, states, geometry.true_weights(*n), splits)
    relabelled = geometry.permuted_weights(*n, config.n_permutations, seeds[0])
    permuted = over_sites(lab, states, relabelled, splits)
    # Not split: a half of a bootstrap draw would share prompts with the other half.
    redrawn = geometry.bootstrap_weights(*n, config.n_resamples, seeds[1])
    bootstrapped = over_sites(lab, states, redrawn)
    expected = (1 - permuted["cosine"]).mean(axis=0)
    for found in (true, permuted):
        found["excess"] = 1 - found["cosine"] - expected
    for side, of_class in (("positive", positive), ("negative", negative)):
        true[f"largest_variance_{side}"] = geometry.maximum_variance(of_class).numpy()[None]
    return Profiles(sites, n, {key: row[0] for key, row in true.items()}, permuted, bootstrapped)


def over_sites(
    lab: Lab,
    states: Float[Tensor, "sample site d_model"],
    weights: geometry.Weights,
    splits: Sequence[int] = (),
) -> dict[str, Draws]:
    """Every quantity under each draw of the weights; `rest_cosine` over halvings, if any."""
    halves = [geometry.stratified_halves(weights, seed) for seed in splits]
    found: list[dict[str, np.ndarray]] = []
    for at_site in lab.progress(states.unbind(1), "resampling"):
        gram = geometry.gram_matrix(at_site)
        found.append(dict(vars(geometry.resampled(gram, weights))))
        rests = [geometry.cosine_without_common_mean(gram, weights, half) for half in halves]
        if rests:
            found[-1]["rest_cosine"] = np.mean(rests, axis=0)
    return {key: np.stack([at_site[key] for at_site in found], axis=1) for key in found[0]}
