"""From the refusal odds of experiment 06 to estimates with intervals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as scipy_stats

from experiments.lab.estimate import Estimate
from interp import stats

from .measure import HARMFUL, HARMLESS, REAL, SETS
from .protocol import OPERATORS

Odds = Float[np.ndarray, "draw sample *where"]
Means = Float[np.ndarray, "resample *where"]
N_RESAMPLES = 1000
SMALLEST = 1e-9


def odds_of(scores: pd.DataFrame, kind: str, null: bool, *where: str) -> Odds:
    """Odds of a kind of jobs by draw and prompt, then by source or target; NaN where not measured.

    Of random directions every draw is of one source.
    """
    part = scores[(scores.kind == kind) & ((scores.family != REAL) == null)]
    draws = ["family", "draw", "prompt"]
    table = part.pivot_table("odds", draws, list(where)) if where else part.set_index(draws)["odds"]
    shape = [part[["family", "draw"]].drop_duplicates().shape[0], part.prompt.nunique()]
    if len(where) > 1:
        table = table.reindex(columns=pd.MultiIndex.from_product(table.columns.levels))  # type: ignore[union-attr]
    return table.to_numpy(np.float64).reshape(*shape, *(part[name].nunique() for name in where))


def base_of(scores: pd.DataFrame) -> Float[np.ndarray, "prompts sample"]:
    """Unedited odds of harmful and of harmless prompts, in rows."""
    base = scores[scores.kind == "base"].pivot_table("odds", "prompts", "prompt")
    return base.loc[[HARMFUL, HARMLESS]].dropna(axis=1).to_numpy(np.float64)


def resampled(
    draws: Odds, *others: Odds, seed: int = 0
) -> tuple[Float[np.ndarray, "resample *where"], ...]:
    """Means over prompts, as measured (first) and by `interp.stats.two_level_bootstrap`'s rule.

    Each resample takes one of `draws` (the direction or a re-extraction) and the same prompts for
    all arrays; of `others`, [draw sample *where], it keeps every draw. All statistics here are of
    means, so that resampling the means once serves them all.
    """
    rng, n = np.random.default_rng(seed), draws.shape[1]
    rows = np.append(0, rng.integers(len(draws), size=N_RESAMPLES))
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    weights = np.concatenate([np.ones((1, n)), drawn]) / n
    first = np.einsum("rs,rs...->r...", weights, draws[rows])
    return first, *(np.einsum("rs,ds...->rd...", weights, other) for other in others)


def interval(values: Float[np.ndarray, " resample"], n: int) -> stats.Interval:
    """The value as measured, which comes first, and the limits of the resamples."""
    return stats.Interval(float(values[0]), *stats.null_interval(values[1:]), n)


def gate_estimates(gate: pd.DataFrame, scores: pd.DataFrame) -> Iterator[Estimate]:
    """How many sources count, and the gap of the odds between the classes."""
    yield Estimate("sources", float(gate.counts.sum()), n=len(gate), unit="sources")
    base = base_of(scores)
    (means,) = resampled(base.T[None])
    yield Estimate.of("gap", interval(means[:, 0] - means[:, 1], base.shape[1]), unit="nats")


# -------------------------------------------------------------------------------------------- sets


def shares(odds: Means, base: Float[np.ndarray, "resample prompts"]) -> Means:
    """Share of the gap that is left, of mean odds [resample *where]."""
    harmful, harmless = (x.reshape(-1, *[1] * (odds.ndim - 1)) for x in base.T)
    return (odds - harmless) / (harmful - harmless)


def worst_halves(share: Float[np.ndarray, "*where set"]) -> Float[np.ndarray, "*where"]:
    """Of each half and its complement the larger share, mean over halves; of one set its share."""
    if share.shape[-1] == 1:
        return share[..., 0]
    return share.reshape(*share.shape[:-1], -1, 2).max(-1).mean(-1)


def left(scores: pd.DataFrame, kind: str) -> tuple[Means, Means, int]:
    """Shares left at a kind of sets: median over sources; every random direction's; prompts."""
    base = base_of(scores)
    odds = odds_of(scores, kind, False, "source", "target")
    is_null = (scores.kind == kind) & (scores.family != REAL)
    others = [odds_of(scores, kind, True, "target")] if is_null.any() else []
    means, at, *nulls = resampled(odds, base[..., None], *others)
    found = np.median(worst_halves(shares(means, at[..., 0])), axis=-1)
    drawn = [worst_halves(shares(null, at[..., 0])) for null in nulls]
    return found, drawn[0] if drawn else np.empty((len(found), 0)), base.shape[1]


def set_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """What is left at every kind of sets, and how much more the strongest random direction leaves.

    The null is of single draws.
    """
    for kind in SETS:
        found, nulls, n = left(scores, kind)
        null = stats.null_interval(nulls[0])
        yield Estimate.of(f"left.{kind}", interval(found, n), null=null)
        yield Estimate.of(f"margin.{kind}", interval(nulls.min(-1) - found, n))


# ---------------------------------------------------------------------------------- single layers


