"""Interventions: pure functions of the residual state, h [..., d_model] -> h' of the same shape.

What an intervention does is kept apart from where it applies (`Placement`). All computations run
in float32 and return the dtype of h, so that bf16 models do not lose small projections.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import cos, radians, sin
from numbers import Integral
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import ActivationError
from interp.sites import Site, everywhere, sites_of

Intervention = Callable[[Float[Tensor, "*batch d_model"]], Float[Tensor, "*batch d_model"]]
Rule = Literal["all", "prompt", "generated"]
Positions = Rule | tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    """An intervention, the sites it is written at, and the token positions it touches.

    Sites are `Site`s or their names, "12.mid", or a single one; with None it is written everywhere,
    at every state of the stream. Positions are offsets from the end of the prompt, or a single one:
    -1 is its last token, 0 the first generated one. `prompt` is every negative offset, `generated`
    every other. Several placements at one site apply in the order given. Raises ActivationError for
    what is no site or no position.
    """

    intervention: Intervention
    sites: tuple[Site, ...] | None = None
    positions: Positions = "all"

    def __post_init__(self) -> None:
        if self.sites is not None:
            object.__setattr__(self, "sites", sites_of(self.sites))
        if self.positions not in get_args(Rule):
            object.__setattr__(self, "positions", positions_of(self.positions))

    def sites_in(self, n_layers: int, has_mid: bool) -> tuple[Site, ...]:
        """The sites in a model of so many layers, with `mid` states or without."""
        return tuple(everywhere(n_layers, has_mid)) if self.sites is None else self.sites


def positions_of(positions: Iterable[int] | int) -> tuple[int, ...]:
    """Positions, or a single one, as a tuple; ActivationError for what are no whole numbers."""
    found = tuple(positions) if isinstance(positions, Iterable) else (positions,)
    if not all(isinstance(position, Integral) for position in found):
        raise ActivationError(
            "Positions are whole numbers, such as -1 for a prompt's last token, of an edit also "
            f"{', '.join(get_args(Rule))}; got {positions!r:.80}."
        )
    return found


def outside(
    h: Float[Tensor, "*batch d_model"], basis: Float[Tensor, "k d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """The part of every h outside the span of orthonormal rows U: h - U^T U h."""
    return h - (h @ basis.T) @ basis


@dataclass(frozen=True, eq=False)
class Ablate:
    """Remove a subspace: h - U^T U h, for orthonormal rows U (Arditi et al. 2024, eq. 4)."""

    basis: Float[Tensor, "k d_model"]

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return outside(h.float(), self.basis.to(h.device, torch.float32)).to(h.dtype)


@dataclass(frozen=True, eq=False)
class Add:
    """Add a vector: h + v (activation addition; Turner et al. 2023)."""

    vector: Float[Tensor, " d_model"]

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return (h.float() + self.vector.to(h.device, torch.float32)).to(h.dtype)


@dataclass(frozen=True, eq=False)
class Scale:
    """Multiply the component along a unit vector: h + (s - 1)(h.u)u; s = 0 ablates, -1 reflects."""

    unit: Float[Tensor, " d_model"]
    factor: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        unit = self.unit.to(h.device, torch.float32)
        state = h.float()
        return (state + (self.factor - 1) * (state @ unit)[..., None] * unit).to(h.dtype)


@dataclass(frozen=True, eq=False)
class RotateTo:
    """Absolute rotation: h - Ph + |Ph|(cos t b1 + sin t b2), P the projection on span(b1, b2).

    b1 and b2 are orthonormal, so |h| is kept (Vu and Nguyen 2025, arXiv 2510.26243).
    """

    b1: Float[Tensor, " d_model"]
    b2: Float[Tensor, " d_model"]
    degrees: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        plane = torch.stack([self.b1, self.b2]).to(h.device, torch.float32)
        angle = radians(self.degrees)
        target = cos(angle) * plane[0] + sin(angle) * plane[1]
        state = h.float()
        coordinates = state @ plane.T
        wanted = coordinates.norm(dim=-1, keepdim=True) * target
        return (state + (wanted - coordinates @ plane)).to(h.dtype)


@dataclass(frozen=True, eq=False)
class Compose:
    """Apply interventions one after another, the first one first."""

    parts: tuple[Intervention, ...]

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        for part in self.parts:
            h = part(h)
        return h


def compose(*parts: Intervention) -> Compose:
    """Interventions in the order they apply, as one."""
    return Compose(parts)


def ablate(*vectors: Float[Tensor, " d_model"]) -> Ablate:
    """Ablation of the span of the given vectors, orthonormalised by QR in float64.

    Raises ActivationError when a vector is zero, not finite, or in the span of the others.
    """
    stacked = torch.stack([vector.detach().cpu().double() for vector in vectors])
    if not torch.isfinite(stacked).all():
        raise ActivationError("A vector to ablate is not finite; check the activations it is from.")
    norms = stacked.norm(dim=1, keepdim=True)
    if (norms == 0).any():
        raise ActivationError("A vector to ablate is zero; expected a direction with a length.")
    orthonormal, triangle = torch.linalg.qr((stacked / norms).T)
    if triangle.diagonal().abs().min() < 1e-6:
        raise ActivationError("The vectors to ablate are linearly dependent; pass each span once.")
    return Ablate(orthonormal.T.float().contiguous())
