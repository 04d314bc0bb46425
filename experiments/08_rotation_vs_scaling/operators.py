"""Steering operators with one dose each, and where they are written: what a sweep goes through.

An operator at a place is a `Variant`, for example `rotate_to@norms`. With b1, b2 the plane's axes:

| operator | dose | edit of the state h |
|---|---|---|
| add | c | h + c g b1, g the distance of the class means at that site |
| scale | s | the b1 component times s: 0 ablates, -1 reflects, 1 does nothing |
| rotate_to | degrees | absolute rotation (Vu and Nguyen 2025, arXiv 2510.26243) |
| rotate_by | degrees | relative rotation; 0 does nothing |
| interpolate | f | slerp by abs(f) to the class mean, positive if f > 0, else negative |

`adaptive_` before scale, rotate_to or rotate_by: only states with h.b1 > 0. The places are `norms`
(every norm's input), `opposite` (those where the class means have opposite signs along b1) and
`source` (the direction's own site). Writes stay in the residual stream, so at many sites every dose
but those of ablation and of rotate_to accumulates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from interp.errors import ExperimentError
from interp.interventions import Adaptive, Add, Interpolate, Placement, RotateBy, RotateTo, Scale
from interp.planes import Plane
from interp.sites import Site

FAMILY = {
    "rotate_to": "rotation",
    "rotate_by": "rotation",
    "adaptive_rotate_to": "rotation",
    "adaptive_rotate_by": "rotation",
    "scale": "scaling",
    "adaptive_scale": "scaling",
    "add": "adding",
    "interpolate": "interpolation",
}
FAMILIES = tuple(dict.fromkeys(FAMILY.values()))
PLACES = ("norms", "opposite", "source")
# Smallest and largest dose against the behaviour and towards it, for writes at many sites and at
# one. At many sites a gain above 1 compounds (1.25 at 48 sites is 45,000-fold), a loss does not.
GRIDS = {
    "adding": {"many": ((0.02, 0.3), (0.02, 0.3)), "one": ((0.25, 4.0), (0.25, 4.0))},
    "scaling": {"many": ((0.25, 2.0), (0.01, 0.15)), "one": ((0.25, 8.0), (0.5, 8.0))},
    "interpolation": {"many": ((0.01, 0.3), (0.01, 0.3)), "one": ((0.05, 0.9), (0.05, 0.9))},
}


@dataclass(frozen=True, order=True)
class Variant:
    """An operator at a place; `str` and `parse` write and read `operator@place`."""

    operator: str
    place: str

    def __str__(self) -> str:
        return f"{self.operator}@{self.place}"

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read `rotate_to@norms`; raises ExperimentError on anything else."""
        operator, _, place = text.partition("@")
        if operator not in FAMILY or place not in PLACES:
            raise ExperimentError(
                f"'{text}' is not a steering variant: expected OPERATOR@PLACE with an operator of "
                f"{', '.join(FAMILY)} and a place of {', '.join(PLACES)}."
            )
        return cls(operator, place)

    @property
    def family(self) -> str:
        """What the operator changes: `rotation`, `scaling`, `adding` or `interpolation`."""
        return FAMILY[self.operator]


@dataclass(frozen=True, eq=False)
class Frame:
    """What edits are made of: the plane, the sites of each place, the class means at each site."""

    plane: Plane
    places: Mapping[str, tuple[Site, ...]]
    positive: Mapping[Site, Float[Tensor, " d_model"]]
    negative: Mapping[Site, Float[Tensor, " d_model"]]


def opposite_sites(
    plane: Plane,
    positive: Mapping[Site, Float[Tensor, " d_model"]],
    negative: Mapping[Site, Float[Tensor, " d_model"]],
) -> tuple[Site, ...]:
    """Sites where the class means project on b1 with opposite signs (arXiv 2601.19375)."""
    unit = plane.b1.double()
    signs = {s: (positive[s].double() @ unit) * (negative[s].double() @ unit) for s in positive}
    return tuple(site for site in sorted(signs) if signs[site] < 0)


def parse_all(texts: Sequence[str]) -> list[Variant]:
    """Variants from their names, in order; raises ExperimentError when one is repeated."""
    variants = [Variant.parse(text) for text in texts]
    if len(set(variants)) < len(variants):
        raise ExperimentError(f"Each steering variant may be given once; got {list(texts)}.")
    return variants


def doses(variant: Variant, n: int) -> list[float]:
    """n doses of a sweep: angles over the whole turn, else a logarithmic grid of both signs.

    Half of the doses push against the behaviour and half towards it. Scales are 1 + d with d on the
    grid, and the point nearest to ablation, s = 0, is moved onto it. Raises ExperimentError for an
    odd number on a grid, or fewer than four.
    """
    if variant.family == "rotation":
        return [float(angle) for angle in np.arange(n) * 360 / n]
    if n < 4 or n % 2:
        raise ExperimentError(f"A sweep needs an even number of doses, 4 or more; got {n}.")
    against, towards = GRIDS[variant.family]["one" if variant.place == "source" else "many"]
    down, up = -np.geomspace(*against, n // 2)[::-1], np.geomspace(*towards, n // 2)
    if variant.family == "scaling":
        down[np.abs(np.log(-down)).argmin()] = -1.0
        down, up = down + 1, up + 1
    return [round(float(dose), 6) for dose in (*down, *up)]


def placements(variant: Variant, dose: float, frame: Frame) -> list[Placement]:
    """The edit of a variant at a dose, at every token. Raises ExperimentError at an empty place."""
    plane, sites = frame.plane, frame.places[variant.place]
    if not sites:
        raise ExperimentError(
            f"{variant} has nowhere to be written: no site of this model is {variant.place}. Leave "
            "the variant out."
        )
    if variant.family == "adding":
        gaps = {site: float((frame.positive[site] - frame.negative[site]).norm()) for site in sites}
        return [Placement(Add(dose * gaps[site] * plane.b1), (site,)) for site in sites]
    if variant.family == "interpolation":
        means = frame.positive if dose > 0 else frame.negative
        units = {site: normalize(means[site].float(), dim=0) for site in sites}
        return [Placement(Interpolate(units[site], abs(dose)), (site,)) for site in sites]
    if variant.family == "scaling":
        edit = Scale(plane.b1, dose)
    else:
        turn = RotateBy if variant.operator.endswith("_by") else RotateTo
        edit = turn(plane.b1, plane.b2, dose)
    adaptive = variant.operator.startswith("adaptive_")
    return [Placement(Adaptive(plane.b1, edit) if adaptive else edit, sites)]