def single_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """Effects of far sources over those of the targets' own directions, for both operators."""
    for operator, sign, on in zip(OPERATORS, (1, -1), (1, 0), strict=True):
        at = base_of(scores)[on]
        own = sign * (odds_of(scores, f"{operator}/own", False, "target") - at[:, None])
        nulls = sign * (odds_of(scores, f"{operator}/random", True, "target") - at[:, None])
        far = sign * (odds_far(scores, operator) - at[:, None, None])
        effects, null = resampled(np.concatenate([own[:, :, None], far], axis=2), nulls)
        found, drawn, n = effects[:, 0], null, own.shape[1]
        above = np.percentile((found[:, None] - drawn).min(1)[1:], 2.5, axis=0) > 0
        has_far = np.isfinite(far[0, 0]).any(0)
        counts = above & has_far
        kept = counts if counts.any() else has_far
        own_mean = found[:, kept].mean(-1)
        ratio = np.nanmean(effects[:, 1:, kept], axis=1).mean(-1) / own_mean
        null_ratio = drawn[..., kept].mean(-1) / own_mean[:, None]
        limits = stats.null_interval(null_ratio[0])
        yield Estimate(f"targets.{operator}", float(counts.sum()), n=len(counts), unit="layers")
        yield Estimate.of(f"own.{operator}", interval(own_mean, n), unit="nats")
        yield Estimate.of(f"ratio.{operator}", interval(ratio, n), null=limits)
        yield Estimate.of(f"margin.{operator}", interval(ratio - null_ratio.max(-1), n))


def odds_far(scores: pd.DataFrame, operator: str) -> Odds:
    """Odds of far sources, [draw sample source target], for the targets of the own directions."""
    targets = np.sort(scores[scores.kind == f"{operator}/own"].target.unique())
    part = scores[scores.kind == f"{operator}/far"]
    found = odds_of(scores, f"{operator}/far", False, "source", "target")
    full = np.full((*found.shape[:-1], len(targets)), np.nan)
    full[..., np.isin(targets, part.target.unique())] = found
    return full


# ----------------------------------------------------------------------------------------- profile


def profile_estimates(scores: pd.DataFrame, cosines: pd.Series, seed: int) -> Iterator[Estimate]:
    """Partial rank correlation of single-layer effects with the cosine of the class means."""
    odds = odds_of(scores, "profile", False, "target")[0]
    layers = np.sort(scores[scores.kind == "profile"].target.unique())
    falls = base_of(scores)[0][:, None] - odds
    (means,) = resampled(falls[None])
    yield Estimate.of("profile.fall", interval(means.mean(1), len(falls)), unit="nats")
    if len(layers) < 6:  # nothing is left once depth and its square are out
        yield Estimate("profile.partial", float("nan"), n=len(layers))
        yield Estimate("profile.excess", float("nan"))
        return
    cosine, depth = cosines[layers].to_numpy(np.float64), layers.astype(np.float64)
    yield partial_estimate(means, cosine, depth, seed)
    found = np.array([excess(fall, cosine, depth) for fall in means])
    yield Estimate.of("profile.excess", interval(found, len(falls)))


def partial_estimate(
    falls: Float[np.ndarray, "resample layer"],
    cosine: Float[np.ndarray, " layer"],
    depth: Float[np.ndarray, " layer"],
    seed: int,
) -> Estimate:
    """Interval by resampled prompts, each moved as layers vary: Fisher's z, for ranks.

    Standard error sqrt((1 + r^2 / 2) / (n - 3 - 2)), with 2 variables partialled out (Bonett and
    Wright 2000, Psychometrika 65:23).
    """
    n, other = len(depth), residual_ranks(cosine, depth)
    found = [correlation(residual_ranks(fall, depth), other) for fall in falls]
    r = np.clip(found[1:], -0.999, 0.999)
    errors = np.sqrt((1 + r**2 / 2) / (n - 5)) * np.random.default_rng(seed).normal(size=len(r))
    limits = stats.null_interval(np.tanh(np.arctanh(r) + errors))
    _, p = stats.circular_shift_spearman(residual_ranks(falls[0], depth), other)
    return Estimate("profile.partial", found[0], *limits, n=n, p=p)


def residual_ranks(
    values: Float[np.ndarray, " layer"], depth: Float[np.ndarray, " layer"]
) -> Float[np.ndarray, " layer"]:
    """Ranks less what depth and its square predict of them."""
    return residual(scipy_stats.rankdata(values), depth)


def residual(
    values: Float[np.ndarray, " layer"], depth: Float[np.ndarray, " layer"]
) -> Float[np.ndarray, " layer"]:
    """Values less what depth and its square predict of them."""
    x = depth - depth.mean()
    design = np.stack([np.ones_like(x), x, x**2], axis=1)
    return values - design @ np.linalg.lstsq(design, values)[0]


def excess(
    fall: Float[np.ndarray, " layer"],
    cosine: Float[np.ndarray, " layer"],
    depth: Float[np.ndarray, " layer"],
) -> float:
    """Fall at the layers of lower cosine minus that at the others, over the mean; depth is out."""
    rest, low = residual(fall, depth), residual_ranks(cosine, depth)
    is_low = low < np.median(low)
    return float((rest[is_low].mean() - rest[~is_low].mean()) / fall.mean())


def correlation(first: Float[np.ndarray, " layer"], second: Float[np.ndarray, " layer"]) -> float:
    """Of two centred series; 0 where nothing is left of one."""
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second / scale) if scale > SMALLEST else 0.0


# ----------------------------------------------------------------------------------------- answers


def rate_estimates(answers: pd.DataFrame) -> Iterator[Estimate]:
    """Refusal rates of generated answers."""
    for name, part in answers.groupby("condition", sort=False):
        refused = part.answer == "refused"
        found = stats.wilson(int(refused.sum()), len(refused))
        yield Estimate.of(f"refusal_rate.{name}", found)
