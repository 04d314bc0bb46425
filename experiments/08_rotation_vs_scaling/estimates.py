"""From the measurements of experiment 08 to estimates with intervals.

Of odds, `draw pair class dose`, draw 0 is the direction or plane itself and those after it are
re-extractions, or all are random draws.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from experiments.lab.estimate import Estimate
from experiments.lab.meter import SHOWING
from experiments.lab.steps import Odds, odds_of
from interp.effects import two_level_bootstrap as over
from interp.stats import wilson
from interp.turns import degrees_within, harmonic_amplitude, harmonic_share, two_harmonics

from .protocol import LEAD, MAX_TEXT_KL, PLANES, TURNS

OddsOfOne = Float[np.ndarray, "pair class dose"]


def gap_estimate(scores: pd.DataFrame) -> Estimate:
    """Mean odds of harmful minus harmless test prompts, of the unedited model."""
    return Estimate.of("gap", over(gap_of, odds_of(scores, "base", "all")), unit="nats")


def gap_of(odds: OddsOfOne) -> float:
    """Mean odds of harmful minus harmless prompts."""
    return float((odds[:, 0] - odds[:, 1]).mean())


def length_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """Mean absolute changes by rescaling over those by turns of the same chord, over the gap."""
    base = odds_of(scores, "base", "all")
    rescaled = np.abs(odds_of(scores, "length", "rescaled") - base)
    yield Estimate.of("length.rescaled", over(np.mean, rescaled), unit="nats")
    ratio = over(lambda r, b: share(r.mean(), gap_of(b[0])), rescaled, base)
    yield Estimate.of("length.ratio.gap", ratio)
    for family in TURNS:
        turned = np.abs(odds_of(scores, "length", family) - base)
        # The mean over draws is the estimate; its bootstrap takes a draw, or their mean.
        turned = np.concatenate([turned.mean(0, keepdims=True), turned])
        ratio = over(lambda t, r: share(r.mean(), t.mean()), turned, rescaled)
        yield Estimate.of(f"length.ratio.{family}", ratio)
        yield Estimate.of(f"length.turned.{family}", over(np.mean, turned), unit="nats")
    last = np.abs(odds_of(scores, "length", "last") - base)
    yield Estimate("length.last_site", float(last.max()), n=last.shape[1], unit="nats")


def share(part: float, whole: float) -> float:
    """A ratio; 0 of nothing, which the criteria test first."""
    return float(part / whole) if whole else 0.0


def adding_estimates(scores: pd.DataFrame, answers: pd.DataFrame) -> Iterator[Estimate]:
    """How far addition and the same turn are apart, over what they do; and rates of refusal."""
    base = odds_of(scores, "base", "all")
    both = np.stack([odds_of(scores, "adding", name) for name in ("plain", "kept")], -1)
    yield Estimate.of("adding.difference", over(apart, both, base))
    yield Estimate.of("adding.range", over(dose_range, both, base), unit="nats")
    for (on, family, dose), part in answers.groupby(["set", "family", "dose"], sort=False):  # type: ignore[misc]
        rate = wilson(int(part.answer.isin(SHOWING).sum()), len(part))
        yield Estimate.of(f"refusal_rate.{on}.{family}.{dose:g}", rate)


def apart(both: Float[np.ndarray, "pair class dose version"], base: Odds) -> float:
    """Mean absolute difference of the versions over the range of their mean, or a smaller gap."""
    least = min(dose_range(both, base), gap_of(base[0]))
    return share(np.abs(both[..., 0] - both[..., 1]).mean(), least)


def dose_range(both: Float[np.ndarray, "pair class dose version"], base: Odds) -> float:
    """Range of the mean odds over the doses and none, averaged over the versions."""
    return float(np.ptp([base.mean(), *both.mean((0, 1, 3))]))


def reach_estimates(scores: pd.DataFrame, text: pd.DataFrame) -> Iterator[Estimate]:
    """Range of the fitted odds where adding gets, over that of the full turn."""
    odds, kl = odds_of(scores, "plane", "plane"), text.kl.to_numpy(np.float64)
    usable = degrees_within(kl, MAX_TEXT_KL)
    yield Estimate.of("reach.share", over(lambda at: share(*ranges(at, usable)), odds))
    yield Estimate.of("reach.range", over(lambda at: ranges(at, usable)[1], odds), unit="nats")
    yield Estimate("reach.usable", float(usable.mean()), n=len(kl), unit="of the turn")


def ranges(at: OddsOfOne, usable: Bool[np.ndarray, "360"]) -> tuple[float, float]:
    """Ranges of the mean odds over 0 to 180 degrees and over all that is usable."""
    curve, half = two_harmonics(at.mean((0, 1))), np.arange(360) <= 180
    near, full = (
        float(np.ptp(p)) if len(p) else 0.0 for p in (curve[usable & half], curve[usable])
    )
    return near, full


def plane_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """First harmonic of the fixed plane, and its lead over random planes."""
    odds = odds_of(scores, "plane", "plane")
    yield Estimate.of("plane.r2", over(lambda at: harmonic_share(at.mean((0, 1))), odds))
    yield Estimate.of("plane.amplitude", over(amplitude, odds), unit="nats")
    for family in PLANES:
        null = odds_of(scores, "plane", family)
        yield Estimate.of(f"plane.margin.{family}", over(lead, odds, null), unit="nats")


def amplitude(at: OddsOfOne) -> float:
    """First harmonic of the mean odds over the angle."""
    return float(harmonic_amplitude(at.mean((0, 1))))


def lead(at: OddsOfOne, null: Odds) -> float:
    """Amplitude minus LEAD times that of the strongest random plane, at the same angles."""
    same = at[..., :: at.shape[-1] // null.shape[-1]]
    return amplitude(same) - LEAD * max(amplitude(plane) for plane in null)


def competition_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """What other features take from the gap between the classes, at two lengths of the state."""
    given = alone(scores), odds_of(scores, "competition", "added")
    yield Estimate.of("competition.kept", over(lambda *at: competition(*at)[0], *given))
    yield Estimate.of("competition.cost", over(lambda *at: competition(*at)[1], *given))


def alone(scores: pd.DataFrame) -> Odds:
    """The odds without other features; the doses are the states' lengths, 1 and LONGER."""
    parts = odds_of(scores, "base", "all"), odds_of(scores, "competition", "alone")
    return np.concatenate(parts, -1)


def competition(plain: OddsOfOne, beside: Odds) -> tuple[float, float]:
    """Share of the loss that longer states are spared; the loss over the gap."""
    (gap, longer), (left, longer_left) = gaps(plain[None]), gaps(beside)
    loss, longer_loss = gap - left, max(gap, longer) - longer_left
    return share(loss - longer_loss, loss), share(loss, gap)


def gaps(odds: Odds) -> tuple[float, float]:
    """Mean odds of harmful minus harmless prompts, of states as they are and of longer ones."""
    usual, longer = (odds[:, :, 0] - odds[:, :, 1]).mean((0, 1))
    return float(usual), float(longer)
