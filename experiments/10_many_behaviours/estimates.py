"""From the measurements of experiment 10 to estimates with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binomtest, mannwhitneyu, norm, t

from experiments.lab.estimate import Estimate
from experiments.lab.halves import halves
from interp.nulls import FAMILIES
from interp.stats import Interval, half_sample_interval, null_interval

from .measure import COMMON, Subject
from .protocol import MIN_OWN, SAME, SIGNIFICANCE, TIMES

TAIL = 0.025
SMALLEST = 0.01  # share of a squared length that may be left of it without noise
Pairs = dict[tuple[str, str], Interval]
"""By two behaviours: of 10b, whose direction and whose score"""
Draws = Float[np.ndarray, "draw prompt"]

# ---------------------------------------------------------------------------------- the gate


@dataclass
class Gate:
    """What is known of one behaviour, and why it does not count, if so."""

    subject: Subject
    estimates: list[Estimate]
    pushes: pd.DataFrame | None = None  # None where it fails by more than what its direction does
    limit: float = float("nan")  # what a random direction does not do, nats
    left_out: str = ""


def gated(subject: Subject) -> Gate:
    """Whether a behaviour counts, as COUNTS in the protocol says."""
    name = subject.name
    valid = validity(subject)
    gate = Gate(subject, [valid])
    if valid.p is None or valid.p >= SIGNIFICANCE:
        gate.left_out = "its score is at chance"
        return gate
    reliable = halved(cosines([subject], COMMON)[:, 0, 0])
    gate.estimates.append(Estimate.of(f"reliability.{name}", reliable))
    if reliable.low <= SAME:
        gate.left_out = "its direction depends on the prompts"
        return gate
    gate.pushes = subject.pushed([*subject.directions, *subject.random])
    is_random = gate.pushes.direction.isin(FAMILIES)
    draws = gate.pushes[is_random].groupby(["direction", "draw"]).moved.mean()
    null, own = draws.to_numpy(np.float64), mean(moved(gate.pushes, name, name))
    gate.estimates.append(Estimate.of(f"own.{name}", own, null=null, unit="nats"))
    gate.limit = random_limit(null)
    if own.low <= max(MIN_OWN, TIMES * gate.limit):
        gate.left_out = "its direction moves it too little"
    return gate


def validity(subject: Subject) -> Estimate:
    """AUROC of the score on validation prompts (of a choice the share), p of chance."""
    sides = subject.scores("validation", subject.config.n_validation, "base")
    shown, n, name = sides[0], len(sides[0]), f"validity.{subject.name}"
    if subject.behaviour.choice:
        right = int((shown > 0).sum())
        return Estimate(name, right / n, n=n, p=binomtest(right, n, alternative="greater").pvalue)
    test = mannwhitneyu(shown, sides[1], alternative="greater")
    return Estimate(name, test.statistic / n / len(sides[1]), n=2 * n, p=float(test.pvalue))


def random_limit(null: Float[np.ndarray, " draw"]) -> float:
    """What random directions do not do: see RANDOM in the protocol; two draws or more."""
    spread = null.std(ddof=1) * (1 + 1 / len(null)) ** 0.5
    further = abs(null.mean()) + t.ppf(1 - SIGNIFICANCE, len(null) - 1) * spread
    return float(max(np.abs(null).max(), further))


# ---------------------------------------------------------------------------------- cosines


def cosines(subjects: Sequence[Subject], where: str) -> Float[np.ndarray, "draw one other"]:
    """Of directions at a site, without noise: from all train prompts, then from random halves.

    Of a behaviour with itself, what is expected with one from as many other prompts. The noise of a
    mean difference is the sum of its variances over draws of prompts.
    """
    parts = [differences(one, where) for one in subjects]
    vectors, noise, of_all = (np.stack(values, axis=1) for values in zip(*parts, strict=True))
    squares = (vectors**2).sum(-1)
    left = np.maximum(squares - noise, SMALLEST * squares)
    found = np.einsum("rid,rjd->rij", vectors, vectors)
    found /= np.sqrt(left[:, :, None] * left[:, None])
    diagonal = np.arange(len(subjects))
    found[:, diagonal, diagonal] = left / (left + of_all)
    return found


def differences(subject: Subject, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class differences [draw, d_model] from all train prompts and from halves, and their noise.

    The noise [draw] is for as many prompts as the draw has, and for as many as there are.
    """
    sides = [side.double().numpy() for side in subject.states(subject.site(where))]
    rng = subject.lab.rng(f"10.halves.{subject.name}")
    rows = [halves(len(side), subject.config.n_halves, rng) for side in sides]
    if subject.behaviour.contrast.paired:
        sides, rows = [sides[0] - sides[1]], rows[:1]
    parts = [[s, *(s[half] for half in of)] for s, of in zip(sides, rows, strict=True)]
    means = [np.stack([part.mean(0) for part in side]) for side in parts]
    traces = [np.array([part.var(0, ddof=1).sum() for part in side]) for side in parts]
    sizes = [np.array([len(part) for part in side]) for side in parts]
    noise = np.sum([v / n for v, n in zip(traces, sizes, strict=True)], axis=0)
    of_all = np.sum([v / n[0] for v, n in zip(traces, sizes, strict=True)], axis=0)
    return means[0] - (means[1] if len(means) > 1 else 0), noise, of_all


