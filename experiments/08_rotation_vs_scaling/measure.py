"""What a comparison of rotation and scaling measures, and quantities derived from it, in nats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from experiments.lab.selection import Selection

from .meter import Measured
from .operators import Variant
from .reach import TARGETS, Choices, Point

PLANE_VARIANT = Variant("rotate_to", "norms")
FULLY_RANDOM = ("isotropic", "covariance")

PlaneKey = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Measurements:
    """Everything that was measured, and the choices made on validation.

    `magnitude` has the keys (angle or `random.N`, factor).
    """

    base_validation: Measured
    base_test: Measured
    sweep: Mapping[Point, Measured]
    planes: Mapping[PlaneKey, Mapping[float, Measured]]
    chosen: Choices  # at limits of the damage that counts against a target
    matched: Choices  # at one KL on text
    test: Mapping[Point, Measured]
    magnitude: Mapping[tuple[str, float], Measured]
    selection: Selection


def null_reach(
    planes: Mapping[PlaneKey, Mapping[float, Measured]], base: Measured
) -> Float[np.ndarray, " plane"]:
    """Reach of each fully random plane over its angles, whatever the damage: a generous null."""
    return np.array(
        [
            sum(
                max(0.0, *(float(m.effect(base, target).mean()) for m in turned.values()))
                for target in TARGETS
            )
            for (family, _), turned in planes.items()
            if family in FULLY_RANDOM
        ]
    )


def curve(
    turned: Mapping[float, Measured], base: Measured, angles: Sequence[float]
) -> Float[np.ndarray, "sample angle"]:
    """Change of the openings score of each prompt (harmful first) at each angle, in nats."""
    return np.stack([turned[angle].scores - base.scores for angle in angles], axis=1)


def true_curve(
    found: Measurements, angles: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Angles [angle] and changes [sample angle] of the true plane; all angles unless given."""
    turned = {dose: m for (variant, dose), m in found.sweep.items() if variant == PLANE_VARIANT}
    angles = sorted(turned) if angles is None else angles
    return np.array(angles), curve(turned, found.base_validation, angles)


def magnitude_changes(
    magnitude: Mapping[tuple[str, float], Measured], base: Measured
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per prompt, in nats: change by magnitude [sample], by angle [sample]; by moves [draw].

    By magnitude: mean absolute change over angles and factors against the same angle at factor 1.
    By angle: mean absolute difference over pairs of angles at factor 1. By random moves as long as
    the rescalings, against the unedited model: mean over factors and prompts.
    """
    turned = {key: m.scores for key, m in magnitude.items() if not key[0].startswith("random")}
    level = {angle: scores for (angle, factor), scores in turned.items() if factor == 1.0}
    by_factor = [abs(s - level[angle]) for (angle, factor), s in turned.items() if factor != 1.0]
    by_angle = [abs(first - second) for first, second in combinations(level.values(), 2)]
    moves: dict[str, list[float]] = {}
    for (name, _), m in magnitude.items():
        if name.startswith("random"):
            moves.setdefault(name, []).append(float(abs(m.scores - base.scores).mean()))
    null = np.array([np.mean(values) for values in moves.values()])
    return np.mean(by_factor, axis=0), np.mean(by_angle, axis=0), null
