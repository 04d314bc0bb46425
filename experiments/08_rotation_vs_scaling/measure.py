"""What edits do to the prompts of a split: model passes, each of them a cell, in nats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import asin, pi
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.selection import Selection
from interp import planes
from interp.interventions import Interpolate, Intervention, Placement, RotateTo, compose

from .operators import Frame, Variant, doses, placements
from .protocol import CURVE, Config

Target = Literal["bypass", "induce"]
TARGETS: tuple[Target, ...] = ("bypass", "induce")
CLASSES = ("harmful", "harmless")
BOTH = "both"  # a meter's prompts of both classes, equally many, in this order
PLANE_VARIANT = Variant.parse(CURVE)
FULLY_RANDOM = ("isotropic", "covariance")

K = TypeVar("K", bound=tuple)


@dataclass(frozen=True, eq=False)
class Measured:
    """What one edit does to a split; the rows of the openings scores are harmful and harmless."""

    openings: Float[np.ndarray, "class sample"]
    base: Float[np.ndarray, "class sample"]  # openings scores of the unedited model
    kl: Float[np.ndarray, " sample"]  # of the next token after harmless prompts
    text_kl: Float[np.ndarray, " text"]  # per token

    @property
    def change(self) -> Float[np.ndarray, "class sample"]:
        """Edited minus unedited."""
        return self.openings - self.base

    def effect(self, target: Target) -> Float[np.ndarray, " sample"]:
        """Change in the wanted direction: fall on harmful prompts or rise on harmless ones."""
        return -self.change[0] if target == "bypass" else self.change[1]

    def damage(self, target: Target) -> float:
        """Mean KL that counts against a target (bypass: next token on harmless too)."""
        text = float(self.text_kl.mean())
        return max(text, float(self.kl.mean())) if target == "bypass" else text


def measure(
    meter: Meter, edits: Mapping[K, Sequence[Placement]], description: str, *, damage: bool = True
) -> dict[K, Measured]:
    """Every edit by its key; without damage, half the time and no KL."""
    base = meter.scores(BOTH).openings.reshape(2, -1)
    found = {}
    for key, placed in meter.lab.progress(edits.items(), description):
        edit = Edit("/".join(map(str, key)), placed)
        scores = meter.scores(BOTH, edit, kl=damage)
        openings, kl = scores.openings.reshape(2, -1), scores.kl[base.shape[1] :]
        text_kl = meter.text(edit)["kl"] if damage else np.zeros(0)
        found[key] = Measured(openings, base, kl, text_kl)
    return found


def plane_edits(
    config: Config, lab: Lab, frame: Frame, selection: Selection
) -> dict[tuple[str, int, float], list[Placement]]:
    """The absolute rotation at all norm inputs in random planes, by family, number and angle."""
    true, states = frame.plane, torch.cat([selection.positive, selection.negative])
    seeds = lab.rng("08.planes").integers(2**31, size=3).tolist()
    drawn = {
        "random_b2": planes.random_second_axis(true, config.n_random_b2, seeds[0]),
        "isotropic": planes.isotropic_planes(true, config.n_isotropic, seeds[1]),
        "covariance": planes.covariance_planes(true, states, config.n_covariance, seeds[2]),
    }
    return {
        (family, number, angle): placements(PLANE_VARIANT, angle, replace(frame, plane=plane))
        for family, several in drawn.items()
        for number, plane in enumerate(several)
        for angle in doses(PLANE_VARIANT, config.n_random_angles)
    }


def magnitude_edits(
    config: Config, lab: Lab, frame: Frame
) -> dict[tuple[str, float, float], list[Placement]]:
    """The whole state rescaled at the direction's own site: ("turn", in-plane angle, factor).

    Factor 1 is the rotation alone. ("move", number, factor): random moves as long.
    """
    plane, factors = frame.plane, config.magnitude_factors
    edits: dict[tuple[str, float, float], Intervention] = {
        ("turn", angle, factor): compose(
            RotateTo(plane.b1, plane.b2, angle), planes.ScaleState(factor)
        )
        for angle in doses(PLANE_VARIANT, config.n_magnitude_angles)
        for factor in (1.0, *factors)
    }
    units = lab.rng("08.moves").standard_normal((config.n_random_moves, len(plane.b1)))
    for number, unit in enumerate(torch.from_numpy(units).float()):
        for factor in factors:
            edits["move", number, factor] = random_move(unit / unit.norm(), factor)
    return {key: [Placement(edit, frame.places["source"])] for key, edit in edits.items()}


def random_move(unit: Float[torch.Tensor, " d_model"], factor: float) -> Interpolate:
    """A turn towards `unit` as long as rescaling by `factor` is: chord |factor - 1| of |h|.

    The angle is 2 asin(|factor - 1| / 2); the slerp's share assumes a right angle between the state
    and `unit`, which random vectors have to within 1/sqrt(d_model).
    """
    chord = min(abs(factor - 1.0), 2.0)
    return Interpolate(unit, 2 * asin(chord / 2) / (pi / 2))


def refusals(
    config: Config, meter: Meter, frame: Frame
) -> dict[float | None, Bool[np.ndarray, "class sample"]]:
    """Whether each prompt's answer declines, by angle at all norm inputs; None: unedited."""
    edits: dict[float | None, Edit] = {None: BASE} if config.n_angle_answers else {}
    for angle in doses(PLANE_VARIANT, config.n_angle_answers):
        edits[angle] = Edit(f"{CURVE}/{angle}", placements(PLANE_VARIANT, angle, frame))
    return {
        angle: np.reshape(meter.answers(BOTH, edit), (2, -1)) == "refused"
        for angle, edit in meter.lab.progress(edits.items(), "answering at angles")
    }
