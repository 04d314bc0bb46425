"""Cosine and variance of two classes at every site: as measured, permuted and resampled."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from interp import geometry, stats

from .protocol import CLASSES, SIGNIFICANCE

N_SPLITS = 4  # random halvings over which the cosine without the common mean is averaged
FORMS = {"all": "", "without_largest": ".without_largest"}
"""Choices of dimensions, and what the names of their estimates end in"""

Draws = Float[np.ndarray, "draw site"]


@dataclass(frozen=True)
class Profiles:
    """Every quantity at every site for one choice of dimensions: as measured, and resampled."""

    true: Mapping[str, Float[np.ndarray, " site"]]
    permuted: Mapping[str, Draws]
    bootstrapped: Mapping[str, Draws]
    largest_variance: Mapping[str, Float[np.ndarray, " site"]]  # per class


@dataclass(frozen=True)
class Excess:
    """1 - cosine beyond the mean of permuted labels, per site."""

    value: Float[np.ndarray, " site"]
    null: Draws
    error: Float[np.ndarray, " site"]  # bootstrap standard error
    p: Float[np.ndarray, " site"]  # corrected over sites
    threshold: float  # 95th percentile of the largest null excess over sites


def profiles(
    positive: Float[Tensor, "positive site d_model"],
    negative: Float[Tensor, "negative site d_model"],
    lab: Lab,
    form: str,
    n_permutations: int,
    n_resamples: int,
) -> Profiles:
    """Measure one choice of dimensions at every site, with shared permutations and resamples.

    `form` names the choice in the progress that is shown.
    """
    n, m = len(positive), len(negative)
    seeds = [int(lab.rng(purpose).integers(2**31)) for purpose in ("permutation", "bootstrap")]
    split_seeds = lab.rng("halves").integers(2**31, size=N_SPLITS)
    draws = {
        "true": geometry.true_weights(n, m),
        "permuted": geometry.permuted_weights(n, m, n_permutations, seeds[0]),
        "bootstrapped": geometry.bootstrap_weights(n, m, n_resamples, seeds[1]),
    }
    # Not for bootstrap draws: a half of one shares prompts with the other half.
    splits = {
        kind: [geometry.stratified_halves(draws[kind], int(seed)) for seed in split_seeds]
        for kind in ("true", "permuted")
    }
    pooled = torch.cat([positive, negative])
    found: dict[str, list[dict[str, np.ndarray]]] = {kind: [] for kind in draws}
    for site in lab.progress(range(pooled.shape[1]), f"resampling, {form.replace('_', ' ')}"):
        gram = geometry.gram_matrix(pooled[:, site])
        for kind, weights in draws.items():
            measured = dict(vars(geometry.resampled(gram, weights)))
            if kind in splits:
                rest = [
                    geometry.cosine_without_common_mean(gram, weights, half)
                    for half in splits[kind]
                ]
                measured["rest_cosine"] = np.mean(rest, axis=0)
            found[kind].append(measured)
    stacked = {kind: stack(per_site) for kind, per_site in found.items()}
    largest = {
        name: geometry.maximum_variance(activations).numpy()
        for name, activations in zip(CLASSES, (positive, negative), strict=True)
    }
    true = {name: values[0] for name, values in stacked["true"].items()}
    return Profiles(true, stacked["permuted"], stacked["bootstrapped"], largest)


def stack(per_site: list[dict[str, np.ndarray]]) -> dict[str, Draws]:
    """From one dictionary per site to one array [draw site] per quantity."""
    return {name: np.stack([site[name] for site in per_site], axis=1) for name in per_site[0]}


def excess_of(form: Profiles) -> Excess:
    """Excess of 1 - cosine over the permutation mean, its null, and the maximum statistic."""
    permuted = 1 - form.permuted["cosine"]
    expected = permuted.mean(axis=0)
    value, null = 1 - form.true["cosine"] - expected, permuted - expected
    return Excess(
        value,
        null,
        form.bootstrapped["cosine"].std(axis=0, ddof=1),
        stats.max_statistic_p(value, null),
        float(np.quantile(null.max(axis=1), 1 - SIGNIFICANCE)),
    )
