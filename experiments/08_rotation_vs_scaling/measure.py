"""What edits do to the prompts of a split: model passes, each of them a cell, in nats."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import asin, pi
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.selection import Selection
from interp.interventions import Interpolate, Placement, RotateTo, compose
from interp.planes import (
    Plane,
    ScaleState,
    covariance_planes,
    isotropic_planes,
    random_second_axis,
)

from .operators import Frame, Variant, doses, placements
from .protocol import CURVE, Config

Target = Literal["bypass", "induce"]
TARGETS: tuple[Target, ...] = ("bypass", "induce")
CLASSES = ("harmful", "harmless")
BOTH = "both"  # the set of a meter that has the prompts of both classes, equally many, in order
PLANE_VARIANT = Variant.parse(CURVE)
FULLY_RANDOM = ("isotropic", "covariance")


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
    meter: Meter,
    keys: Iterable[Any],
    placed: Callable[..., Sequence[Placement]],
    description: str,
    *,
    damage: bool = True,
) -> dict[Any, Measured]:
    """Every edit `placed(*key)`, by its key; without damage, half the time and no KL."""
    base = meter.scores(BOTH).openings.reshape(2, -1)
    found = {}
    for key in meter.lab.progress(list(keys), description):
        edit = Edit("/".join(map(str, key)), placed(*key))
        scores = meter.scores(BOTH, edit, kl=damage)
        text_kl = meter.text(edit)["kl"] if damage else np.zeros(0)
        found[key] = Measured(
            scores.openings.reshape(2, -1), base, scores.kl[base.shape[1] :], text_kl
        )
    return found


def turn_random_planes(
    config: Config, meter: Meter, frame: Frame, selection: Selection
) -> dict[tuple[str, int, float], Measured]:
    """The absolute rotation at all norm inputs in random planes, by family, number and angle."""
    seeds = meter.lab.rng("08.planes").integers(2**31, size=3).tolist()
    states = torch.cat([selection.positive, selection.negative])
    drawn: dict[str, list[Plane]] = {
        "random_b2": random_second_axis(frame.plane, config.n_random_b2, seeds[0]),
        "isotropic": isotropic_planes(frame.plane, config.n_isotropic, seeds[1]),
        "covariance": covariance_planes(frame.plane, states, config.n_covariance, seeds[2]),
    }
    keys = [
        (family, number, angle)
        for family, planes in drawn.items()
        for number in range(len(planes))
        for angle in doses(PLANE_VARIANT, config.n_random_angles)
    ]

    def placed(family: str, number: int, angle: float) -> list[Placement]:
        return placements(PLANE_VARIANT, angle, replace(frame, plane=drawn[family][number]))

    return measure(meter, keys, placed, "turning random planes")


def rescale(
    config: Config, meter: Meter, frame: Frame
) -> tuple[dict[tuple[float, float], Measured], dict[tuple[int, float], Measured]]:
    """The whole state rescaled at the direction's own site, by in-plane angle and factor.

    Factor 1 is the rotation alone. Also random moves as long as the rescalings, by number and
    factor.
    """
    plane, sites = frame.plane, frame.places["source"]
    rng = meter.lab.rng("08.moves")
    units = torch.from_numpy(rng.standard_normal((config.n_random_moves, len(plane.b1)))).float()

    def turned(angle: float, factor: float) -> list[Placement]:
        edit = compose(RotateTo(plane.b1, plane.b2, angle), ScaleState(factor))
        return [Placement(edit, sites)]

    def moved(number: int, factor: float) -> list[Placement]:
        return [Placement(random_move(units[number] / units[number].norm(), factor), sites)]

    factors = config.magnitude_factors
    angles = doses(PLANE_VARIANT, config.n_magnitude_angles)
    turns = [(angle, factor) for angle in angles for factor in (1.0, *factors)]
    moves = [(number, factor) for number in range(len(units)) for factor in factors]
    return (
        measure(meter, turns, turned, "rescaling states", damage=False),
        measure(meter, moves, moved, "moving states at random", damage=False),
    )


def random_move(unit: Float[torch.Tensor, " d_model"], factor: float) -> Interpolate:
    """A turn towards `unit` as long as rescaling by `factor` is: chord |factor - 1| of |h|.

    The angle is 2 asin(|factor - 1| / 2); the slerp's share assumes a right angle between the state
    and `unit`, which random vectors have to within 1/sqrt(d_model).
    """
    chord = min(abs(factor - 1.0), 2.0)
    return Interpolate(unit, 2 * asin(chord / 2) / (pi / 2))


def answer(config: Config, meter: Meter, frame: Frame) -> Mapping[float | None, list[str]]:
    """Classes of the answers to both classes' prompts by angle; None is the unedited model."""
    angles = doses(PLANE_VARIANT, config.n_angle_answers)
    edits = {a: Edit(f"{CURVE}/{a}", placements(PLANE_VARIANT, a, frame)) for a in angles}
    tracked = meter.lab.progress(({None: BASE} | edits).items(), "answering at angles")
    return {angle: meter.answers(BOTH, edit) for angle, edit in tracked} if angles else {}
