"""From the refusal odds of experiment 06 to estimates with intervals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as scipy_stats

from experiments.lab.estimate import Estimate
from interp import stats

from .measure import HARMFUL, HARMLESS, REAL, RIVALLED, SETS
from .protocol import BREAKING, MAX_LEFT, OPERATORS

Odds = Float[np.ndarray, "draw sample *where"]
Means = Float[np.ndarray, "resample *where"]
ByLayer = Float[np.ndarray, " layer"]
N_RESAMPLES = 1000
LEAST_LAYERS = 6  # with fewer nothing is left once depth and its square are out


def odds_of(scores: pd.DataFrame, kind: str, null: bool, *where: str) -> Odds:
    """Odds of a kind of jobs by draw, prompt, and source or target; NaN where there are none.

    So are those of random directions that break the model: as added, or at the first of the sets.
    """
    part = scores[(scores.kind == kind) & ((scores.family != REAL) == null)]
    broken = scores[(scores.kind == RIVALLED[0]) & (scores.kl > BREAKING)]
    shared = kind in (*RIVALLED, OPERATORS[1])  # those of the profile are other draws
    draws = set(zip(broken.family, broken.draw, strict=True)) if shared else set()
    out = [key in draws for key in zip(part.family, part.draw, strict=True)]
    kept = part.assign(odds=part.odds.mask((part.kl > BREAKING) | np.array(out, bool)))
    names = ["family", "draw", "prompt", *where]
    levels = [np.unique(part[name].to_numpy()) for name in names]
    full = kept.set_index(names)["odds"].reindex(pd.MultiIndex.from_product(levels, names=names))
    return full.to_numpy(np.float64).reshape(-1, *map(len, levels[2:]))


def base_of(scores: pd.DataFrame) -> Float[np.ndarray, "prompts sample"]:
    """Unedited odds of harmful and of harmless prompts, in rows."""
    base = scores[scores.kind == "base"].pivot_table("odds", "prompts", "prompt")
    return base.loc[[HARMFUL, HARMLESS]].to_numpy(np.float64)


def resampled(draws: Odds, *others: Odds) -> tuple[Means, ...]:
    """Means over prompts, as measured (first) and by `interp.effects.two_level_bootstrap`'s rule.

    Each resample takes one of `draws` (the direction or a re-extraction) and the same prompts for
    all arrays; of `others`, [draw sample *where], it keeps every draw. All statistics here are of
    means, so that resampling the means once serves them all.
    """
    rng, n = np.random.default_rng(0), draws.shape[1]
    rows = np.append(0, rng.integers(len(draws), size=N_RESAMPLES))
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    weights = np.concatenate([np.ones((1, n)), drawn]) / n
    first = np.einsum("rs,rs...->r...", weights, draws[rows])
    return first, *(np.einsum("rs,ds...->rd...", weights, other) for other in others)


def estimate(name: str, values: Float[np.ndarray, " resample"], n: int, unit: str = "") -> Estimate:
    """The value as measured, which comes first, and the limits of the resamples; none for NaN."""
    if not np.isfinite(values).all():
        return Estimate(name, float("nan"), n=n)
    return Estimate(name, float(values[0]), *stats.null_interval(values[1:]), n=n, unit=unit)


def set_estimates(gate: pd.DataFrame, scores: pd.DataFrame) -> Iterator[Estimate]:
    """The sources, the gap, and at every kind of sets what is left beyond the allowed part of it.

    `margin`: how much more the strongest random direction leaves than the sources' median.
    """
    yield Estimate("sources", float(gate.counts.sum()), n=len(gate), unit="sources")
    base = base_of(scores)
    n = base.shape[1]
    for kind in SETS:
        odds = odds_of(scores, kind, False, "source", "target")
        nulls = [odds_of(scores, kind, True)] if kind in RIVALLED else []
        left, at, *drawn = resampled(odds, base, *nulls)
        median, gap = np.median(sets_drawn(left).mean(-1), axis=-1), at[:, 0] - at[:, 1]
        if kind == SETS[0]:
            yield estimate("gap", gap, n, "nats")
        yield estimate(f"excess.{kind}", median - at[:, 1] - MAX_LEFT * gap, n, "nats")
        for null in drawn:
            yield estimate(f"margin.{kind}", np.fmin.reduce(null, axis=1) - median, n, "nats")


def sets_drawn(left: Float[np.ndarray, "resample source set"]) -> Means:
    """Every resample draws the sets of each source anew; the first row stays as measured."""
    chosen = np.random.default_rng(1).integers(left.shape[-1], size=left.shape)
    chosen[0] = np.arange(left.shape[-1])
    return np.take_along_axis(left, chosen, axis=-1)


def single_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """Effects of far sources over those of the targets' own directions, for both operators."""
    for operator, sign, at in zip(OPERATORS, (1, -1), base_of(scores)[::-1], strict=True):
        part = scores[(scores.kind == operator) & (scores.family == REAL)]
        is_own = np.unique(part.source)[:, None] == np.unique(part.target)
        effects = sign * (odds_of(part, operator, False, "source", "target") - at[:, None, None])
        nulls = sign * (odds_of(scores, operator, True, "target") - at[:, None])
        means, drawn = resampled(effects, nulls)
        has_far = (np.isfinite(means[0]) & ~is_own).any(0)
        own = np.where(is_own, means, 0).sum(1)
        lead = own - np.fmax.reduce(drawn, axis=1)
        counts = has_far & (np.percentile(lead[1:], 2.5, axis=0) > 0)
        kept = counts if counts.any() else has_far
        far = np.nanmean(np.where(is_own, np.nan, means)[..., kept], axis=1).mean(-1)
        own, n = own[:, kept].mean(-1), len(at)
        rival = np.fmax.reduce(drawn[..., kept].mean(-1), axis=1)
        yield Estimate(f"targets.{operator}", float(counts.sum()), n=len(counts), unit="layers")
        yield estimate(f"own.{operator}", own, n, "nats")
        yield estimate(f"ratio.{operator}", far / own, n)
        yield estimate(f"margin.{operator}", (far - rival) / own, n)


