"""Effect against damage: the best mixture of settings within a limit, and mixtures of equal damage.

A mixture applies one of two settings, or none, to a random share of the prompts. Its mean effect
and mean damage are the weighted means of theirs, exactly, so a coarse grid of doses can be compared
at any damage without assuming anything about the model between the points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.errors import DataError

from .operators import Variant


@dataclass(frozen=True)
class Setting:
    """One measured setting of an operator: its effect, and the damage it does (both in nats)."""

    variant: Variant
    dose: float
    effect: float
    damage: float


Mixture = tuple[tuple[Setting, float], ...]
"""Settings with their shares; what is left to 1 is no edit. Empty: the model is left alone."""


def best_mixture(settings: Sequence[Setting], cap: float) -> Mixture:
    """The mixture of largest mean effect with a mean damage of at most `cap`.

    A point of the upper concave hull of no edit (0, 0) and the settings: one setting, or two
    neighbours on the hull of which one is beyond the cap. Empty when no setting has effect > 0.
    """
    helpful = [s for s in settings if s.effect > 0 and np.isfinite(s.damage)]
    within = [s for s in helpful if s.damage <= cap]
    options: list[Mixture] = [(), *(((s, 1.0),) for s in within)]
    for strong in (s for s in helpful if s.damage > cap):
        options.append(((strong, cap / strong.damage),))
        for mild in within:
            share = (cap - mild.damage) / (strong.damage - mild.damage)
            options.append(((mild, 1 - share), (strong, share)))
    return max(options, key=lambda mixture: sum(s.effect * share for s, share in mixture))


def mixture_at(
    damages: Float[np.ndarray, " setting"], at: float
) -> tuple[Float[np.ndarray, " setting"], float]:
    """Shares [setting] that mix settings, and no edit, to a mean damage of `at`; and that damage.

    Linear interpolation in damage between neighbouring settings, with no edit at damage 0. The
    remaining share, 1 - sum, is no edit. Never extrapolated: beyond the largest damage all of it is
    on that setting, and the damage returned is that one, below `at`. Without settings it is 0.
    Raises DataError on a negative or not finite damage.
    """
    values = np.asarray(damages, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        raise DataError(f"Damages must be finite and not negative; got {values.tolist()}.")
    order = np.argsort(values, kind="stable")
    points = np.concatenate([[0.0], values[order]])
    shares = np.zeros(len(values))
    shares[order] = [np.interp(at, points, hat) for hat in np.eye(len(points))[1:]]
    return shares, min(at, float(points[-1]))
