"""How far families of steering operators move a behaviour within a limit of damage.

A point is a variant at a dose. Points are chosen on one split and measured on another.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from experiments.meter import Measured
from interp.frontier import Setting, best_within, mixture_at
from interp.operators import Variant

Point = tuple[Variant, float]
TARGETS = ("bypass", "induce")
FAMILIES = ("rotation", "scaling", "adding", "interpolation")

# (family, target, cap) -> the point chosen, None where the model is best left alone.
Choices = dict[tuple[str, str, float], Point | None]


def choose(validation: Mapping[Point, Measured], base: Measured, caps: Sequence[float]) -> Choices:
    """Per family, target and cap: the point of largest effect on validation within the cap."""
    chosen: Choices = {}
    for family in FAMILIES:
        points = {p: m for p, m in validation.items() if p[0].family == family}
        for target in TARGETS if points else ():
            settings = [
                Setting(str(v), dose, float(m.effect(base, target).mean()), m.damage(target))
                for (v, dose), m in points.items()
            ]
            for cap in caps:
                best = best_within(settings, cap)
                point = None if best is None else (Variant.parse(best.variant), best.dose)
                chosen[family, target, cap] = point
    return chosen


def reach(
    chosen: Choices, measured: Mapping[Point, Measured], base: Measured, family: str, cap: float
) -> Float[np.ndarray, " sample"]:
    """Bypass + induce of the chosen settings per prompt pair, in nats; 0 where none was allowed."""
    total = np.zeros(len(base.harmful))
    for target in TARGETS:
        point = chosen[family, target, cap]
        total = total + (0.0 if point is None else measured[point].effect(base, target))
    return total


def matched_effect(
    chosen: Choices,
    measured: Mapping[Point, Measured],
    base: Measured,
    family: str,
    target: str,
    text_kl: float,
) -> Float[np.ndarray, " sample"]:
    """Effect per prompt of a mixture of the family's chosen settings with a given KL on text."""
    own = [p for key, p in chosen.items() if key[:2] == (family, target) and p is not None]
    points = list(dict.fromkeys(own))
    if not points:
        return np.zeros(len(base.harmful))
    damages = np.array([float(measured[p].text_kl.mean()) for p in points])
    effects = np.stack([measured[p].effect(base, target) for p in points])
    return mixture_at(damages, text_kl) @ effects


def matched_reach(
    chosen: Choices,
    measured: Mapping[Point, Measured],
    base: Measured,
    family: str,
    text_kl: float,
) -> Float[np.ndarray, " sample"]:
    """Bypass + induce per prompt pair at a given KL on text, in nats."""
    total = np.zeros(len(base.harmful))
    for target in TARGETS:
        total = total + matched_effect(chosen, measured, base, family, target, text_kl)
    return total