def profile_estimates(scores: pd.DataFrame, cosines: pd.Series, seed: int) -> Iterator[Estimate]:
    """Partial rank correlation of single-layer effects with the cosine of the class means."""
    odds, nulls = (odds_of(scores, "profile", null, "target") for null in (False, True))
    (means,) = resampled((nulls.mean(0) - odds[0])[None])
    layers = np.unique(scores.target[scores.kind == "profile"])
    n, depth, ranks = odds.shape[1], layers.astype(float), scipy_stats.rankdata(cosines[layers])
    yield estimate("profile.fall", means.mean(1), n, "nats")
    if len(layers) < LEAST_LAYERS or np.ptp(ranks) == 0:
        names = "partial", "excess", "by_depth"
        yield from (Estimate(f"profile.{name}", float("nan"), n=len(layers)) for name in names)
        return
    rest = residual(ranks, depth)
    yield Estimate("profile.by_depth", float(1 - rest.var() / ranks.var()), n=len(layers))
    yield partial_estimate(means, rest, depth, seed)
    is_low = rest < np.median(rest)
    net = np.array([residual(fall, depth) for fall in means])
    difference = net[:, is_low].mean(1) - net[:, ~is_low].mean(1)
    yield estimate("profile.excess", difference / means.mean(1), n)


def partial_estimate(
    falls: Float[np.ndarray, "resample layer"], other: ByLayer, depth: ByLayer, seed: int
) -> Estimate:
    """Interval by resampled prompts, each moved as layers vary: Fisher's z, for ranks.

    `other`: ranks less depth. Standard error sqrt((1 + r^2 / 2) / (n - 3 - 2)), with 2 variables
    partialled out (Bonett and Wright 2000, Psychometrika 65:23). p is of circular shifts.
    """
    rests = np.array([residual(scipy_stats.rankdata(fall), depth) for fall in falls])
    scale = np.linalg.norm(rests, axis=1) * np.linalg.norm(other)
    found = np.divide(rests @ other, scale, out=np.zeros(len(rests)), where=scale > 0)
    r = np.clip(found[1:], -0.999, 0.999)
    noise = np.random.default_rng(seed).normal(size=len(r))
    errors = np.sqrt((1 + r**2 / 2) / (len(depth) - 5)) * noise
    limits = stats.null_interval(np.tanh(np.arctanh(r) + errors))
    _, p = stats.circular_shift_spearman(rests[0], other)
    return Estimate("profile.partial", float(found[0]), *limits, n=len(depth), p=p)


def residual(values: ByLayer, depth: ByLayer) -> ByLayer:
    """Values less what depth and its square predict of them."""
    design = np.vander(depth - depth.mean(), 3)
    return values - design @ np.linalg.lstsq(design, values)[0]
