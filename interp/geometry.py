"""Profiles over layers of two classes of activations: means, variances, norms and separation.

Some functions take activations. `resampled` takes the Gram matrix of one site and any number of
sample weights, and gives its quantities for every permutation of the labels or bootstrap resample
at the cost of one matrix product, whatever d_model is: they depend on inner products alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import ActivationError


def mean_cosine(
    positive: Float[Tensor, "positive site d_model"],
    negative: Float[Tensor, "negative site d_model"],
) -> Float[Tensor, " site"]:
    """Cosine of the two class means, per site; float64."""
    first, second = positive.double().mean(0), negative.double().mean(0)
    return torch.nn.functional.cosine_similarity(first, second, dim=-1)


def mean_variance(
    activations: Float[Tensor, "sample site d_model"],
) -> Float[Tensor, " site"]:
    """Variance over samples (divisor n - 1), averaged over features; float64."""
    return activations.double().var(0).mean(-1)


def maximum_variance(
    activations: Float[Tensor, "sample site d_model"],
) -> Float[Tensor, " site"]:
    """Variance over samples (divisor n - 1) of the feature where it is largest; float64."""
    return activations.double().var(0).amax(-1)


def largest_dimensions(
    activations: Float[Tensor, "sample site d_model"], k: int
) -> Int[Tensor, "site k"]:
    """The k features that hold most of the squared norm of the mean, per site, largest first."""
    return activations.double().mean(0).square().topk(k, dim=-1).indices


def without_dimensions(
    activations: Float[Tensor, "sample site d_model"], dimensions: Int[Tensor, "site k"]
) -> Float[Tensor, "sample site kept"]:
    """Activations with some features of each site left out, so that d_model falls by k."""
    n_sites, d_model = activations.shape[1:]
    keep = torch.ones(n_sites, d_model, dtype=torch.bool)
    keep = keep.scatter(1, dimensions, False)
    return activations[:, keep].reshape(len(activations), n_sites, -1)


# Variance over squared norm below which differences between samples are rounding.
_ROUNDING = 1e-10


class Weights(NamedTuple):
    """Weight of every sample in the mean of each class, one draw per row; rows sum to 1."""

    positive: Float[np.ndarray, "draw sample"]
    negative: Float[np.ndarray, "draw sample"]
    n_positive: int
    n_negative: int


def true_weights(n_positive: int, n_negative: int) -> Weights:
    """One draw: the classes as they are, the positive samples first."""
    is_positive = np.arange(n_positive + n_negative)[None] < n_positive
    return _weights_of(is_positive, n_positive, n_negative)


def permuted_weights(n_positive: int, n_negative: int, n: int, seed: int) -> Weights:
    """n draws with the labels permuted over all samples."""
    labels = np.tile(np.arange(n_positive + n_negative) < n_positive, (n, 1))
    shuffled = np.random.default_rng(seed).permuted(labels, axis=1)
    return _weights_of(shuffled, n_positive, n_negative)


def bootstrap_weights(n_positive: int, n_negative: int, n: int, seed: int) -> Weights:
    """n draws with samples drawn again, with replacement, within each class."""
    rng = np.random.default_rng(seed)
    first = rng.multinomial(n_positive, np.full(n_positive, 1 / n_positive), n) / n_positive
    second = rng.multinomial(n_negative, np.full(n_negative, 1 / n_negative), n) / n_negative
    positive = np.concatenate([first, np.zeros((n, n_negative))], axis=1)
    negative = np.concatenate([np.zeros((n, n_positive)), second], axis=1)
    return Weights(positive, negative, n_positive, n_negative)


def gram_matrix(activations: Float[Tensor, "sample d_model"]) -> Float[np.ndarray, "sample sample"]:
    """Inner products of one site's samples, divided by d_model; float64."""
    values = activations.double().numpy()
    return values @ values.T / values.shape[1]


@dataclass(frozen=True)
class Resampled:
    """Quantities of one site under each draw of the weights; float64.

    `fisher` is the squared distance of the class means over the mean total variance within a class:
    tr S_between / tr S_within up to a constant (Fukunaga 1990, Introduction to Statistical Pattern
    Recognition, section 10.2), which needs no inverse and so exists with fewer samples than
    dimensions. Noise in the means alone gives about 1 / n_positive + 1 / n_negative; NaN where
    nothing varies, as at 0.pre under a chat template. `share` is the variance over the squared
    norm: the share of the norm that differs between samples.
    """

    cosine: Float[np.ndarray, " draw"]
    fisher: Float[np.ndarray, " draw"]
    variance_positive: Float[np.ndarray, " draw"]
    variance_negative: Float[np.ndarray, " draw"]
    share_positive: Float[np.ndarray, " draw"]
    share_negative: Float[np.ndarray, " draw"]


