"""Random directions that a found direction has to beat, all at its norm, site and position.

Three families: isotropic (any direction), covariance-matched (a direction in which the activations
really vary) and label-permuted (the same extraction with meaningless labels). All are orthogonal to
the direction, and every function returns ordinary `Direction`s, so that a null goes through the
selection, gating and code path of the true one.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.directions import Direction
from interp.errors import ActivationError

FAMILIES = ("isotropic", "covariance_matched", "label_permuted")

# Relative length below which a draw has nothing left outside the direction but rounding.
_SMALLEST_REMAINDER = 1e-6
# The same for the deviations from a mean, which are taken in float64.
_SMALLEST_DEVIATION = 1e-12


def of_family(
    family: str,
    direction: Direction,
    positive: Float[Tensor, "positive d_model"],
    negative: Float[Tensor, "negative d_model"],
    n: int,
    seed: int,
) -> list[Direction]:
    """`n` draws of the family of this name; `positive` and `negative` as the direction was taken.

    Raises ActivationError for a name that is not in FAMILIES.
    """
    if family == "isotropic":
        return isotropic(direction, n, seed)
    if family == "covariance_matched":
        return covariance_matched(direction, torch.cat([positive, negative]), n, seed)
    if family == "label_permuted":
        return label_permuted(positive, negative, direction, n, seed)
    raise ActivationError(f"No null family '{family}'; there are {', '.join(FAMILIES)}.")


def isotropic(direction: Direction, n: int, seed: int) -> list[Direction]:
    """Uniform on the unit sphere of the hyperplane orthogonal to `direction`."""
    rng = np.random.default_rng(seed)
    draws = rng.standard_normal((n, direction.unit.shape[-1]))
    return _as_directions(draws, direction, "isotropic", seed)


def covariance_matched(
    direction: Direction, activations: Float[Tensor, "sample d_model"], n: int, seed: int
) -> list[Direction]:
    """Drawn from a Gaussian with the activations' covariance, then orthogonalised to `direction`.

    A draw is X_c^T g / sqrt(samples - 1) with X_c the centred activations and g standard normal,
    so its covariance is exactly the sample covariance and no d_model x d_model matrix is formed.
    Pass both classes pooled. Raises ActivationError where they vary only along the direction.
    """
    values = _float64(activations, direction)
    weights = np.random.default_rng(seed).standard_normal((n, len(values)))
    draws = _mixtures(weights / np.sqrt(len(values) - 1), values)
    return _as_directions(draws, direction, "covariance_matched", seed)


def label_permuted(
    positive: Float[Tensor, "positive d_model"],
    negative: Float[Tensor, "negative d_model"],
    direction: Direction,
    n: int,
    seed: int,
) -> list[Direction]:
    """Mean difference of class-centred activations under permuted labels, then orthogonalised.

    Each activation is taken less the mean of its true class: permuted labels hardly ever split the
    classes evenly, so that much of the direction itself would come back in the draws. These vary as
    the activations do within their classes. Equal seeds permute equally many labels alike. Raises
    ActivationError for classes that do not vary outside the direction.
    """
    classes = [_float64(part, direction) for part in (positive, negative)]
    sizes = [len(part) for part in classes]
    # Each row holds 1/n_positive and -1/n_negative in a random order: one product gives all
    # differences.
    weights = np.repeat([1 / sizes[0], -1 / sizes[1]], sizes)
    permuted = np.random.default_rng(seed).permuted(np.tile(weights, (n, 1)), axis=1)
    return _as_directions(_mixtures(permuted, *classes), direction, "label_permuted", seed)


def _mixtures(
    weights: Float[np.ndarray, "draw sample"], *classes: Float[np.ndarray, "class_sample d_model"]
) -> Float[np.ndarray, "draw d_model"]:
    """Weighted sums of the samples, each less its class mean; ActivationError where one is zero."""
    centred = np.concatenate([values - values.mean(axis=0) for values in classes])
    draws = weights @ centred
    # Equal samples differ from their mean by its rounding, which would point somewhere as well.
    sizes = np.linalg.norm(weights, axis=1) * np.linalg.norm(np.concatenate(classes))
    if (np.linalg.norm(draws, axis=1) <= _SMALLEST_DEVIATION * sizes).any():
        raise ActivationError(
            "A null draw is zero: the activations do not vary within their class, or are so few "
            "that permuting gave every label back; pass more, or more varied ones."
        )
    return draws


def _float64(activations: Float[Tensor, "sample d_model"], direction: Direction) -> np.ndarray:
    """Activations as float64; ActivationError when fewer than two, not finite, or of another width
    than the direction.
    """
    values = activations.detach().to("cpu", torch.float64).numpy()
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise ActivationError(
            "A null needs finite activations [sample d_model] of two or more samples; "
            f"got {values.shape}."
        )
    if values.shape[-1] != direction.unit.shape[-1]:
        raise ActivationError(
            f"The activations have d_model {values.shape[-1]}, the direction "
            f"{direction.unit.shape[-1]}; take both from one model."
        )
    return values


def _orthogonalise(draws: np.ndarray, direction: Direction) -> np.ndarray:
    """The part of each draw outside the direction; ActivationError where only rounding is left."""
    unit = direction.unit.detach().to("cpu", torch.float64).numpy()
    unit = unit / np.linalg.norm(unit)
    rest = draws - np.outer(draws @ unit, unit)
    # Removed twice: the first pass leaves rounding of the size of the part it took away.
    rest = rest - np.outer(rest @ unit, unit)
    if (np.linalg.norm(rest, axis=1) <= _SMALLEST_REMAINDER * np.linalg.norm(draws, axis=1)).any():
        raise ActivationError(
            "The activations vary only along the direction, so no orthogonal null exists; "
            "pass more varied ones."
        )
    return rest


def _as_directions(
    draws: np.ndarray, direction: Direction, family: str, seed: int
) -> list[Direction]:
    """Rows outside the direction as unit vectors with its norm, site, position and number type."""
    rest = _orthogonalise(draws, direction)
    units = torch.from_numpy(rest / np.linalg.norm(rest, axis=1, keepdims=True))
    units = units.to(direction.unit.device, direction.unit.dtype)
    return [
        Direction(
            unit=unit,
            norm=direction.norm,
            site=direction.site,
            position=direction.position,
            method=f"null.{family}",
            provenance={
                "null": family,
                "seed": str(seed),
                "draw": str(index),
                "of": direction.method,
            },
        )
        for index, unit in enumerate(units)
    ]
