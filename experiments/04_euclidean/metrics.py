"""Experiment 04, meanings (b) and (c): does the L2 metric order outputs and predict behaviour?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.curvature.inner_products import (
    INNER_PRODUCTS,
    Metric,
    lengths,
    projections,
    whitening,
)
from interp.interventions import Placement
from interp.predict import readout
from interp.scores import kl_divergence, refusal_scores
from interp.sites import Site
from interp.stats import null_interval

from .protocol import RIVALS

N_PERMUTATIONS = 200


@dataclass(frozen=True, eq=False)
class MoveTowards:
    """Move a state along the straight segment to a target: h + t (target - h)."""

    target: Float[Tensor, " d_model"]
    fraction: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        state = h.float()
        target = self.target.to(h.device, torch.float32)
        return (state + self.fraction * (target - state)).to(h.dtype)


Metrics = Mapping[str, Metric | None]


def metrics_at(
    train: Sequence[Float[np.ndarray, "sample d_model"]], causal: Metric
) -> dict[str, Metric | None]:
    """The three inner products at one site; whitening is learned on train states."""
    return {"l2": None, "whitened": whitening(train), "causal": causal}


def segment_kl(
    lab: Lab, site: Site, bases: Sequence[str], targets: Sequence[str], fractions: Sequence[float]
) -> Float[np.ndarray, "fraction base target"]:
    """KL(base || moved) in nats of the next token, for every step along every segment.

    The last prompt token's state of each base moves towards the state of each target.
    """
    tokens = lab.tokens(bases)
    goals = lab.activations(targets, [site])[:, 0, 0]

    def measure() -> list[list[list[float]]]:
        base = readout(lab.model, tokens).log_probs
        moved = [
            [
                kl_divergence(
                    base,
                    readout(
                        lab.model, tokens, [Placement(MoveTowards(goal, t), (site,), (-1,))]
                    ).log_probs,
                ).tolist()
                for goal in goals
            ]
            for t in fractions
        ]
        return np.swapaxes(np.asarray(moved), 1, 2).tolist()

    return np.asarray(lab.cell(f"output KL {site}", measure))


def segment_lengths(
    lab: Lab, site: Site, bases: Sequence[str], targets: Sequence[str], metrics: Metrics
) -> Float[np.ndarray, "metric base target"]:
    """Length of every whole segment in each metric."""
    start = lab.activations(bases, [site])[:, 0, 0].double().numpy()
    end = lab.activations(targets, [site])[:, 0, 0].double().numpy()
    steps = end[None] - start[:, None]
    return np.stack([lengths(steps, metrics[name]) for name in INNER_PRODUCTS])


def spearman(
    x: Float[np.ndarray, "*batch pair"], y: Float[np.ndarray, "*batch pair"]
) -> Float[np.ndarray, "*batch"]:
    """Rank correlation along the last axis; ties share their mean rank."""
    x, y = (rankdata(values, axis=-1) for values in (x, y))
    x, y = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (x, y))
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    # A constant score orders nothing.
    return np.divide((x * y).sum(axis=-1), scale, out=np.zeros_like(scale), where=scale > 0)


def output_correlations(
    kl: Float[np.ndarray, "site fraction base target"],
    distance: Float[np.ndarray, "site metric base target"],
) -> Float[np.ndarray, "site fraction metric"]:
    """Spearman of segment length with output KL over all pairs, per site, step and metric."""
    pairs = kl.reshape(*kl.shape[:2], 1, -1), distance.reshape(distance.shape[0], 1, 3, -1)
    return spearman(*np.broadcast_arrays(*pairs))


def resampled_correlations(
    kl: Float[np.ndarray, "site fraction base target"],
    distance: Float[np.ndarray, "site metric base target"],
    n_resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "resample site fraction metric"]:
    """Bootstrap over bases and over targets at once (Owen 2007), the same for every metric."""
    n_bases, n_targets = kl.shape[2:]
    draws = []
    for _ in range(n_resamples):
        chosen = np.ix_(rng.integers(0, n_bases, n_bases), rng.integers(0, n_targets, n_targets))
        draws.append(output_correlations(kl[:, :, *chosen], distance[:, :, *chosen]))
    return np.stack(draws)


def permuted_correlations(
    kl: Float[np.ndarray, "site fraction base target"],
    distance: Float[np.ndarray, "site metric base target"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "draw site fraction metric"]:
    """The null: bases and targets exchanged among themselves in the lengths, not in the KL."""
    n_bases, n_targets = kl.shape[2:]
    shuffles = [
        np.ix_(rng.permutation(n_bases), rng.permutation(n_targets)) for _ in range(N_PERMUTATIONS)
    ]
    return np.stack([output_correlations(kl, distance[:, :, *shuffle]) for shuffle in shuffles])


def behaviour_correlations(
    scores: Float[np.ndarray, " sample"],
    predicted: Float[np.ndarray, "site metric sample"],
) -> Float[np.ndarray, "site metric"]:
    """Spearman of each projection with the openings score over prompts."""
    return spearman(np.broadcast_to(scores, predicted.shape), predicted)


def within_class(
    scores: Float[np.ndarray, " sample"],
    predicted: Float[np.ndarray, "site metric sample"],
    labels: np.ndarray,
) -> Float[np.ndarray, "site metric"]:
    """The same inside each class, averaged over the classes."""
    parts = [
        behaviour_correlations(scores[labels == label], predicted[:, :, labels == label])
        for label in np.unique(labels)
    ]
    return np.mean(parts, axis=0)


def predicted_scores(
    lab: Lab,
    sites: Sequence[Site],
    train: Mapping[str, Sequence[str]],
    prompts: Sequence[str],
    metrics: Mapping[Site, Metrics],
) -> Float[np.ndarray, "site metric sample"]:
    """Projection of every prompt's state on the train mean difference, in each metric."""
    found = []
    for site in sites:
        harmful, harmless = (
            lab.activations(texts, [site])[:, 0, 0].double().numpy() for texts in train.values()
        )
        states = lab.activations(prompts, [site])[:, 0, 0].double().numpy()
        difference = harmful.mean(axis=0) - harmless.mean(axis=0)
        found.append([projections(states, difference, metrics[site][m]) for m in INNER_PRODUCTS])
    return np.asarray(found)


