"""How far families of steering operators move a behaviour within a limit of damage, in nats.

A point is a variant at a dose. A mixture applies one of two points, or none, to a random share of
the prompts: its mean effect and damage are the weighted means of theirs, exactly, so that a coarse
grid of doses can be compared at any damage without assuming anything about the model between them.
Mixtures are chosen on one split and measured on another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from experiments.lab.selection import Selection
from interp.errors import DataError

from .measure import FULLY_RANDOM, PLANE_VARIANT, TARGETS, Measured, Target
from .operators import FAMILIES, Variant
from .protocol import CAPS, MATCHED_KL

CAP = "cap"  # limits what counts against a target
MATCHED = "KL on text"  # limits the KL on text alone, to which points are mixed anew where measured
LIMITS = {CAP: CAPS, MATCHED: (MATCHED_KL,)}

K = TypeVar("K")
Point = tuple[Variant, float]
Choices = Mapping[tuple[str, float, str, Target], Mapping[Point, float]]
"""By kind of limit, its value in nats, family and target: points with their shares of prompts."""


def best_mixture(settings: Mapping[K, tuple[float, float]], cap: float) -> dict[K, float]:
    """Shares of the settings (effect, damage) with the largest mean effect within a mean damage.

    A point of the upper concave hull of no edit (0, 0) and the settings: one setting, or two
    neighbours on the hull of which one is beyond the cap. What is left to 1 is no edit. Empty when
    no setting has effect > 0.
    """
    helpful = {s: d for s, (effect, d) in settings.items() if effect > 0 and np.isfinite(d)}
    within = {s: damage for s, damage in helpful.items() if damage <= cap}
    options: list[dict[K, float]] = [{}, *({s: 1.0} for s in within)]
    for strong, beyond in helpful.items():
        if beyond > cap:
            options.append({strong: cap / beyond})
            for mild, damage in within.items():
                share = (cap - damage) / (beyond - damage)
                options.append({mild: 1 - share, strong: share})
    return max(options, key=lambda shares: sum(settings[s][0] * w for s, w in shares.items()))


def mixture_at(damages: Mapping[K, float], at: float) -> tuple[dict[K, float], float]:
    """Shares that mix settings, and no edit, to a mean damage of `at`; and that damage.

    Linear interpolation in damage between neighbouring settings, with no edit at damage 0. Never
    extrapolated: beyond the largest damage all of it is on that setting, and the damage returned is
    that one, below `at`; without settings 0. Raises DataError on a negative or not finite damage.
    """
    values = np.array(list(damages.values()), dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        raise DataError(f"Damages must be finite and not negative; got {values.tolist()}.")
    order = np.argsort(values, kind="stable")
    points = np.concatenate([[0.0], values[order]])
    shares = np.zeros(len(values))
    shares[order] = [np.interp(at, points, hat) for hat in np.eye(len(points))[1:]]
    return dict(zip(damages, shares.tolist(), strict=True)), min(at, float(points[-1]))


def choose(sweep: Mapping[Point, Measured]) -> Choices:
    """Per limit, family and target: the mixture of largest effect on validation within it."""
    swept = {variant.family for variant, _ in sweep}
    families = [family for family in FAMILIES if family in swept]
    choices = {}
    for (kind, limits), family, target in product(LIMITS.items(), families, TARGETS):
        settings = {}
        for point, m in sweep.items():
            if point[0].family == family:
                damage = m.text_kl.mean() if kind == MATCHED else m.damage(target)
                settings[point] = float(m.effect(target).mean()), float(damage)
        for at in limits:
            choices[kind, at, family, target] = best_mixture(settings, at)
    return choices


class Mixed(NamedTuple):
    """What a mixture does: expected effect per prompt, and mean KL on text."""

    effect: Float[np.ndarray, " sample"]
    text_kl: float


def mix(
    choices: Choices, measured: Mapping[Point, Measured], n: int
) -> dict[tuple[str, float, str, str], Mixed]:
    """What the choices do to n measured prompts per class, by target and "reach", their sum.

    The KL of the sum is the smaller of its targets'.
    """
    found = {}
    for (kind, at, family, target), shares in choices.items():
        text_kl = {point: float(measured[point].text_kl.mean()) for point in shares}
        total = sum(share * text_kl[point] for point, share in shares.items())
        if kind == MATCHED:
            shares, total = mixture_at(text_kl, at)
        effects = (share * measured[point].effect(target) for point, share in shares.items())
        found[kind, at, family, target] = Mixed(sum(effects, np.zeros(n)), total)
    for kind, at, family, _ in choices:
        bypass, induce = (found[kind, at, family, target] for target in TARGETS)
        both = Mixed(bypass.effect + induce.effect, min(bypass.text_kl, induce.text_kl))
        found[kind, at, family, "reach"] = both
    return found


@dataclass(frozen=True, eq=False)
class Measurements:
    """Everything that was measured, and the choices made on validation prompts."""

    base: Float[np.ndarray, "class sample"]  # openings of the unedited model, test prompts
    sweep: Mapping[Point, Measured]
    planes: Mapping[tuple[str, int, float], Measured]  # by family, number and angle
    choices: Choices
    test: Mapping[Point, Measured]
    magnitude: Mapping[tuple[str, float, float], Measured]  # see `magnitude_edits`
    refused: Mapping[float | None, Bool[np.ndarray, "class sample"]]
    selection: Selection

    @cached_property
    def mixed(self) -> dict[tuple[str, float, str, str], Mixed]:
        """What the choices do on test prompts."""
        return mix(self.choices, self.test, self.base.shape[1])

    @property
    def families(self) -> list[str]:
        """The families that were swept."""
        return list(dict.fromkeys(family for _, _, family, _ in self.choices))

    @property
    def curve(self) -> dict[float, Measured]:
        """The true plane, by angle."""
        return {dose: m for (variant, dose), m in self.sweep.items() if variant == PLANE_VARIANT}

    @cached_property
    def null_curves(self) -> dict[tuple[str, int], dict[float, Measured]]:
        """The random planes, each by angle."""
        found: dict[tuple[str, int], dict[float, Measured]] = {}
        for (family, number, angle), m in self.planes.items():
            found.setdefault((family, number), {})[angle] = m
        return found

    @cached_property
    def null_reach(self) -> Float[np.ndarray, " plane"]:
        """Reach of each fully random plane over its angles, whatever the damage: generous."""
        effects = [
            [[m.effect(target).mean() for target in TARGETS] for m in turned.values()]
            for (family, _), turned in self.null_curves.items()
            if family in FULLY_RANDOM
        ]
        return np.clip(effects, 0, None).max(axis=1).sum(axis=1)

    @property
    def rescaled(self) -> dict[tuple[float, float], Float[np.ndarray, " sample"]]:
        """Absolute change of each score by angle and factor, against factor 1 at that angle."""
        turned = {key[1:]: m.openings for key, m in self.magnitude.items() if key[0] == "turn"}
        return {key: abs(turned[key] - turned[key[0], 1.0]).ravel() for key in turned}

    def moves(self, factor: float) -> Float[np.ndarray, " move"]:
        """Mean absolute change of the score by each random move as long as the rescaling."""
        moved = {key: m for key, m in self.magnitude.items() if key[0] == "move"}
        return np.array([abs(m.change).mean() for key, m in moved.items() if key[2] == factor])