def resampled(gram: Float[np.ndarray, "sample sample"], weights: Weights) -> Resampled:
    """Cosine and separation of the class means, and `mean_variance`, for every draw.

    A class mean is sum w_i x_i, so its inner products are w^T G w, and the mean squared norm is
    w^T diag(G). The variance keeps the divisor n - 1 of the class, also for bootstrap draws.
    """
    first = weights.positive @ gram
    second = weights.negative @ gram
    positive = _row_sums(first, weights.positive)
    negative = _row_sums(second, weights.negative)
    across = _row_sums(first, weights.negative)
    squares = np.diag(gram)
    norm_positive, norm_negative = weights.positive @ squares, weights.negative @ squares
    n, m = weights.n_positive, weights.n_negative
    variance_positive = (norm_positive - positive) * n / (n - 1)
    variance_negative = (norm_negative - negative) * m / (m - 1)
    within = (variance_positive + variance_negative) / 2
    return Resampled(
        cosine=across / np.sqrt(positive * negative),
        fisher=_ratio(positive + negative - 2 * across, within, squares.mean()),
        variance_positive=variance_positive,
        variance_negative=variance_negative,
        share_positive=variance_positive / norm_positive,
        share_negative=variance_negative / norm_negative,
    )


def stratified_halves(weights: Weights, seed: int) -> Bool[np.ndarray, "draw sample"]:
    """For each draw a random half of the samples, with half of each of that draw's classes."""
    is_positive = weights.positive > 0
    keys = np.random.default_rng(seed).random(is_positive.shape)
    # Sorted by class and then at random, every second sample is half of each class at random.
    order = np.argsort(keys + is_positive, axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    return place % 2 == 0


def cosine_without_common_mean(
    gram: Float[np.ndarray, "sample sample"],
    weights: Weights,
    half: Bool[np.ndarray, "draw sample"],
) -> Float[np.ndarray, " draw"]:
    """Cosine of the class means of one half of the samples, after removing the other half's mean.

    With the mean of the same samples the two rests are opposite by construction and the cosine is
    -1 whatever the data. Taken from the other half it is a measure: towards -1 when the classes
    are apart, about +1/3 when the labels mean nothing (both rests then hold the same noise).
    Averaged over both halves; the common mean weighs both classes equally. NaN where nothing
    varies. For weights of distinct samples only: halves of a bootstrap draw would share samples.
    """
    cosines = []
    for inside in (half, ~half):
        first, second = _restricted(weights, inside)
        common = sum(_restricted(weights, ~inside)) / 2
        rest, other = first - common, second - common
        products = rest @ gram
        # Rounding can leave a square just below 0 where nothing varies.
        squares = _row_sums(products, rest), _row_sums(other @ gram, other)
        lengths = np.sqrt(np.maximum(squares[0], 0) * np.maximum(squares[1], 0))
        cosines.append(_ratio(_row_sums(products, other), lengths, np.diag(gram).mean()))
    return np.mean(cosines, axis=0)


def _restricted(weights: Weights, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of both classes with the samples outside taken out, summing to 1 again."""
    kept = [rows * inside for rows in (weights.positive, weights.negative)]
    totals = [rows.sum(axis=1, keepdims=True) for rows in kept]
    if any((total == 0).any() for total in totals):
        raise ActivationError("A half has no sample of one class; use more samples per class.")
    return kept[0] / totals[0], kept[1] / totals[1]


def _weights_of(is_positive: np.ndarray, n_positive: int, n_negative: int) -> Weights:
    if min(n_positive, n_negative) < 2:
        raise ActivationError(
            f"Two classes of two or more samples are needed; got {n_positive} and {n_negative}."
        )
    return Weights(is_positive / n_positive, ~is_positive / n_negative, n_positive, n_negative)


def _row_sums(products: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", products, weights)


def _ratio(above: np.ndarray, below: np.ndarray, scale: float) -> np.ndarray:
    """The quotient, or NaN where the divisor is rounding on the scale of the squared norm."""
    is_rounding = below <= _ROUNDING * scale
    return np.where(is_rounding, np.nan, above / np.where(is_rounding, 1.0, below))