def openings_scores(lab: Lab, prompts: Sequence[str]) -> Float[np.ndarray, " sample"]:
    """Refusal openings score of every prompt, in nats."""
    measure = lambda: refusal_scores(lab.model, lab.tokens(prompts)).openings.tolist()  # noqa: E731
    return np.asarray(lab.cell("openings scores", measure))


def metric_estimates(
    meaning: str,
    value: Float[np.ndarray, " metric"],
    draws: Float[np.ndarray, "resample metric"],
    null: Float[np.ndarray, "draw metric"],
    n: int,
) -> list[Estimate]:
    """Spearman of each metric, and each rival's lead over L2 by paired resamples."""
    estimates = []
    for index, name in enumerate(INNER_PRODUCTS):
        low, high = np.percentile(draws[:, index], [2.5, 97.5])
        null_low, null_high = null_interval(null[:, index])
        estimates.append(
            Estimate(
                f"{meaning}.spearman.{name}", float(value[index]), float(low), float(high),
                null_low, null_high, n,
            )
        )  # fmt: skip
    for name in RIVALS:
        index = INNER_PRODUCTS.index(name)
        lead = draws[:, index] - draws[:, 0]
        low, high = np.percentile(lead, [2.5, 97.5])
        null_low, null_high = null_interval(null[:, index] - null[:, 0])
        estimates.append(
            Estimate(
                f"{meaning}.lead.{name}", float(value[index] - value[0]), float(low), float(high),
                null_low, null_high, n, mde=2.8 * float(lead.std(ddof=1)),
            )
        )  # fmt: skip
    return estimates


def correlation_table(
    sites: Sequence[Site],
    steps: Sequence[str],
    value: Float[np.ndarray, "site step metric"],
    draws: Float[np.ndarray, "resample site step metric"],
    null: Float[np.ndarray, "draw site step metric"],
    n: int,
) -> pd.DataFrame:
    """One row per site, step and metric, with interval and null."""
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    null_low, null_high = np.percentile(null, [2.5, 97.5], axis=0)
    rows = [
        {
            "site": str(site), "depth": site.depth, "step": step, "metric": metric,
            "value": value[i, j, k], "low": low[i, j, k], "high": high[i, j, k],
            "null_low": null_low[i, j, k], "null_high": null_high[i, j, k], "n": n,
        }
        for i, site in enumerate(sites)
        for j, step in enumerate(steps)
        for k, metric in enumerate(INNER_PRODUCTS)
    ]  # fmt: skip
    return pd.DataFrame(rows)
