"""Cosine and variance of two classes at every site: as measured, permuted and resampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp import geometry, stats
from interp.sites import Site

PerSite = Float[np.ndarray, " site"]
Draws = Float[np.ndarray, "draw site"]


@dataclass(frozen=True)
class ClassProfiles:
    """Every quantity at every site, as measured, under permuted labels, and resampled.

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
        """Of the excess, corrected over sites by the maximum statistic."""
        return stats.max_statistic_p(self.true["excess"], self.permuted["excess"])

    def fall(self, per_site: Float[np.ndarray, "*draw site"]) -> Float[np.ndarray, "*draw"]:
        """Mean over the deeper half of the sites minus that over the shallower half."""
        deep = per_site[..., self.is_deep].mean(axis=-1)
        return deep - per_site[..., ~self.is_deep].mean(axis=-1)


def class_profiles(
    sites: Sequence[Site],
    positive: Float[Tensor, "positive site d_model"],
    negative: Float[Tensor, "negative site d_model"],
    n_permutations: int,
    n_resamples: int,
    rng: np.random.Generator,
    n_splits: int = 0,
) -> ClassProfiles:
    """Measure every site, with permutations and resamples that all sites share.

    `rest_cosine` is averaged over `n_splits` random halvings, and absent without any.
    """
    n, states = (len(positive), len(negative)), torch.cat([positive, negative])
    relabelling, redrawing, *splits = rng.integers(2**31, size=2 + n_splits).tolist()
    true = _over_sites(states, geometry.true_weights(*n), splits)
    relabelled = geometry.permuted_weights(*n, n_permutations, relabelling)
    permuted = _over_sites(states, relabelled, splits)
    # Not split: a half of a bootstrap draw would share prompts with the other half.
    redrawn = geometry.bootstrap_weights(*n, n_resamples, redrawing)
    bootstrapped = _over_sites(states, redrawn)
    expected = (1 - permuted["cosine"]).mean(axis=0)
    for found in (true, permuted):
        found["excess"] = 1 - found["cosine"] - expected
    for side, of_class in (("positive", positive), ("negative", negative)):
        true[f"largest_variance_{side}"] = geometry.maximum_variance(of_class).numpy()[None]
    measured = {key: row[0] for key, row in true.items()}
    return ClassProfiles(sites, n, measured, permuted, bootstrapped)


def _over_sites(
    states: Float[Tensor, "sample site d_model"],
    weights: geometry.Weights,
    splits: Sequence[int] = (),
) -> dict[str, Draws]:
    """Every quantity under each draw of the weights; `rest_cosine` over halvings, if any."""
    halves = [geometry.stratified_halves(weights, seed) for seed in splits]
    found: list[dict[str, np.ndarray]] = []
    for at_site in states.unbind(1):
        gram = geometry.gram_matrix(at_site)
        found.append(dict(vars(geometry.resampled(gram, weights))))
        rests = [geometry.cosine_without_common_mean(gram, weights, half) for half in halves]
        if rests:
            found[-1]["rest_cosine"] = np.mean(rests, axis=0)
    return {key: np.stack([at_site[key] for at_site in found], axis=1) for key in found[0]}
