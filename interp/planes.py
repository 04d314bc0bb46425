"""Steering planes: two orthonormal axes in the residual stream, and random planes beside them.

A plane is read as in Vu and Nguyen 2025 (arXiv 2510.26243): b1 is the behaviour's direction, b2 the
axis along which that direction varies over layers. The angle runs from b1 (0 degrees) to b2 (90).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import ActivationError
from interp.interventions import outside

# Relative length below which a second axis has nothing left outside the first but rounding.
_SMALLEST_REMAINDER = 1e-6


@dataclass(frozen=True, eq=False)
class Plane:
    """Orthonormal axes b1 and b2 [d_model] in float32, and the family the plane comes from."""

    b1: Float[Tensor, " d_model"]
    b2: Float[Tensor, " d_model"]
    family: str


@dataclass(frozen=True)
class ScaleState:
    """Multiply the whole state: h' = m h. Its direction, all that an RMSNorm passes on, is kept."""

    factor: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return (h.float() * self.factor).to(h.dtype)


def plane_from(
    first: Float[Tensor, " d_model"], second: Float[Tensor, " d_model"], family: str
) -> Plane:
    """Gram-Schmidt in float64: b1 along `first`, b2 along what of `second` lies outside it.

    Raises ActivationError when either has no length or both are parallel.
    """
    u, v = first.detach().cpu().double(), second.detach().cpu().double()
    if not (torch.isfinite(u).all() and torch.isfinite(v).all()) or u.norm() == 0 or v.norm() == 0:
        raise ActivationError(
            f"A {family} plane needs two finite vectors with a length; check the activations."
        )
    u = u / u.norm()
    rest = _outside_twice(v, u[None])
    if rest.norm() <= _SMALLEST_REMAINDER * v.norm():
        raise ActivationError(
            f"The two vectors of a {family} plane are parallel, so they span a line; the direction "
            "does not vary over the layers given. Use more layers or another second axis."
        )
    return Plane(u.float(), (rest / rest.norm()).float(), family)


def steering_plane(
    direction: Float[Tensor, " d_model"],
    candidates: Float[Tensor, "site d_model"],
    harmless_means: Float[Tensor, "site d_model"],
) -> Plane:
    """b1 = the direction; b2 = first principal component of all layers' unit candidates.

    Vu and Nguyen 2025 (arXiv 2510.26243), section 3: the unit candidate directions are centred over
    layers, and their first right singular vector is orthonormalised against b1. Its sign is free
    and is set such that the harmless class means project positively on b2, averaged over layers.
    Raises ActivationError with fewer than two candidates.
    """
    if len(candidates) < 2:
        raise ActivationError(
            "A steering plane needs candidate directions of two or more sites; got "
            f"{len(candidates)}."
        )
    units = torch.nn.functional.normalize(candidates.detach().cpu().double(), dim=-1)
    axis = torch.linalg.svd(units - units.mean(0), full_matrices=False).Vh[0]
    plane = plane_from(direction, axis, "steering")
    along = float((harmless_means.detach().cpu().double() @ plane.b2.double()).mean())
    return plane if along >= 0 else Plane(plane.b1, -plane.b2, plane.family)


def random_second_axis(plane: Plane, n: int, seed: int) -> list[Plane]:
    """Planes with the true b1 and an isotropic b2, orthogonal to both true axes."""
    draws = _outside(_normal((n, len(plane.b1)), seed), plane)
    return [plane_from(plane.b1, draw, "random_b2") for draw in draws]


def isotropic_planes(plane: Plane, n: int, seed: int) -> list[Plane]:
    """Planes with both axes isotropic, orthogonal to the true plane."""
    draws = _outside(_normal((2 * n, len(plane.b1)), seed), plane)
    return [plane_from(a, b, "isotropic") for a, b in zip(draws[::2], draws[1::2], strict=True)]


def covariance_planes(
    plane: Plane, activations: Float[Tensor, "sample d_model"], n: int, seed: int
) -> list[Plane]:
    """Planes with both axes drawn from the activations' covariance, orthogonal to the true plane.

    A draw is X_c^T g / sqrt(samples - 1) for standard normal g: such a plane holds as much of the
    state as a plane of real variation does, which an isotropic one never does.
    """
    values = activations.detach().cpu().double()
    if values.ndim != 2 or len(values) < 3 or not torch.isfinite(values).all():
        raise ActivationError(
            "Covariance-matched planes need finite activations [sample d_model] of three or more "
            f"samples; got {tuple(values.shape)}."
        )
    weights = _normal((2 * n, len(values)), seed)
    draws = _outside(weights @ (values - values.mean(0)) / np.sqrt(len(values) - 1), plane)
    return [plane_from(a, b, "covariance") for a, b in zip(draws[::2], draws[1::2], strict=True)]


def _normal(shape: tuple[int, int], seed: int) -> Float[Tensor, "draw d_model"]:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def _outside(draws: Float[Tensor, "draw d_model"], plane: Plane) -> Float[Tensor, "draw d_model"]:
    """The part of each draw orthogonal to the plane."""
    return _outside_twice(draws, torch.stack([plane.b1, plane.b2]).double().cpu())


def _outside_twice(
    rows: Float[Tensor, "*batch d_model"], basis: Float[Tensor, "k d_model"]
) -> Float[Tensor, "*batch d_model"]:
    # The first pass leaves rounding of the size of the part it took away.
    return outside(outside(rows, basis), basis)


def random_planes(
    plane: Plane, activations: Float[Tensor, "sample d_model"], n: int, seed: int
) -> list[Plane]:
    """`n` random planes of each family: isotropic, covariance, and random_b2."""
    return [
        *isotropic_planes(plane, n, seed),
        *covariance_planes(plane, activations, n, seed),
        *random_second_axis(plane, n, seed),
    ]
