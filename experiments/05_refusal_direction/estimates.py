"""From the measurements of experiment 05 to estimates with intervals and nulls."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.isotonic import isotonic_regression

from experiments.lab.estimate import Estimate
from experiments.lab.selection import Selection, found_estimate, gate_estimates
from interp import stats
from interp.errors import DataError
from interp.scores import classifier_accuracy

from .measure import Effects, Values
from .protocol import FAMILIES, GONE_BY, LEAST_NULL_KL, MAX_KL_RATIO, MAX_SHARE_LEFT

N_RESAMPLES = 2000
Refused = Bool[np.ndarray, " sample"]


def selection_estimates(selection: Selection, coefficient: float) -> list[Estimate]:
    """What was chosen, and how many train prompts its classes are made of: no intervals."""
    n = len(selection.prompts.validation[0])
    return [
        *gate_estimates(selection.prompts),
        found_estimate(selection),
        Estimate("selection.passed", float(selection.passed), n=len(selection.candidates)),
        Estimate("selection.depth", float(selection.chosen.depth), n=n, unit="blocks"),
        Estimate("coefficient", coefficient, n=n),
    ]


def refusals(answers: pd.DataFrame) -> dict[tuple[str, str], Refused]:
    """Per set and condition, whether each answer declines."""
    groups = answers.groupby(["set", "condition"], sort=False)
    return {key: (part.answer == "refused").to_numpy(bool) for key, part in groups}  # type: ignore[misc]


def rate_estimates(answers: pd.DataFrame) -> Iterator[Estimate]:
    """Refusal rates, and what 05a, 05b and 05d ask of them."""
    found = refusals(answers)
    for (on, condition), refused in found.items():
        rate = stats.wilson(int(refused.sum()), len(refused))
        yield Estimate.of(f"refusal_rate.{on}.{condition}", rate)
    base, plain = found["harmful", "base"], found["harmless", "base"]
    for edit in ("ablated", "orthogonalised"):
        if ("harmful", edit) in found:
            left = found["harmful", edit]
            excess = stats.newcombe_difference(base, left, MAX_SHARE_LEFT)
            yield Estimate.of(f"excess.{edit}", excess)
            yield Estimate.of(f"fall.{edit}", stats.newcombe_difference(left, base))
    rise = stats.newcombe_difference(plain, found["harmless", "added"])
    mde = stats.minimum_detectable_effect_rate(len(plain), float(plain.mean()))
    yield Estimate.of("rise.added", rise, mde=mde)
    accepted = float((~plain).sum())
    yield Estimate("harmless.accepted", accepted, n=len(plain), unit="prompts")


def effect_estimates(effects: Effects) -> Iterator[Estimate]:
    """Falls of the refusal odds against random directions, and KL, in nats."""
    for edit, falls in (("ablated", effects.ablated), ("orthogonalised", effects.weights)):
        if falls is None:
            yield from (Estimate(name.format(edit), float("nan")) for name in GONE_BY)
            continue
        null = np.concatenate([values.mean(1) for values in effects.nulls.values()])
        mean = over(np.mean, falls)
        yield Estimate.of(f"effect.{edit}", mean, null=null, unit="nats")
        for family in FAMILIES:
            margin = over(beyond_strongest, falls, effects.nulls[family])
            yield Estimate.of(f"margin.{edit}.{family}", margin, unit="nats")
    null_kl = effects.null_kl.mean(1)
    kl = over(np.mean, effects.kl)
    yield Estimate.of("kl.accepted.ablated", kl, null=null_kl, alternative="less", unit="nats")
    yield Estimate.of(
        "kl.accepted.over_null", over(beyond_ratio, effects.kl, effects.null_kl), unit="nats"
    )
    if effects.cosines:
        ends = np.mean(effects.cosines), min(effects.cosines), max(effects.cosines)
        cosines = stats.Interval(*map(float, ends), len(effects.cosines))
        yield Estimate.of("reextraction.cosine", cosines)


def over(
    statistic: Callable[..., float], values: Values, *others: Values, seed: int = 0
) -> stats.Interval:
    """A statistic of the direction's row of `values` and of whole `others`, with its interval.

    Two-level percentile bootstrap: each draw takes one row of `values` (the direction or a
    re-extraction) and resamples the prompts, the same for all arrays.
    """
    rng = np.random.default_rng(seed)
    n_draws, n = values.shape
    rows = rng.integers(n_draws, size=N_RESAMPLES)
    prompts = rng.integers(n, size=(N_RESAMPLES, n))
    drawn = [
        statistic(values[row, chosen], *(other[:, chosen] for other in others))
        for row, chosen in zip(rows, prompts, strict=True)
    ]
    return stats.Interval(statistic(values[0], *others), *stats.null_interval(np.array(drawn)), n)


def beyond_strongest(fall: Float[np.ndarray, " sample"], nulls: Values) -> float:
    """Mean fall minus that of the null draw with the largest mean."""
    return float(fall.mean() - nulls.mean(1).max())


def beyond_ratio(kl: Float[np.ndarray, " sample"], null_kl: Values) -> float:
    """Mean KL minus the most that random directions allow it."""
    return float(kl.mean() - MAX_KL_RATIO * max(null_kl.mean(), LEAST_NULL_KL))


def level_estimates(levels: Values) -> Iterator[Estimate]:
    """How refusal odds follow the dose, from the odds of every prompt at every level."""
    measures = {"r2": (rising_r2, ""), "step": (step, ""), "range": (spread, "nats")}
    for name, (measure, unit) in measures.items():
        of_prompts = partial(_of_means, measure)
        interval = stats.bootstrap(of_prompts, [levels.T], paired=True, n_resamples=1000)
        yield Estimate.of(f"graded.{name}", interval, unit=unit)


def _of_means(measure: Callable[..., float], by_prompt: Float[np.ndarray, "sample level"]) -> float:
    return measure(by_prompt.mean(0))


def rising_r2(means: Float[np.ndarray, " level"]) -> float:
    """Share of the variance of the level means that a rising isotonic regression explains."""
    fitted = isotonic_regression(means)
    total = ((means - means.mean()) ** 2).sum()
    return float(1 - ((means - fitted) ** 2).sum() / total) if total > 0 else 0.0


def step(means: Float[np.ndarray, " level"]) -> float:
    """The largest rise between neighbouring levels, over the range of the means."""
    return float(np.diff(means).max() / np.ptp(means)) if np.ptp(means) > 0 else 1.0


def spread(means: Float[np.ndarray, " level"]) -> float:
    """Range of the level means, in nats."""
    return float(np.ptp(means))


def accuracy_estimate(model: str) -> Estimate:
    """Accuracy of the refusal classifier on this model's labelled answers; NaN without labels."""
    try:
        found = classifier_accuracy(model)
    except DataError:
        return Estimate("classifier.accuracy", float("nan"))
    interval = stats.Interval(found["value"], found["low"], found["high"], int(found["n"]))
    return Estimate.of("classifier.accuracy", interval)
