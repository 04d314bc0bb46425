"""How one layer's space maps to another's.

Two measures of likeness between activations of the same samples: the held-out R^2 of an orthogonal
map, and debiased linear CKA. Done naively both see likeness in noise once features outnumber
samples, so each comes with two noise nulls: one side's samples shuffled, and Gaussian noise.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from interp.errors import ActivationError

SAMPLES_PER_DIMENSION = 5

Samples = Float[np.ndarray, "sample d_model"]
Measure = Callable[[np.ndarray, np.ndarray], float]


def procrustes_r2(
    source: Samples,
    target: Samples,
    n_folds: int = 5,
    seed: int = 0,
    n_components: int | None = None,
) -> float:
    """Held-out R^2 of the best orthogonal map with one scale from source to target activations.

    Schoenemann 1966 (Psychometrika 31:1), with the scale of Schoenemann and Carroll 1970
    (Psychometrika 35:245): min ||Y - s X Q||_F has Q = U V^T and s = tr(S) / ||X||^2 for the
    singular values X^T Y = U S V^T. Both sides are first reduced to `n_components`, by default
    (training samples / 5), principal components; components, means, map and scale come from the
    training folds. R^2 is one minus the residual over the target's variance in its own components,
    summed over folds: 1 for a rotated and scaled copy, about 0 or less without common structure.
    Without held-out rows and reduction noise alone gives .9. `source`, `target`: [sample d_model],
    the same samples.
    """
    x, y = _paired(source, target, 2 * SAMPLES_PER_DIMENSION)
    order = np.random.default_rng(seed).permutation(len(x))
    residual = total = 0.0
    for held_out in np.array_split(order, n_folds):
        train = np.setdiff1d(order, held_out)
        x_train, x_test = _principal_components(x, train, held_out, n_components)
        y_train, y_test = _principal_components(y, train, held_out, n_components)
        residual += float(((y_test - x_test @ procrustes_map(x_train, y_train)) ** 2).sum())
        total += float((y_test**2).sum())
    return 1 - residual / total


def identity_r2(
    source: Samples,
    target: Samples,
    n_folds: int = 5,
    seed: int = 0,
    n_components: int | None = None,
) -> float:
    """Held-out R^2 of the identity with one scale, on the folds and components of `procrustes_r2`.

    Both sides are centred and projected on the target's leading principal components. The scale is
    fitted on the training folds; below 0, which is not the identity, it is set to 0. `source`,
    `target`: [sample d_model], the same samples and features.
    """
    x, y = _paired(source, target, 2 * SAMPLES_PER_DIMENSION)
    order = np.random.default_rng(seed).permutation(len(x))
    residual = total = 0.0
    for held_out in np.array_split(order, n_folds):
        train = np.setdiff1d(order, held_out)
        mean, axes = y[train].mean(axis=0), _axes(y[train], n_components)
        y_train, y_test = ((y[rows] - mean) @ axes for rows in (train, held_out))
        mean = x[train].mean(axis=0)
        x_train, x_test = ((x[rows] - mean) @ axes for rows in (train, held_out))
        scale = max(0.0, float((x_train * y_train).sum() / (x_train**2).sum()))
        residual += float(((y_test - scale * x_test) ** 2).sum())
        total += float((y_test**2).sum())
    return 1 - residual / total


def procrustes_map(source: Samples, target: Samples) -> Float[np.ndarray, "d_model d_model"]:
    """The matrix s Q, Q orthogonal, that minimises ||target - s source Q||_F (Schoenemann 1966).

    Both sides [sample d_model] of one width and already centred.
    """
    left, values, right = np.linalg.svd(source.T @ target, full_matrices=False)
    return float(values.sum() / (source**2).sum()) * (left @ right)


def linear_cka(source: Samples, target: Samples) -> float:
    """Linear centred kernel alignment, ||X^T Y||^2 / (||X^T X|| ||Y^T Y||), columns centred.

    Kornblith et al. 2019 (1905.00414), eq. 4 with linear kernels. Biased upwards: two independent
    noise matrices with more features than samples approach 1. For comparison only; use
    `debiased_cka`.
    """
    x, y = _paired(source, target, 4)
    gram_x, gram_y = _centred_gram(x), _centred_gram(y)
    return float((gram_x * gram_y).sum() / np.sqrt((gram_x**2).sum() * (gram_y**2).sum()))


def debiased_cka(source: Samples, target: Samples) -> float:
    """Linear CKA from the unbiased estimator of HSIC: about 0 (either sign) without likeness.

    HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)), as in Nguyen et al. 2021 (2010.15327, eqs. 1
    and 3), with HSIC_1 of Song et al. 2012 (JMLR 13:1393). Not bounded by 1 in small samples.
    `source`, `target`: [sample d_model], the same samples, widths may differ.
    Raises ActivationError where a side has no variance that the estimator can see.
    """
    x, y = _paired(source, target, 4)
    gram_x, gram_y = _centred_gram(x), _centred_gram(y)
    own_x, own_y = unbiased_hsic(gram_x, gram_x), unbiased_hsic(gram_y, gram_y)
    if own_x <= 0 or own_y <= 0:
        raise ActivationError(
            "Debiased CKA is undefined: one side shows no variance shared between samples. "
            "Use more samples, or a layer whose activations vary."
        )
    return unbiased_hsic(gram_x, gram_y) / float(np.sqrt(own_x * own_y))


def unbiased_hsic(
    first: Float[np.ndarray, "sample sample"], second: Float[np.ndarray, "sample sample"]
) -> float:
    """Unbiased Hilbert-Schmidt independence criterion of two Gram matrices, n >= 4.

    HSIC_1 of Song et al. 2012 (JMLR 13:1393; Nguyen et al. 2021, eq. 3), diagonals set to zero:
    [tr KL + 1'K1 1'L1 / ((n-1)(n-2)) - 2 1'KL1 / (n-2)] / (n (n-3)).
    """
    n = len(first)
    k, l = (gram - np.diag(np.diag(gram)) for gram in (first, second))  # noqa: E741
    sums = k.sum() * l.sum() / ((n - 1) * (n - 2))
    return float(((k * l).sum() + sums - 2 * k.sum(0) @ l.sum(0) / (n - 2)) / (n * (n - 3)))


def sample_span(values: Samples) -> Float[np.ndarray, "sample rank"]:
    """The centred samples in an orthonormal basis of their own span, [sample, at most sample].

    Nothing is lost: the Gram matrix stays, so every measure here gives the same, and faster where
    features outnumber samples.
    """
    x = np.asarray(values, dtype=np.float64)
    left, lengths, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return left * lengths


def shuffled_null(
    measure: Measure, source: Samples, target: Samples, n_draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """A measure with the samples of `target` shuffled: noise with both sides' own spectra."""
    rng = np.random.default_rng(seed)
    return np.array([measure(source, target[rng.permutation(len(target))]) for _ in range(n_draws)])


def gaussian_null(
    measure: Measure, n_samples: int, d_model: int, n_draws: int, seed: int
) -> Float[np.ndarray, " draw"]:
    """A measure between two independent standard normal matrices [n_samples d_model]."""
    rng = np.random.default_rng(seed)
    shape = (2, n_samples, d_model)
    return np.array([measure(*rng.standard_normal(shape)) for _ in range(n_draws)])


def _paired(source: Samples, target: Samples, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sides in float64; ActivationError unless they are finite and share enough samples."""
    x, y = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < smallest:
        raise ActivationError(
            f"Alignment needs two matrices [sample d_model] of the same {smallest} or more "
            f"samples; got {x.shape} and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ActivationError("Alignment needs finite activations; find the prompt that has none.")
    return x, y


def _centred_gram(values: Samples) -> Float[np.ndarray, "sample sample"]:
    centred = values - values.mean(axis=0)
    return centred @ centred.T


def _principal_components(
    values: Samples,
    train: Int[np.ndarray, " train"],
    held_out: Int[np.ndarray, " held_out"],
    n: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both parts on the training part's leading components."""
    mean, axes = values[train].mean(axis=0), _axes(values[train], n)
    return (values[train] - mean) @ axes, (values[held_out] - mean) @ axes


def _axes(values: Samples, n: int | None) -> Float[np.ndarray, "d_model k"]:
    """The first `n` principal axes, (samples / 5) if not given, in columns."""
    k = min(n or len(values) // SAMPLES_PER_DIMENSION, values.shape[1])
    return np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[2][:k].T