def halved(values: Float[np.ndarray, " draw"]) -> Interval:
    """A cosine and its interval from that of all prompts and those of halves; at most 1."""
    found = half_sample_interval(float(values[0]), values[1:])
    limits = np.clip([found.value, found.low, found.high], -1, 1)
    return Interval(*map(float, limits), found.n)


def pairs_of(found: Float[np.ndarray, "draw one other"], names: Sequence[str]) -> Pairs:
    """Cosines of pairs of behaviours."""
    n = range(len(names))
    return {(names[i], names[j]): halved(found[:, i, j]) for i in n for j in n if i < j}


# ---------------------------------------------------------------------------------- effects


def moved(pushes: pd.DataFrame, score: str, direction: str) -> Draws:
    """What a direction and its re-extractions move a score by, per test prompt of both classes."""
    rows = pushes[(pushes.score == score) & (pushes.direction == direction)]
    return rows.moved.to_numpy(np.float64).reshape(rows.draw.nunique(), -1)


def resampled(values: Draws, n_resamples: int = 1000) -> Float[np.ndarray, " resample"]:
    """Means of one draw at random over resampled prompts; the same ones whatever the values."""
    rng, (n_draws, n) = np.random.default_rng(0), values.shape
    rows, columns = rng.integers(n_draws, size=n_resamples), rng.integers(n, size=(n_resamples, n))
    return values[rows[:, None], columns].mean(1)


def mean(values: Draws) -> Interval:
    """Mean of the first draw, with an interval over prompts and draws (two-level bootstrap)."""
    limits = null_interval(resampled(values))
    return Interval(float(values[0].mean()), *limits, values.shape[1])


def leak(pushes: pd.DataFrame, score: str, direction: str, least: float = 0.0) -> Interval:
    """What a direction moves a score by, in units of what the own one does there, or `least`."""
    other, own = (moved(pushes, score, name) for name in (direction, score))
    limits = null_interval(resampled(other) / np.maximum(resampled(own), least))
    value = other[0].mean() / max(own[0].mean(), least)
    return Interval(float(value), *limits, own.shape[1])


def leaks(pushes: pd.DataFrame, counting: Sequence[str], idle: dict[str, float]) -> Pairs:
    """Of every direction into every other score; of idle ones what does more than their own."""
    pairs = {(i, j): leak(pushes, j, i) for j in counting for i in counting if i != j}
    into = {(i, j): leak(pushes, j, i, idle[j]) for j in idle for i in counting}
    n = len(pairs) + len(into)
    return pairs | {pair: x for pair, x in into.items() if corrected_low(folded(x), n) > 1}


def largest(pairs: Sequence[Interval]) -> Interval:
    """The largest absolute value of several, with limits that hold for the largest."""
    every = [folded(one) for one in pairs]
    low = max(corrected_low(one, len(every)) for one in every)
    value, high = max(one.value for one in every), max(one.high for one in every)
    return Interval(value, max(0.0, low), high, len(every))


def corrected_low(one: Interval, n: int) -> float:
    """A 2.5% limit, corrected for the number of pairs (Bonferroni, by normal quantiles)."""
    further = norm.ppf(1 - TAIL / n) / norm.ppf(1 - TAIL)
    return float(one.value - further * (one.value - one.low))


def folded(one: Interval) -> Interval:
    """Of the absolute value; the lower limit may be below 0."""
    low, high = (one.low, one.high) if one.value >= 0 else (-one.high, -one.low)
    return Interval(abs(one.value), low, max(high, -low), one.n)


# ------------------------------------------------------------------------- directions of one


def explained(varied: pd.DataFrame, n_resamples: int = 1000) -> tuple[Interval, float]:
    """Share of the variance of effects that the cosine explains, and the spread of the cosine.

    Bootstrap over prompts, re-extractions, and directions of each kind.
    """
    first, n = varied.drop_duplicates(["draw", "direction"]), varied.direction.nunique()
    cosine, kinds = first.cosine.to_numpy(np.float64).reshape(-1, n), first.kind[:n]
    effects = varied.moved.to_numpy(np.float64).reshape(len(cosine), n, -1)
    members = [np.flatnonzero(kinds == kind) for kind in kinds.unique()]
    weights = np.concatenate([np.full(len(m), 1 / len(m) / len(members)) for m in members])
    rng, found = np.random.default_rng(0), []
    for _ in range(n_resamples):
        draw, columns = (
            rng.integers(len(cosine)),
            rng.integers(effects.shape[2], size=effects.shape[2]),
        )
        chosen = np.concatenate([rng.choice(m, len(m)) for m in members])
        means = effects[draw, chosen][:, columns].mean(1)
        found.append(line_share(cosine[draw, chosen], means, weights))
    value = line_share(cosine[0], effects[0].mean(1), weights)
    spread = np.sqrt(np.cov(cosine[0], aweights=weights, ddof=0))
    return Interval(value, *null_interval(np.array(found)), n), float(spread)


def line_share(
    x: Float[np.ndarray, " item"],
    y: Float[np.ndarray, " item"],
    weights: Float[np.ndarray, " item"],
) -> float:
    """Squared weighted correlation, negative where it is; 0 where one does not vary."""
    x, y = (values - np.average(values, weights=weights) for values in (x, y))
    xx, yy, xy = ((weights * product).sum() for product in (x * x, y * y, x * y))
    return float(np.sign(xy) * xy**2 / (xx * yy)) if xx * yy > 0 else 0.0
