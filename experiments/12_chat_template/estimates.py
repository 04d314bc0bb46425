"""From the falls of the odds of experiment 12 to estimates with intervals."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as scipy_stats

from experiments.lab.estimate import Estimate
from experiments.lab.meter import Meter
from interp.effects import two_level_bootstrap as over
from interp.largest import corrected_low
from interp.nulls import FAMILIES
from interp.scores import auroc
from interp.stats import Interval, bootstrap, null_interval, wilson

from .measure import SIDES
from .protocol import KEPT, SIGNIFICANCE

NAN = float("nan")
Falls = Float[np.ndarray, "draw sample"]
nats = partial(Estimate.of, unit="nats")


def falls_of(scores: pd.DataFrame, used: str, *taken: str) -> Falls:
    """Falls of the odds at a place, a row per direction."""
    part = scores[(scores.used == used) & scores.taken.isin(taken)]
    return part.fall.to_numpy(np.float64).reshape(-1, 1 + part.row.max())


def answer_estimates(place: Meter, split: str) -> Iterator[Estimate]:
    """Prompts that are refused and accepted (p: Fisher's exact test), and the rates of refusal."""
    shown = [place.shown(f"{split}/{side}") for side in SIDES]
    (harmful, harmless), (n, m) = map(sum, shown), map(len, shown)
    table = [[harmful, n - harmful], [harmless, m - harmless]]
    p = float(scipy_stats.fisher_exact(table, alternative="greater").pvalue)  # type: ignore[attr-defined]
    yield Estimate(f"refused.{place.name}", harmful, n=n, p=p, unit="prompts")
    yield Estimate(f"accepted.{place.name}", m - harmless, n=m, unit="prompts")
    yield Estimate.of(f"rate.harmful.{place.name}", wilson(harmful, n))
    yield Estimate.of(f"rate.harmless.{place.name}", wilson(harmless, m))


def effect_estimates(scores: pd.DataFrame, candidates: pd.DataFrame) -> Iterator[Estimate]:
    """Of the chosen candidates: effect, what it is beyond random directions, and KL."""
    rows = candidates[candidates.chosen]
    for taken, used, kl in zip(rows.taken, rows.used, rows.kl, strict=True):
        where, falls = f"{taken}.in.{used}", falls_of(scores, used, taken)
        null = falls_of(scores, used, *FAMILIES)
        yield nats(f"effect.{where}", over(np.mean, falls), null=null_interval(null.mean(1)))
        yield Estimate(f"kl.{where}", kl, unit="nats")
        if used in (taken, "template"):
            yield nats(f"margin.{where}", over(beyond_random, falls, null))


def beyond_random(fall: Float[np.ndarray, " sample"], nulls: Falls) -> float:
    """Mean fall minus the prediction limit of one more random direction's."""
    means = nulls.mean(1)
    return float(fall.mean() - means.mean() - quantile(len(means)) * means.std(ddof=1))


@lru_cache
def quantile(n: int) -> float:
    """Of one more draw, in standard deviations of `n` draws (Student's t)."""
    return float(scipy_stats.t.ppf(1 - SIGNIFICANCE, n - 1) * (1 + 1 / n) ** 0.5)


def kept(scores: pd.DataFrame, used: str, taken: str) -> Interval:
    """Effect of a direction minus KEPT of that of the place's own; re-extracted together."""
    return over(np.mean, falls_of(scores, used, taken) - KEPT * falls_of(scores, used, used))


def comparisons(scores: pd.DataFrame) -> Iterator[Estimate]:
    """12a and 12b: directions of all styles, used in the template."""
    own, bare = (falls_of(scores, "template", style) for style in ("template", "none"))
    yield nats("better.none", over(np.mean, own - bare))
    yield nats("kept.newline", kept(scores, "template", "newline"))


def transfer_estimates(
    scores: pd.DataFrame, candidates: pd.DataFrame, taken: Sequence[str], used: Sequence[str]
) -> Iterator[Estimate]:
    """12c: directions taken in some styles, each used in others."""
    pairs = [pair for pair in product(taken, used) if len(set(pair)) == 2]
    found = [kept(scores, to, one) for one, to in pairs]
    for (one, to), interval in zip(pairs, found, strict=True):
        yield nats(f"transfer.{one}.in.{to}", interval)
    yield worst("transfer.worst", found)
    rows = candidates[candidates.chosen].set_index(["taken", "used"]).kl
    yield Estimate("transfer.kl", max((rows[pair] for pair in pairs), default=NAN), unit="nats")
    yield Estimate("transfer.pairs", float(len(pairs)), n=6, unit="pairs")


def worst(name: str, pairs: Sequence[Interval]) -> Estimate:
    """The least value and lower limit, and the least upper one, corrected for their number."""
    if not pairs:
        return Estimate(name, NAN)
    flipped = [Interval(-one.value, -one.high, -one.low, one.n) for one in pairs]
    high = min(-corrected_low(one, len(pairs)) for one in flipped)
    value, low = min(one.value for one in pairs), min(one.low for one in pairs)
    return nats(name, Interval(value, low, high, pairs[0].n))


def told(sides: Sequence[Float[np.ndarray, " sample"]]) -> Interval:
    """How often a harmful prompt lies further along than a harmless one: AUROC."""

    def statistic(high: Float[np.ndarray, " sample"], low: Float[np.ndarray, " sample"]) -> float:
        return auroc(np.concatenate([high, low]), np.arange(len(high) + len(low)) < len(high))

    return bootstrap(statistic, sides, paired=False, n_resamples=1000)
