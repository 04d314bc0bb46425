"""From the scores of experiment 12 to estimates with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import permutations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats as scipy_stats
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestCentroid

from experiments.lab.estimate import Estimate
from experiments.lab.selection import Source
from interp import stats
from interp.nulls import FAMILIES

from .measure import HARMFUL, HARMLESS, SIDES, Place
from .protocol import CHANCE, KEPT, SIGNIFICANCE, STYLES

Means = Float[np.ndarray, " resample"]
N_RESAMPLES = 2000
N_FOLDS = 5
NAN = float("nan")


class Resampled:
    """Means over the prompts of one place, as measured (first) and resampled.

    Each resample takes the direction or a re-extraction, and harmful and harmless prompts anew: the
    same ones at every place, for all directions.
    """

    def __init__(self, scores: pd.DataFrame, used: str) -> None:
        self._scores = scores[scores.used == used]
        base = [self._values(("base",), side) for side in SIDES]
        self._weights = [weights(part.shape[1], seed) for seed, part in enumerate(base)]
        self.n = base[0].shape[1]
        high, low = (w @ part[0] for w, part in zip(self._weights, base, strict=True))
        self.gap: Means = high - low

    def _values(
        self, families: Sequence[str], side: str, taken: str = ""
    ) -> Float[np.ndarray, "draw sample"]:
        table = self._scores[self._scores.family.isin(families) & (self._scores.side == side)]
        kept = table[table.taken == taken]
        return kept.value.to_numpy(np.float64).reshape(-1, 1 + table.row.max())

    def effect(self, taken: str) -> Means:
        """Fall of the odds by the direction taken there."""
        return of_draws(self._weights[0] @ self._values(("real",), HARMFUL, taken).T)

    def rise(self, taken: str) -> Means:
        """Rise of the odds of harmless prompts, the direction added."""
        return self._weights[1] @ self._values(("rise",), HARMLESS, taken)[0]

    def auroc(self, taken: str) -> Means:
        """How often a harmful prompt's state lies further along the direction than a harmless."""
        high, low = (self._values(("state",), side, taken) for side in SIDES)
        above = np.sign(high[:, :, None] - low[:, None, :]) / 2 + 0.5
        return of_draws(
            np.einsum("rp,dpn,rn->rd", self._weights[0], above, self._weights[1], optimize=True)
        )

    @cached_property
    def random(self) -> tuple[Means, Float[np.ndarray, " draw"]]:
        """Prediction limit of one more random direction, and the means of those drawn."""
        values = self._values(FAMILIES, HARMFUL)
        means = self._weights[0] @ values.T
        t = scipy_stats.t.ppf(1 - SIGNIFICANCE, len(values) - 1) * (1 + 1 / len(values)) ** 0.5
        return means.mean(1) + t * means.std(1, ddof=1), means[0]


