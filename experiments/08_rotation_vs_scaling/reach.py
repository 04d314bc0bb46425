"""How far families of steering operators move a behaviour within a limit of damage, in nats.

A point is a variant at a dose. Mixtures of points are chosen on one split and measured on another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from experiments.lab.selection import Selection

from .frontier import Setting, best_mixture, mixture_at
from .measure import FULLY_RANDOM, PLANE_VARIANT, TARGETS, Measured
from .operators import FAMILIES, Variant
from .protocol import CAPS, MATCHED_KL

CAP = "cap"  # limits what counts against a target
MATCHED = "KL on text"  # limits the KL on text alone, to which points are mixed anew where measured
LIMITS = {CAP: CAPS, MATCHED: (MATCHED_KL,)}

Point = tuple[Variant, float]
Shares = tuple[tuple[Point, float], ...]
"""Points with the share of prompts that each is applied to; the rest is left alone."""
Key = tuple[str, float, str, str]
"""Kind of limit, its value in nats, family, and target (or "reach", their sum)."""


class Mixed(NamedTuple):
    """What a mixture does: expected effect per prompt, and mean KL on text."""

    effect: Float[np.ndarray, " sample"]
    text_kl: float


def choose(sweep: Mapping[Point, Measured]) -> dict[Key, Shares]:
    """Per limit, family and target: the mixture of largest effect on validation within it."""
    swept = {variant.family for variant, _ in sweep}
    families = [family for family in FAMILIES if family in swept]
    choices: dict[Key, Shares] = {}
    for (kind, limits), family, target in product(LIMITS.items(), families, TARGETS):
        settings = []
        for (variant, dose), m in sweep.items():
            if variant.family == family:
                damage = float(m.text_kl.mean()) if kind == MATCHED else m.damage(target)
                settings.append(Setting(variant, dose, float(m.effect(target).mean()), damage))
        for at in limits:
            mixture = best_mixture(settings, at)
            choices[kind, at, family, target] = tuple(((s.variant, s.dose), w) for s, w in mixture)
    return choices


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


def mix(
    choices: Mapping[Key, Shares], measured: Mapping[Point, Measured], n: int
) -> dict[Key, Mixed]:
    """What the choices do to n measured prompts per class, per target and in sum.

    The KL of the sum is the smaller of its targets'.
    """
    found: dict[Key, Mixed] = {}
    for (kind, at, family, target), shares in choices.items():
        text_kl = sum(share * float(measured[p].text_kl.mean()) for p, share in shares)
        if kind == MATCHED:
            shares, text_kl = at_text_kl(shares, measured, at)
        effect = sum((share * measured[p].effect(target) for p, share in shares), np.zeros(n))
        found[kind, at, family, target] = Mixed(effect, text_kl)
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
    choices: Mapping[Key, Shares]
    test: Mapping[Point, Measured]
    magnitude: Mapping[tuple[str, float, float], Measured]  # see `magnitude_edits`
    refused: Mapping[float | None, Bool[np.ndarray, "class sample"]]
    selection: Selection

    @cached_property
    def mixed(self) -> dict[Key, Mixed]:
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
