"""Turns of each state in a plane of its own, and edits that leave its length, or keep to one.

The own plane of a state h, for a unit vector u, is span(u, h - (h.u)u); the angle in it is measured
from u. Adding a multiple of u, or scaling h's component along it, moves h within this plane, to
angles between 0 and 180 degrees: the other half has the rest of h reversed.
"""

from dataclasses import dataclass
from math import asin, cos, degrees, radians, sin

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.interventions import Intervention
from interp.planes import Plane

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class TurnTo:
    """Turn to an angle from u in the own plane: |h| (cos t u + sin t w), w = h - (h.u)u over its
    norm. A state along u has no such plane, and of it cos t u is left.
    """

    unit: Float[Tensor, " d_model"]
    degrees: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        unit, angle = self.unit.to(h.device, torch.float32), radians(self.degrees)
        turned = cos(angle) * unit + sin(angle) * _rest(h.float(), unit)
        return (h.float().norm(dim=-1, keepdim=True) * turned).to(h.dtype)


@dataclass(frozen=True, eq=False)
class TurnBy:
    """Turn by an angle towards u (away from it for a negative one) in the plane of h and u:
    cos t h + |h| sin t v, v the part of u outside h over its norm. |h' - h| = 2 |h| sin |t| / 2.
    """

    unit: Float[Tensor, " d_model"]
    degrees: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        state, angle = h.float(), radians(self.degrees)
        norm = state.norm(dim=-1, keepdim=True).clamp_min(_TINY)
        towards = _rest(self.unit.to(h.device, torch.float32).expand_as(state), state / norm)
        return (cos(angle) * state + sin(angle) * norm * towards).to(h.dtype)


@dataclass(frozen=True, eq=False)
class KeepNorm:
    """Another intervention, after which every state has its old length again."""

    inner: Intervention

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        moved = self.inner(h.float())
        norm = moved.norm(dim=-1, keepdim=True).clamp_min(_TINY)
        return (moved * (h.float().norm(dim=-1, keepdim=True) / norm)).to(h.dtype)


@dataclass(frozen=True, eq=False)
class Sparing:
    """Another intervention, of all states but those longer than `longest`.

    The first token's state, which later ones attend to for nothing, may be many times as long as
    the others: turning it breaks the model, and rescaling it does nothing.
    """

    inner: Intervention
    longest: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        spared = h.float().norm(dim=-1, keepdim=True) > self.longest
        return torch.where(spared, h, self.inner(h))


@dataclass(frozen=True, eq=False)
class RotateAsLong:
    """Absolute rotation h - Ph + |Qh|(cos t b1 + sin t b2), P the projection on the plane and Q
    that on the plane `like`: what is turned in it is as long as in the other plane.

    With like = plane it is `RotateTo`.
    """

    plane: Plane
    degrees: float
    like: Plane

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        axes, others = (
            torch.stack([p.b1, p.b2]).to(h.device, torch.float32) for p in (self.plane, self.like)
        )
        state, angle = h.float(), radians(self.degrees)
        target = cos(angle) * axes[0] + sin(angle) * axes[1]
        wanted = (state @ others.T).norm(dim=-1, keepdim=True) * target
        return (state + (wanted - (state @ axes.T) @ axes)).to(h.dtype)


def even_degrees(n: int) -> list[float]:
    """`n` evenly spaced angles of a full turn, from 0."""
    return [360 * i / n for i in range(n)]


def harmonic_amplitude(values: Float[np.ndarray, "*batch angle"]) -> Float[np.ndarray, "*batch"]:
    """Amplitude of the first harmonic of values at `even_degrees`, in their units.

    On an even grid least squares are the terms of the discrete Fourier transform.
    """
    return 2 * np.abs(np.fft.rfft(values)[..., 1]) / values.shape[-1]


def harmonic_share(values: Float[np.ndarray, " angle"]) -> float:
    """Share of the variance of values at `even_degrees` that is in their first harmonic, or 0."""
    variance = float(values.var())
    return float(harmonic_amplitude(values)) ** 2 / 2 / variance if variance else 0.0


def two_harmonics(values: Float[np.ndarray, " angle"]) -> Float[np.ndarray, "360"]:
    """At every degree, the fit of two harmonics to values at `even_degrees`."""
    return np.fft.irfft(np.fft.rfft(values)[:3], 360) * 360 / len(values)


def degrees_within(kl: Float[np.ndarray, " angle"], limit: float) -> Bool[np.ndarray, "360"]:
    """Degrees at which a KL is within a limit, from some at `even_degrees`.

    Its square root is interpolated, as a KL grows with the square of what is done.
    """
    root = np.sqrt([*kl, kl[0]])
    return np.interp(np.arange(360), np.linspace(0, 360, len(root)), root) <= np.sqrt(limit)


def chord_degrees(chord: float) -> float:
    """The angle of a turn that moves a state by `chord` times its length, at most 2."""
    return degrees(2 * asin(chord / 2))


def _rest(
    h: Float[Tensor, "*batch d_model"], units: Float[Tensor, "*#batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """The part of every h outside a unit vector, over its norm."""
    rest = h - (h * units).sum(-1, keepdim=True) * units
    return rest / rest.norm(dim=-1, keepdim=True).clamp_min(_TINY)
