"""How one layer's space maps to another's: held-out R^2 of an orthogonal map, and of none.

Done naively an orthogonal map finds likeness in noise once features outnumber samples.
"""

import numpy as np
from jaxtyping import Float, Int

from interp.errors import ActivationError

SAMPLES_PER_DIMENSION = 5

Samples = Float[np.ndarray, "sample d_model"]


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
