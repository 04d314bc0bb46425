"""From the measurements of experiment 08 to estimates with intervals.

Odds are held as `draw pair class dose`: draw 0 is the direction or plane itself, those after it
re-extractions (or all draws are random ones); class 0 is harmful; doses include the sites.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from interp.planes import Harmonic, first_harmonic
from interp.stats import two_level_bootstrap as over

from .measure import ALL, SOME
from .protocol import LEAD, MAX_TEXT_KL, PLANES, TURNS

Odds = Float[np.ndarray, "draw pair class dose"]
Curve = Float[np.ndarray, " dose"]
DEGREES = np.arange(360)


def odds_of(scores: pd.DataFrame, part: str, family: str) -> Odds:
    """The scores of one family, in the order in which they were measured."""
    rows = scores[(scores.part == part) & (scores.family == family)]
    draws, pairs = rows.draw.nunique(), rows.groupby("set").prompt.nunique().iloc[0]
    values = rows.sort_values("draw", kind="stable").value.to_numpy(np.float64)
    return values.reshape(draws, -1, 2, pairs).transpose(0, 3, 2, 1)


def all_estimates(scores: pd.DataFrame, text: pd.DataFrame) -> Iterator[Estimate]:
    """What the criteria ask for, and what is shown beside it."""
    yield from length_estimates(scores)
    yield from adding_estimates(scores)
    yield from reach_estimates(scores, text)
    yield from plane_estimates(scores)
    yield from competition_estimates(scores)


def length_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """Mean absolute changes by rescaling over those by turns of the same chord."""
    base = odds_of(scores, "base", SOME)
    rescaled = np.abs(odds_of(scores, "length", "rescaled") - base)
    yield Estimate.of("length.rescaled", over(np.mean, rescaled), unit="nats")
    for family in (*TURNS, "own_plane"):
        turned = with_mean(np.abs(odds_of(scores, "length", family) - base))
        ratio = over(lambda t, r: share(r.mean(), t.mean()), turned, rescaled)
        yield Estimate.of(f"length.ratio.{family}", ratio)
        yield Estimate.of(f"length.turned.{family}", over(np.mean, turned), unit="nats")
    last = np.abs(odds_of(scores, "length", "last") - base)
    yield Estimate("length.last_site", float(last.max()), n=len(last[0]), unit="nats")


def with_mean(draws: Odds) -> Odds:
    """The mean over draws, which is the estimate, before the draws, which its bootstrap takes."""
    return np.concatenate([draws.mean(0, keepdims=True), draws])


def share(part: float, whole: float) -> float:
    """A ratio; 0 of nothing, which the criteria test first."""
    return float(part / whole) if whole else 0.0


def adding_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """How far addition and the same turn are apart, over the range of the doses."""
    versions = [odds_of(scores, "adding", name) for name in ("plain", "kept")]
    both, base = np.stack(versions, -1), odds_of(scores, "base", ALL)
    yield Estimate.of("adding.difference", over(apart, both, base))
    yield Estimate.of("adding.range", over(dose_range, both, base), unit="nats")


def apart(
    both: Float[np.ndarray, "pair class dose version"], base: Float[np.ndarray, "1 pair class 1"]
) -> float:
    """Mean absolute difference of the versions over the range of their mean."""
    return share(np.abs(both[..., 0] - both[..., 1]).mean(), dose_range(both, base))


def dose_range(
    both: Float[np.ndarray, "pair class dose version"], base: Float[np.ndarray, "1 pair class 1"]
) -> float:
    """Range of the mean odds over the doses and none, averaged over the versions."""
    return float(np.ptp([base.mean(), *both.mean((0, 1, 3))]))


def reach_estimates(scores: pd.DataFrame, text: pd.DataFrame) -> Iterator[Estimate]:
    """Range of the fitted odds where adding gets, over that of the full turn."""
    odds = odds_of(scores, "own", "turned")
    kl = text[text.family == "turned"].kl.to_numpy(np.float64)
    for name, limit in (("share", MAX_TEXT_KL), ("unlimited", np.inf)):
        found = over(lambda at, most=limit: share(*ranges(at.mean((0, 1)), kl, most)), odds)
        yield Estimate.of(f"reach.{name}", found)
    full = over(lambda at: ranges(at.mean((0, 1)), kl, MAX_TEXT_KL)[1], odds)
    yield Estimate.of("reach.range", full, unit="nats")
    usable = within(kl, MAX_TEXT_KL).mean()
    yield Estimate("reach.usable", float(usable), n=len(kl), unit="of the turn")


def ranges(means: Curve, kl: Curve, limit: float) -> tuple[float, float]:
    """Ranges of the fit over 0 to 180 degrees and over all, where the KL is within the limit."""
    curve, usable = fitted(means), within(kl, limit)
    half, full = curve[usable & (DEGREES <= 180)], curve[usable]
    return float(np.ptp(half)) if len(half) else 0.0, float(np.ptp(full)) if len(full) else 0.0


def within(kl: Curve, limit: float) -> np.ndarray:
    """Degrees at which the KL, interpolated as a square (as it grows), is within the limit."""
    angles = np.linspace(0, 360, len(kl) + 1)
    return np.interp(DEGREES, angles, np.sqrt([*kl, kl[0]])) <= np.sqrt(limit)


def fitted(means: Curve) -> Float[np.ndarray, " degree"]:
    """Least squares of mean and two harmonics over evenly spaced angles, at every degree."""

    def waves(degrees: np.ndarray) -> np.ndarray:
        t = np.radians(degrees)
        return np.stack([t**0, np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t)], 1)

    measured = waves(360 * np.arange(len(means)) / len(means))
    return waves(DEGREES) @ np.linalg.lstsq(measured, means, rcond=None)[0]


def plane_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """First harmonic of the fixed plane, and its lead over random planes at four angles."""
    odds = odds_of(scores, "plane", "plane")
    yield Estimate.of("plane.r2", over(lambda at: harmonic(at).r_squared, odds))
    amplitude = over(lambda at: harmonic(at).amplitude, odds)
    yield Estimate.of("plane.amplitude", amplitude, unit="nats")
    for family in PLANES:
        null = odds_of(scores, "plane", family)
        yield Estimate.of(f"plane.margin.{family}", over(lead, odds, null), unit="nats")


def harmonic(at: Float[np.ndarray, "pair class dose"]) -> Harmonic:
    """First harmonic of the mean over pairs and classes, of evenly spaced angles."""
    n = at.shape[-1]
    return first_harmonic(360 * np.arange(n) / n, at.mean((0, 1)))


def lead(at: Float[np.ndarray, "pair class dose"], null: Odds) -> float:
    """Amplitude at 0, 90, 180 and 270 degrees minus LEAD times that of the strongest plane."""
    strongest = max(harmonic(plane).amplitude for plane in null)
    return harmonic(at[..., :: at.shape[-1] // 4]).amplitude - LEAD * strongest


def competition_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """What other features take from the gap between the classes, at two lengths of the state."""
    alone = [odds_of(scores, "base", ALL), odds_of(scores, "competition", "alone")]
    given = np.concatenate(alone, -1), odds_of(scores, "competition", "added")
    for name, row in {"kept": 0, "gap": 1, "cost": 2}.items():
        found = over(lambda *at, i=row: competition(*at)[i], *given)
        yield Estimate.of(f"competition.{name}", found, unit="nats" if name == "gap" else "")


def competition(
    alone: Float[np.ndarray, "pair class length"], added: Odds
) -> tuple[float, float, float]:
    """Loss minus loss of the longer states, over the gap; the gap; the loss over the gap."""
    gap, longer = gaps(alone[None])
    beside, longer_beside = gaps(added)
    loss, longer_loss = gap - beside, max(gap, longer) - longer_beside
    return share(loss - longer_loss, gap), gap, share(loss, gap)


def gaps(odds: Odds) -> tuple[float, float]:
    """Mean odds of harmful minus harmless prompts, of states as they are and of longer ones."""
    usual, longer = (odds[:, :, 0] - odds[:, :, 1]).mean((0, 1))
    return float(usual), float(longer)
