"""From the measurements of experiment 10 to estimates with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import norm, t

from experiments.lab.estimate import Estimate
from experiments.lab.halves import halves
from experiments.lab.lab import Lab
from interp.nulls import FAMILIES
from interp.stats import Interval, half_sample_interval, null_interval

from .measure import Subject
from .protocol import SIGNIFICANCE

N_LARGEST = 3  # dimensions that cosines are shown without
SMALLEST = 0.01  # share of a squared length that may be left of it without noise
TAIL = 0.025
Pairs = dict[tuple[str, str], Interval]
"""By two behaviours: of 10b, whose direction and whose score"""
Matrix = Float[np.ndarray, "draw behaviour behaviour"]

# ---------------------------------------------------------------------------------- cosines


@dataclass(frozen=True, eq=False)
class Cosines:
    """Of behaviours' directions at one site: row 0 from all train prompts, then from halves.

    `alike` is without noise; `reliability` is the cosine expected with as many other prompts.
    """

    names: Sequence[str]
    alike: Matrix
    reliability: Float[np.ndarray, "draw behaviour"]

    def pair(self, one: str, other: str) -> Interval:
        """Of two behaviours."""
        found = self.alike[:, self.names.index(one), self.names.index(other)]
        interval = half_sample_interval(float(found[0]), found[1:])
        value, low, high = np.clip([interval.value, interval.low, interval.high], -1, 1)
        return Interval(float(value), float(low), float(high), len(found) - 1)

    def pairs(self, names: Sequence[str]) -> "Pairs":
        """Of all pairs of these."""
        return {(one, other): self.pair(one, other) for one, other in combinations(names, 2)}

    def own(self, name: str) -> Interval:
        """The reliability of one."""
        found = self.reliability[:, self.names.index(name)]
        return half_sample_interval(float(found[0]), found[1:])


def cosines(
    lab: Lab, subjects: Sequence[Subject], where: str, n_halves: int, without: int = 0
) -> Cosines:
    """Of the directions at a site, without the dimensions in which the states vary most."""
    found = [differences(lab, one, where, n_halves) for one in subjects]
    vectors = np.stack([vectors for vectors, _, _ in found], axis=1)
    noise = np.stack([noise for _, noise, _ in found], axis=1)
    of_all = np.stack([noise for _, _, noise in found], axis=1)
    if without:
        spread = sum(np.var(s.double().numpy(), 0) for one in subjects for s in one.classes[where])
        kept = np.argsort(spread)[:-without]
        vectors, noise, of_all = (values[..., kept] for values in (vectors, noise, of_all))
    squares, noise, of_all = (vectors**2).sum(-1), noise.sum(-1), of_all.sum(-1)
    left = np.maximum(squares - noise, SMALLEST * squares)
    lengths = np.sqrt(left)[:, :, None] * np.sqrt(left)[:, None]
    alike = np.einsum("rid,rjd->rij", vectors, vectors) / lengths
    return Cosines([one.name for one in subjects], alike, left / (left + of_all))


def differences(
    lab: Lab, subject: Subject, where: str, n_halves: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class differences from all train prompts and from halves, and their noise.

    Each [draw, d_model]; noise is the variance of the difference over draws of prompts, for as many
    prompts as there are in the draw, and as in all of them.
    """
    sides = [side.double().numpy() for side in subject.classes[where]]
    rng = lab.rng(f"10.halves.{subject.name}")
    rows = [halves(len(side), n_halves, rng) for side in sides]
    if subject.behaviour.contrast.paired:
        sides, rows = [sides[0] - sides[1], np.zeros_like(sides[0])], [rows[0], rows[0]]
    chosen = [
        [side, *(side[half] for half in each)] for side, each in zip(sides, rows, strict=True)
    ]
    means, variances = (
        [np.stack([of(part) for part in parts]) for parts in chosen]
        for of in (lambda x: x.mean(0), lambda x: x.var(0, ddof=1))
    )
    sizes = [np.array([[len(part)] for part in parts]) for parts in chosen]
    noise = sum(v / n for v, n in zip(variances, sizes, strict=True))
    of_all = sum(v / n[0] for v, n in zip(variances, sizes, strict=True))
    return means[0] - means[1], np.asarray(noise), np.asarray(of_all)


# ---------------------------------------------------------------------------------- effects


def moved(pushes: pd.DataFrame, score: str, direction: str) -> Float[np.ndarray, "draw prompt"]:
    """What a direction and its re-extractions move a score by, per test prompt of both classes."""
    rows = pushes[(pushes.score == score) & (pushes.direction == direction)]
    return rows.moved.to_numpy(np.float64).reshape(rows.draw.nunique(), -1)


def resampled(
    values: Float[np.ndarray, "draw prompt"], n_resamples: int = 1000
) -> Float[np.ndarray, " resample"]:
    """Means of one draw at random over resampled prompts; the same ones whatever the values."""
    rng, (n_draws, n) = np.random.default_rng(0), values.shape
    rows, columns = rng.integers(n_draws, size=n_resamples), rng.integers(n, size=(n_resamples, n))
    return values[rows[:, None], columns].mean(1)


def mean(values: Float[np.ndarray, "draw prompt"]) -> Interval:
    """Mean of the first draw, with an interval over prompts and draws (two-level bootstrap)."""
    limits = null_interval(resampled(values))
    return Interval(float(values[0].mean()), *limits, values.shape[1])


