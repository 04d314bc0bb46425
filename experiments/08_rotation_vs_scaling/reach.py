"""How far families of steering operators move a behaviour within a limit of damage, in nats.

A point is a variant at a dose. Mixtures of points are chosen on one split and measured on another.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from .frontier import Setting, best_mixture, mixture_at
from .meter import Measured
from .operators import Variant

Point = tuple[Variant, float]
Target = Literal["bypass", "induce"]
TARGETS: tuple[Target, ...] = ("bypass", "induce")
FAMILIES = ("rotation", "scaling", "adding", "interpolation")

Shares = tuple[tuple[Point, float], ...]
"""Points with the share of prompts that each is applied to; the rest is left alone."""

Choices = dict[tuple[str, Target, float], Shares]
"""(family, target, cap) -> what was chosen."""


def choose(
    validation: Mapping[Point, Measured],
    base: Measured,
    caps: Sequence[float],
    text_only: bool = False,
) -> Choices:
    """Per family, target and cap: the mixture of largest effect on validation within the cap.

    `text_only`: damage is the KL on text alone, else what counts against the target.
    """
    chosen: Choices = {}
    for family in FAMILIES:
        points = {p: m for p, m in validation.items() if p[0].family == family}
        for target in TARGETS if points else ():
            settings = {
                setting_of(point, m, base, target, text_only): point for point, m in points.items()
            }
            for cap in caps:
                mixture = best_mixture(list(settings), cap)
                chosen[family, target, cap] = tuple((settings[s], w) for s, w in mixture)
    return chosen


def setting_of(
    point: Point, measured: Measured, base: Measured, target: Target, text_only: bool
) -> Setting:
    """A measured point as a setting with one effect and one damage."""
    damage = float(measured.text_kl.mean()) if text_only else measured.damage(target)
    effect = float(measured.effect(base, target).mean())
    return Setting(str(point[0]), point[1], effect, damage)


def families(chosen: Choices) -> list[str]:
    """The families that were swept."""
    return [family for family in FAMILIES if any(key[0] == family for key in chosen)]


def points_of(*choices: Choices) -> list[Point]:
    """Every point that was chosen, once, sorted."""
    found = {point for chosen in choices for shares in chosen.values() for point, _ in shares}
    return sorted(found, key=lambda point: (str(point[0]), point[1]))


def mixed_effect(
    shares: Shares, measured: Mapping[Point, Measured], base: Measured, target: Target
) -> Float[np.ndarray, " sample"]:
    """Expected effect per prompt of a mixture; 0 where the model is left alone."""
    total = np.zeros(len(base.harmful))
    for point, share in shares:
        total = total + share * measured[point].effect(base, target)
    return total


def at_text_kl(
    shares: Shares, measured: Mapping[Point, Measured], text_kl: float
) -> tuple[Shares, float]:
    """The chosen points, mixed anew to have a given mean KL on the measured split's own text.

    Also the KL they then have: less than the given one where each of them has less.
    """
    points = [point for point, _ in shares]
    damages = np.array([float(measured[point].text_kl.mean()) for point in points])
    mixed, reached = mixture_at(damages, text_kl)
    return tuple(zip(points, mixed.tolist(), strict=True)), reached


def reach(
    chosen: Choices, measured: Mapping[Point, Measured], base: Measured, family: str, cap: float
) -> Float[np.ndarray, " sample"]:
    """Bypass + induce of the chosen mixtures per pair of prompts."""
    total = np.zeros(len(base.harmful))
    for target in TARGETS:
        total = total + mixed_effect(chosen[family, target, cap], measured, base, target)
    return total


def matched_effect(
    chosen: Choices,
    measured: Mapping[Point, Measured],
    base: Measured,
    family: str,
    target: Target,
    text_kl: float,
) -> Float[np.ndarray, " sample"]:
    """Effect per prompt of the points chosen for a KL on text, mixed to that KL or `matched_kl`."""
    shares, _ = at_text_kl(chosen[family, target, text_kl], measured, text_kl)
    return mixed_effect(shares, measured, base, target)


def matched_kl(
    chosen: Choices, measured: Mapping[Point, Measured], family: str, text_kl: float
) -> dict[Target, float]:
    """KL on text, per target, that a family is compared at: `text_kl`, or the most it reaches."""
    return {
        target: at_text_kl(chosen[family, target, text_kl], measured, text_kl)[1]
        for target in TARGETS
    }


def matched_reach(
    chosen: Choices,
    measured: Mapping[Point, Measured],
    base: Measured,
    family: str,
    text_kl: float,
) -> Float[np.ndarray, " sample"]:
    """Bypass + induce per pair of prompts at a given KL on text, or at `matched_kl`."""
    total = np.zeros(len(base.harmful))
    for target in TARGETS:
        total = total + matched_effect(chosen, measured, base, family, target, text_kl)
    return total