def weights(n: int, seed: int) -> Float[np.ndarray, "resample n"]:
    """Of each prompt: equal ones first, then those of resamples."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    return np.concatenate([np.ones((1, n)), drawn]) / n


def of_draws(values: Float[np.ndarray, "resample draw"]) -> Means:
    """The direction itself first, then that or a re-extraction, the same one wherever it is."""
    drawn = np.random.default_rng(len(SIDES)).integers(values.shape[1], size=N_RESAMPLES)
    return np.take_along_axis(values, np.append(0, drawn)[:, None], axis=1)[:, 0]


def estimate(name: str, values: Means, n: int, unit: str = "nats", level: float = 0.95) -> Estimate:
    """The value as measured and the limits of the resamples; none for NaN."""
    if not np.isfinite(values).all():
        return Estimate(name, NAN, n=n)
    tail = 50 * (1 - level)
    low, high = np.percentile(values[1:], [tail, 100 - tail])
    return Estimate(name, float(values[0]), float(low), float(high), n=n, unit=unit)


def answer_estimates(place: Place, split: str) -> Iterator[Estimate]:
    """Prompts that are refused and accepted (p: Fisher's exact test), and the rates of refusal."""
    harmful, harmless = place.refused(split)
    table = [[sum(x), len(x) - sum(x)] for x in (harmful, harmless)]
    p = float(scipy_stats.fisher_exact(table, alternative="greater").pvalue)  # type: ignore[attr-defined]
    yield Estimate(f"refused.{place.name}", sum(harmful), n=len(harmful), p=p, unit="prompts")
    accepted = len(harmless) - sum(harmless)
    yield Estimate(f"accepted.{place.name}", accepted, n=len(harmless), unit="prompts")
    for name, answers in (("harmful", harmful), ("harmless", harmless)):
        yield Estimate.of(f"rate.{name}.{place.name}", stats.wilson(sum(answers), len(answers)))


def gap_estimate(scores: pd.DataFrame, used: str) -> Estimate:
    """Unedited odds of harmful minus those of harmless test prompts, by interval."""
    found = Resampled(scores, used)
    return estimate(f"gap.{used}", found.gap, found.n)


def effect_estimates(used: str, found: Resampled) -> Iterator[Estimate]:
    """Effects of all directions used in a style, and what they do beyond random ones."""
    limit, nulls = found.random
    null = stats.null_interval(nulls)
    for name in STYLES:
        one = estimate("", found.effect(name), found.n)
        where = f"{name}.in.{used}"
        yield Estimate(f"effect.{where}", one.value, one.low, one.high, *null, n=one.n, unit="nats")
        yield estimate(f"margin.{where}", found.effect(name) - limit, found.n)


def comparisons(found: Resampled) -> Iterator[Estimate]:
    """12a and 12b: directions of all styles, used in the template."""
    own = found.effect("template")
    for style in STYLES[1:]:
        other = found.effect(style)
        yield estimate(f"better.{style}", own - other, found.n)
        yield estimate(f"kept.{style}", other - KEPT * own, found.n)


def transfer_estimates(
    at: Mapping[str, Resampled], used: Sequence[str], taken: Sequence[str]
) -> Iterator[Estimate]:
    """12c: other styles' directions in the styles that count; the limits hold for all pairs."""
    pairs = [(one, to) for one, to in permutations(STYLES, 2) if one in taken and to in used]
    level, kept, margins = 1 - SIGNIFICANCE / max(1, len(pairs)), [], []
    for name, to in pairs:
        found = at[to]
        effect, own = found.effect(name), found.effect(to)
        where = f"transfer.{name}.in.{to}"
        kept.append(estimate(where, effect - KEPT * own, found.n, level=level))
        margins.append(estimate(where, effect - found.random[0], found.n, level=level))
    yield from kept
    yield worst("transfer.worst", kept)
    yield worst("transfer.margin", margins)
    yield Estimate("transfer.pairs", float(len(pairs)), n=6, unit="pairs")


def worst(name: str, pairs: Sequence[Estimate]) -> Estimate:
    """The least value, with the least of the lower limits and the least of the upper ones."""
    limits = [(one.low, one.high) for one in pairs if one.low is not None and one.high is not None]
    if not pairs or len(limits) < len(pairs):
        return Estimate(name, NAN)
    low, high = (min(ends) for ends in zip(*limits, strict=True))
    least = min(one.value for one in pairs)
    return Estimate(name, least, low, high, n=pairs[0].n, unit="nats")


def tuning_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """12d: the direction of the tuned model and the base's, in both."""
    tuned, base = Resampled(scores, "tuned"), Resampled(scores, "base")
    own, before = tuned.effect("tuned"), tuned.effect("base")
    after, earlier = tuned.auroc("tuned"), base.auroc("tuned")
    tells = earlier - CHANCE - KEPT * (after - CHANCE)
    yield estimate("tuned.effect", own, tuned.n)
    yield estimate("tuned.margin", own - tuned.random[0], tuned.n)
    yield estimate("tuned.base_effect", before, tuned.n)
    yield estimate("tuned.base_kept", before - KEPT * own, tuned.n)
    yield estimate("tuned.base_tells", tells, tuned.n, "")
    yield estimate("auroc.tuned", after, tuned.n, "")
    yield estimate("auroc.base", earlier, base.n, "")
    yield estimate("tuned.rise", tuned.rise("tuned"), tuned.n)
    for taken in ("base", "tuned"):
        yield estimate(f"base.rise.{taken}", base.rise(taken), base.n)


def accuracy_estimates(sources: Mapping[str, Source]) -> Iterator[Estimate]:
    """Share of train prompts that the nearest class mean tells apart."""
    for name, source in sources.items():
        right = nearest_mean(source)
        yield Estimate.of(f"accuracy.{name}", stats.wilson(int(right.sum()), len(right)))


def nearest_mean(source: Source) -> Bool[np.ndarray, " sample"]:
    """Whether each train prompt's class is that of the nearest mean of the other folds."""
    states = np.concatenate([source.positive.numpy(), source.negative.numpy()])
    labels = np.arange(len(states)) < len(source.positive)
    folds = min(N_FOLDS, len(source.positive), len(source.negative))
    return cross_val_predict(NearestCentroid(), states, labels, cv=folds) == labels
