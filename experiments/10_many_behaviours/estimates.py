"""From the measurements of experiment 10 to estimates with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binomtest, mannwhitneyu, t

from experiments.lab.estimate import Estimate
from experiments.lab.halves import halves
from interp import noiseless
from interp.errors import PromptError
from interp.largest import corrected_low, folded
from interp.nulls import FAMILIES
from interp.stats import Interval, half_sample_interval, null_interval

from .measure import COMMON, Subject
from .protocol import MIN_OWN, SAME, SIGNIFICANCE, TIMES

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

    @property
    def reliable(self) -> bool:
        """Whether it is known how far its direction depends on the prompts."""
        return len(self.estimates) > 1


def gated(subject: Subject) -> Gate:
    """Whether a behaviour counts; not where its prompts are too long for the model, say."""
    try:
        return measured(subject)
    except PromptError:
        missing = Estimate(f"validity.{subject.name}", float("nan"))
        return Gate(subject, [missing], left_out="its prompts do not fit the model")


def measured(subject: Subject) -> Gate:
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

    Of a behaviour with itself, what is expected with one from as many other prompts.
    """
    found = []
    for one in subjects:
        sides = [side.double().numpy() for side in one.states(one.site(where))]
        rng = one.lab.rng(f"10.halves.{one.name}")
        rows = [halves(len(side), one.config.n_halves, rng) for side in sides]
        found.append(noiseless.differences(*sides, rows, one.behaviour.contrast.paired))
    return noiseless.cosines(found)


def halved(values: Float[np.ndarray, " draw"]) -> Interval:
    """A cosine and its interval from that of all prompts and those of halves; at most 1."""
    found = half_sample_interval(float(values[0]), values[1:])
    limits = np.clip([found.value, found.low, found.high], -1, 1)
    return Interval(*map(float, limits), found.n)


def pairs_of(
    found: Float[np.ndarray, "draw one other"], names: Sequence[str], of: Sequence[str]
) -> Pairs:
    """Cosines of pairs of some behaviours."""
    at = [names.index(name) for name in of]
    return {(names[i], names[j]): halved(found[:, i, j]) for i in at for j in at if i < j}


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
