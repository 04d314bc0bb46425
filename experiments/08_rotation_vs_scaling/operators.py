"""Steering operators with one dose each, and where they are written: what a sweep goes through.

An operator at a place is a `Variant`, for example `rotate_to@norms`. With b1, b2 the plane's axes:

| operator | dose | edit of the state h |
|---|---|---|
| add | c | h + c g b1, g the distance of the class means at that site |
| scale | s | the b1 component times s: 0 ablates, -1 reflects, 1 does nothing |
| rotate_to | degrees | absolute rotation (Vu and Nguyen 2025, arXiv 2510.26243) |
| rotate_by | degrees | relative rotation; 0 does nothing |
| interpolate | f | slerp by abs(f) to the class mean, positive if f > 0, else negative |

`adaptive_` before scale, rotate_to or rotate_by: only states with h.b1 > 0. Writes stay in the
residual stream, so at many sites every dose but those of ablation and of rotate_to accumulates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import ExperimentError
from interp.interventions import (
    Adaptive,
    Add,
    Interpolate,
    Intervention,
    Placement,
    RotateBy,
    RotateTo,
    Scale,
)
from interp.planes import Plane
from interp.sites import Site

Operator = Literal[
    "add",
    "scale",
    "rotate_to",
    "rotate_by",
    "interpolate",
    "adaptive_scale",
    "adaptive_rotate_to",
    "adaptive_rotate_by",
]
Place = Literal["norms", "opposite", "source"]
PLACES: dict[Place, str] = {
    "norms": "every norm input",
    "opposite": "where the class means have opposite signs",
    "source": "the direction's own site",
}
# Smallest and largest dose of either sign, for writes at many sites and at one. At many sites a
# gain above 1 compounds (1.25 at 48 sites is 45,000-fold), a loss does not.
_GRIDS: dict[str, dict[bool, tuple[tuple[float, float], tuple[float, float]]]] = {
    "add": {True: ((0.02, 0.3), (0.02, 0.3)), False: ((0.25, 4.0), (0.25, 4.0))},
    "scale": {True: ((0.25, 2.0), (0.01, 0.15)), False: ((0.25, 8.0), (0.5, 8.0))},
    "interpolate": {True: ((0.01, 0.3), (0.01, 0.3)), False: ((0.05, 0.9), (0.05, 0.9))},
}


@dataclass(frozen=True)
class Variant:
    """An operator at a place; `str` and `parse` write and read `operator@place`."""

    operator: Operator
    place: Place

    def __str__(self) -> str:
        return f"{self.operator}@{self.place}"

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read `rotate_to@norms`; raises ExperimentError on anything else."""
        operator, _, place = text.partition("@")
        if operator not in get_args(Operator) or place not in get_args(Place):
            raise ExperimentError(
                f"'{text}' is not a steering variant: expected OPERATOR@PLACE with an operator of "
                f"{', '.join(get_args(Operator))} and a place of {', '.join(get_args(Place))}."
            )
        return cls(cast(Operator, operator), cast(Place, place))

    @property
    def family(self) -> str:
        """What the operator changes: `rotation`, `scaling`, `adding` or `interpolation`."""
        kind = self.operator.removeprefix("adaptive_")
        named = {"scale": "scaling", "add": "adding", "interpolate": "interpolation"}
        return named.get(kind, "rotation")


@dataclass(frozen=True, eq=False)
class Frame:
    """What edits are made of: the plane, the sites of each place, the class means at each site."""

    plane: Plane
    places: Mapping[str, tuple[Site, ...]]
    positive: Mapping[Site, Float[Tensor, " d_model"]]
    negative: Mapping[Site, Float[Tensor, " d_model"]]

    def gap(self, site: Site) -> float:
        """Distance of the class means at a site, in the units of the stream."""
        return float((self.positive[site] - self.negative[site]).norm())


def opposite_sites(
    plane: Plane,
    positive: Mapping[Site, Float[Tensor, " d_model"]],
    negative: Mapping[Site, Float[Tensor, " d_model"]],
) -> tuple[Site, ...]:
    """Sites where the class means project on b1 with opposite signs (arXiv 2601.19375)."""
    unit = plane.b1.double()
    return tuple(
        site
        for site in sorted(positive)
        if float(positive[site].double() @ unit) * float(negative[site].double() @ unit) < 0
    )


def doses(variant: Variant, n: int) -> list[float]:
    """n doses of a sweep: angles over the whole turn, else a logarithmic grid of both signs.

    Half of the doses push against the behaviour and half towards it. Scales are 1 + d with d on the
    grid, and the point nearest to ablation, s = 0, is moved onto it. Raises ExperimentError for an
    odd number, or fewer than four.
    """
    if n < 4 or n % 2:
        raise ExperimentError(f"A sweep needs an even number of doses, 4 or more; got {n}.")
    if variant.family == "rotation":
        return [float(angle) for angle in np.arange(n) * 360 / n]
    kind = variant.operator.removeprefix("adaptive_")
    against, towards = _GRIDS[kind][variant.place != "source"]
    down = -np.geomspace(*against, n // 2)[::-1]
    up = np.geomspace(*towards, n // 2)
    if kind == "scale":
        down[np.abs(np.log(-down)).argmin()] = -1.0
    offset = 1.0 if kind == "scale" else 0.0
    return [round(float(d) + offset, 6) for d in np.concatenate([down, up])]


def placements(variant: Variant, dose: float, frame: Frame) -> list[Placement]:
    """The edit of a variant at a dose, at every token. Raises ExperimentError at an empty place."""
    sites = frame.places[variant.place]
    if not sites:
        raise ExperimentError(
            f"{variant} has nowhere to be written: this model has no site {PLACES[variant.place]}. "
            "Leave the variant out."
        )
    if variant.operator == "add":
        return [Placement(Add(dose * frame.gap(site) * frame.plane.b1), (site,)) for site in sites]
    if variant.operator == "interpolate":
        return [Placement(_towards_mean(dose, site, frame), (site,)) for site in sites]
    return [Placement(_on_plane(variant.operator, dose, frame.plane), sites)]


def _towards_mean(fraction: float, site: Site, frame: Frame) -> Interpolate:
    mean = (frame.positive if fraction > 0 else frame.negative)[site]
    return Interpolate(torch.nn.functional.normalize(mean.float(), dim=0), abs(fraction))


def _on_plane(operator: str, dose: float, plane: Plane) -> Intervention:
    kinds: dict[str, Callable[[], Intervention]] = {
        "scale": lambda: Scale(plane.b1, dose),
        "rotate_to": lambda: RotateTo(plane.b1, plane.b2, dose),
        "rotate_by": lambda: RotateBy(plane.b1, plane.b2, dose),
    }
    inner = kinds[operator.removeprefix("adaptive_")]()
    return Adaptive(plane.b1, inner) if operator.startswith("adaptive_") else inner


def parse_all(texts: Sequence[str]) -> list[Variant]:
    """Variants from their names, in order; raises ExperimentError when one is repeated."""
    variants = [Variant.parse(text) for text in texts]
    if len(set(variants)) < len(variants):
        raise ExperimentError(f"Each steering variant may be given once; got {list(texts)}.")
    return variants