def random_effects(pushes: pd.DataFrame, name: str) -> Float[np.ndarray, " draw"]:
    """What random directions move the score of a behaviour by."""
    random = pushes[(pushes.score == name) & pushes.direction.isin(FAMILIES)]
    return random.groupby(["direction", "draw"]).moved.mean().to_numpy(np.float64)


def random_limit(pushes: pd.DataFrame, name: str) -> float:
    """What a random direction does not move the score by: see RANDOM in the protocol."""
    null = random_effects(pushes, name)
    spread = null.std(ddof=1) * (1 + 1 / len(null)) ** 0.5
    further = abs(null.mean()) + t.ppf(1 - SIGNIFICANCE, len(null) - 1) * spread
    return float(max(np.abs(null).max(), further))


def own_effect(pushes: pd.DataFrame, name: str) -> Estimate:
    """What its own direction moves a behaviour by, beside random ones."""
    null = random_effects(pushes, name)
    return Estimate.of(f"own.{name}", mean(moved(pushes, name, name)), null=null, unit="nats")


def leak(pushes: pd.DataFrame, score: str, direction: str, least: float = 0.0) -> Interval:
    """What a direction moves a score by, in units of what the own one does there, or of `least`."""
    other, own = (moved(pushes, score, name) for name in (direction, score))
    limits = null_interval(resampled(other) / np.maximum(resampled(own), least))
    value = other[0].mean() / max(own[0].mean(), least)
    return Interval(float(value), *limits, own.shape[1])


def largest(pairs: Sequence[Interval]) -> Interval:
    """The largest absolute value of several, with limits that hold for the largest.

    The upper limit is the largest of the upper limits, the lower one of the corrected lower limits.
    """
    folded = [folded_interval(one) for one in pairs]
    low = max(corrected_low(one, len(folded)) for one in folded)
    value, high = max(one.value for one in folded), max(one.high for one in folded)
    return Interval(value, max(0.0, low), high, len(folded))


def corrected_low(one: Interval, n: int) -> float:
    """A 2.5% limit, corrected for the number of pairs (Bonferroni, by normal quantiles)."""
    further = norm.ppf(1 - TAIL / n) / norm.ppf(1 - TAIL)
    return float(one.value - further * (one.value - one.low))


def folded_interval(one: Interval) -> Interval:
    """Of the absolute value; the lower limit may be below 0."""
    low, high = (one.low, one.high) if one.value >= 0 else (-one.high, -one.low)
    return Interval(abs(one.value), low, max(high, -low), one.n)


def leaks(pushes: pd.DataFrame, counting: Sequence[str], idle: Sequence[str]) -> Pairs:
    """Of every direction into every other score; of idle ones only what does more than their own."""
    pairs = {(i, j): leak(pushes, j, i) for j in counting for i in counting if i != j}
    into = {(i, j): leak(pushes, j, i, random_limit(pushes, j)) for j in idle for i in counting}
    n = len(pairs) + len(into)
    return pairs | {p: x for p, x in into.items() if corrected_low(folded_interval(x), n) > 1}


# ------------------------------------------------------------------------- directions of one


def explained(varied: pd.DataFrame, n_resamples: int = 1000) -> tuple[Interval, float]:
    """Share of the variance of effects that the cosine explains, and the spread of the cosine.

    Bootstrap over prompts, re-extractions, and directions of each kind.
    """
    rng = np.random.default_rng(0)
    names = varied.direction.unique()
    first = varied.drop_duplicates(["draw", "direction"])
    cosine = first.cosine.to_numpy(np.float64).reshape(-1, len(names))
    kinds = first.kind.to_numpy()[: len(names)]
    effects = varied.moved.to_numpy(np.float64).reshape(len(cosine), len(names), -1)
    members = [np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds)]
    weights = np.concatenate([np.full(len(m), 1 / len(m) / len(members)) for m in members])
    order = np.concatenate(members)
    found = []
    for _ in range(n_resamples):
        draw = rng.integers(len(cosine))
        columns = rng.integers(effects.shape[2], size=effects.shape[2])
        chosen = np.concatenate([rng.choice(m, len(m)) for m in members])
        means = effects[draw, chosen][:, columns].mean(1)
        found.append(line_share(cosine[draw, chosen], means, weights))
    value = line_share(cosine[0, order], effects[0, order].mean(1), weights)
    spread = np.sqrt(np.cov(cosine[0, order], aweights=weights, ddof=0))
    return Interval(value, *null_interval(np.array(found)), len(names)), float(spread)


def line_share(
    x: Float[np.ndarray, " item"],
    y: Float[np.ndarray, " item"],
    weights: Float[np.ndarray, " item"],
) -> float:
    """Squared weighted correlation, negative where it is; 0 where one does not vary."""
    x, y = (values - np.average(values, weights=weights) for values in (x, y))
    xx, yy, xy = ((weights * product).sum() for product in (x * x, y * y, x * y))
    return float(np.sign(xy) * xy**2 / (xx * yy)) if xx * yy > 0 else 0.0


def named(name: str, interval: Interval | None, unit: str = "") -> Estimate:
    """An estimate; NaN where nothing was measured."""
    if interval is None:
        return Estimate(name, float("nan"), unit=unit)
    return Estimate.of(name, interval, unit=unit)
