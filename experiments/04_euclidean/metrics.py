"""Meanings (b) and (c): does the L2 metric order outputs and predict behaviour?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.random import Generator
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import Edit, Meter
from interp.interventions import Placement
from interp.sites import Site
from interp.stats import spearman

N_PERMUTATIONS = 200

OutputKL = Float[np.ndarray, "site fraction base target"]  # nats
Lengths = Float[np.ndarray, "site metric base target"]
Scores = Float[np.ndarray, " sample"]  # nats
Projections = Float[np.ndarray, "site metric sample"]
Labels = Int[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class MoveTowards:
    """Move a state along the straight segment to a target: h + t (target - h)."""

    target: Float[Tensor, " d_model"]
    fraction: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        state = h.float()
        target = self.target.to(h.device, torch.float32)
        return (state + self.fraction * (target - state)).to(h.dtype)


@dataclass(frozen=True, eq=False)
class Correlations:
    """Spearman of each inner product with what the model does: as measured, resampled, permuted.

    A step is a part of the segments in (b), and whether classes are kept apart in (c).
    """

    value: Float[np.ndarray, "site step metric"]
    draws: Float[np.ndarray, "draw site step metric"]
    null: Float[np.ndarray, "draw site step metric"]
    n: int  # segments or prompts
    steps: Sequence[str]


def last_states(
    lab: Lab, prompts: Sequence[str], sites: Sequence[Site]
) -> Float[np.ndarray, "site sample d_model"]:
    """States of the last prompt token, in float64."""
    states = lab.activations(prompts, sites)[:, :, 0].double()
    return states.transpose(0, 1).contiguous().numpy()


def segment_kl(
    meter: Meter, site: Site, targets: Sequence[str], fractions: Sequence[float]
) -> Float[np.ndarray, "fraction base target"]:
    """KL(base || moved) in nats of the next token, for every step along every segment.

    The last prompt token's state of each of the meter's `bases` moves towards each target's.
    """
    goals = meter.lab.activations(targets, [site])[:, 0, 0]

    def moved(fraction: float, number: int) -> Float[np.ndarray, " base"]:
        placement = Placement(MoveTowards(goals[number], fraction), (site,), (-1,))
        return meter.kl("bases", Edit(f"{site} {fraction} of the way to {number}", (placement,)))

    return np.stack([np.stack([moved(t, i) for i in range(len(goals))], 1) for t in fractions])


def output_spearman(kl: OutputKL, distance: Lengths) -> Float[np.ndarray, "site fraction metric"]:
    """Of segment length with output KL over all pairs."""
    pairs = kl.reshape(*kl.shape[:2], 1, -1), distance.reshape(*distance.shape[:2], -1)[:, None]
    return spearman(*np.broadcast_arrays(*pairs))


def output_correlations(
    kl: OutputKL, distance: Lengths, steps: Sequence[str], n_resamples: int, rng: Generator
) -> Correlations:
    """Bootstrap over bases and over targets at once (Owen 2007), the same for every metric.

    The null exchanges bases and targets among themselves in the lengths, not in the KL.
    """
    value, sizes = output_spearman(kl, distance), kl.shape[2:]
    picks = [np.ix_(*(rng.integers(0, n, n) for n in sizes)) for _ in range(n_resamples)]
    shuffles = [np.ix_(*(rng.permutation(n) for n in sizes)) for _ in range(N_PERMUTATIONS)]
    draws = [output_spearman(kl[:, :, *pick], distance[:, :, *pick]) for pick in picks]
    null = [output_spearman(kl, distance[:, :, *shuffle]) for shuffle in shuffles]
    return Correlations(value, np.stack(draws), np.stack(null), kl[0, 0].size, steps)


def behaviour_spearman(
    scores: Scores, predicted: Projections, labels: Labels
) -> Float[np.ndarray, "site step metric"]:
    """Of each projection with the openings score: over all prompts, and averaged over classes."""
    parts = [np.full(labels.shape, True), *(labels == label for label in np.unique(labels))]
    whole, *within = (
        spearman(np.broadcast_to(scores[part], predicted[..., part].shape), predicted[..., part])
        for part in parts
    )
    return np.stack([whole, np.mean(within, axis=0)], axis=1)


def behaviour_correlations(
    scores: Scores, predicted: Projections, labels: Labels, n_resamples: int, rng: Generator
) -> Correlations:
    """Bootstrap over prompts; the null exchanges the scores among them."""
    value, n = behaviour_spearman(scores, predicted, labels), len(scores)
    picks = [rng.integers(0, n, n) for _ in range(n_resamples)]
    shuffles = [rng.permutation(scores) for _ in picks]
    draws = [behaviour_spearman(scores[i], predicted[..., i], labels[i]) for i in picks]
    null = [behaviour_spearman(shuffled, predicted, labels) for shuffled in shuffles]
    steps = ("both classes", "within a class")
    return Correlations(value, np.stack(draws), np.stack(null), n, steps)
