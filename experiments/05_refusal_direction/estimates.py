"""From the measurements of experiment 05 to estimates with intervals, and to tables."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.refusal_classifier import ANSWER_CLASSES
from interp.scores import auroc
from interp.stats import (
    Interval,
    bootstrap,
    bootstrap_mean,
    minimum_detectable_effect_mean,
    minimum_detectable_effect_rate,
    newcombe_difference,
    null_interval,
    permutation_p,
    wilson,
)

from .measure import Bench, Source, adding
from .nulls import CRITERION_FAMILIES

HALF = 0.5
SET_LABELS = {
    "harmful": "harmful prompts",
    "contrast": "harmful prompts of the contrast set",
    "harmless": "harmless tasks",
}
EDITED = {"harmful": "ablated", "contrast": "ablated", "harmless": "added"}


def rows_of(prompts: pd.DataFrame, name: str, condition: str) -> pd.DataFrame:
    """The rows of one set under one edit, in the order of the prompts."""
    return prompts.loc[(prompts["set"] == name) & (prompts.condition == condition)]


def refused(prompts: pd.DataFrame, name: str, condition: str) -> np.ndarray:
    """Per prompt, whether the answer declines."""
    return (rows_of(prompts, name, condition).answer == "refused").to_numpy(bool)


def measured_pairs(prompts: pd.DataFrame) -> list[tuple[str, str]]:
    """Every set and edit that was measured."""
    return list(dict.fromkeys(zip(prompts["set"], prompts.condition, strict=True)))


def answered_pairs(prompts: pd.DataFrame) -> list[tuple[str, str]]:
    """Every set and edit under which the prompts were answered."""
    return measured_pairs(prompts.loc[prompts.answer.notna()])


def null_rate_interval(draws: pd.DataFrame, name: str) -> tuple[float | None, float | None]:
    """95% of the refusal rates under the criterion's null families; None where none answered."""
    column = f"{'harmless' if name == 'harmless' else 'harmful'}_rate"
    rates = draws[draws.family.isin(CRITERION_FAMILIES)][column].dropna().to_numpy(np.float64)
    return null_interval(rates) if len(rates) else (None, None)


def rate_estimates(prompts: pd.DataFrame, draws: pd.DataFrame) -> Iterator[Estimate]:
    """Refusal rates with Wilson intervals, and their paired differences with Newcombe's.

    The base rates, and the differences, have no null of their own: that of the edited rate says it.
    """
    for name, condition in answered_pairs(prompts):
        found = refused(prompts, name, condition)
        rate = wilson(int(found.sum()), len(found))
        base = refused(prompts, name, "base")
        null = (None, None)
        if condition == EDITED[name]:
            null = null_rate_interval(draws, name)
        yield Estimate(
            f"refusal_rate.{name}.{condition}", rate.value, rate.low, rate.high, *null, rate.n,
            mde=minimum_detectable_effect_rate(len(base), float(base.mean())),
        )  # fmt: skip
    for name, condition in EDITED.items():
        if (name, condition) not in answered_pairs(prompts):
            continue
        pair = refused(prompts, name, "base"), refused(prompts, name, condition)
        change = newcombe_difference(*pair)
        mde = minimum_detectable_effect_rate(change.n, float(pair[0].mean()))
        yield _estimate(f"refusal_rate.{name}.difference", change, mde=mde)
    yield excess_estimate(prompts)


def excess_estimate(prompts: pd.DataFrame) -> Estimate:
    """Refusal rate left by ablation minus half the base rate: above 0, it does not halve."""
    base, left = (refused(prompts, "harmful", c).astype(float) for c in ("base", "ablated"))
    excess = left - HALF * base
    interval = bootstrap_mean(excess)
    mde = minimum_detectable_effect_mean(float(excess.std(ddof=1)), len(excess))
    return _estimate("refusal_rate.harmful.excess", interval, mde=mde)


def openings_estimates(
    prompts: pd.DataFrame,
    effects: Mapping[str, np.ndarray],
    draws: pd.DataFrame,
    again: pd.DataFrame,
) -> Iterator[Estimate]:
    """Openings scores, and the effects of both edits against random directions, in nats."""
    for name, condition in measured_pairs(prompts):
        scores = rows_of(prompts, name, condition).openings.to_numpy(np.float64)
        yield _estimate(f"openings.{name}.{condition}", bootstrap_mean(scores), unit="nats")
    deciding = draws[draws.family.isin(CRITERION_FAMILIES)]
    for edit, values in effects.items():
        null = deciding[edit].to_numpy(np.float64)
        interval = bootstrap_mean(values)
        yield Estimate(
            f"effect.{edit}", interval.value, interval.low, interval.high, *null_interval(null),
            interval.n, permutation_p(interval.value, null),
            minimum_detectable_effect_mean(float(values.std(ddof=1)), len(values)), "nats",
        )  # fmt: skip
        yield Estimate(f"effect.{edit}.largest_null", float(null.max()), n=len(null), unit="nats")
        permuted = draws[draws.family == "label_permuted"][edit].to_numpy(np.float64)
        low, high = null_interval(permuted)
        yield Estimate(
            f"effect.{edit}.label_permuted", float(permuted.mean()), low, high,
            n=len(permuted), p=permutation_p(interval.value, permuted), unit="nats",
        )  # fmt: skip
        yield again_estimate(edit, again[edit].to_numpy(np.float64))
    cosines = again.cosine.to_numpy(np.float64)
    yield _estimate("reextraction.cosine", _spread(cosines))


def again_estimate(edit: str, effects: np.ndarray) -> Estimate:
    """Mean effect over directions extracted again, with the smallest and the largest as range."""
    return _estimate(f"effect.{edit}.reextracted", _spread(effects), unit="nats")


def _spread(values: np.ndarray) -> Interval:
    """Mean with the range: five values say no more about their tails."""
    return Interval(float(values.mean()), float(values.min()), float(values.max()), len(values))


def damage_estimates(
    bench: Bench, source: Source, prompts: pd.DataFrame, n_answers: int
) -> Iterator[Estimate]:
    """KL on harmless prompts, on ordinary text and over answers (nats), and perplexity.

    Their null is in the dose-response table: damage of random directions.
    """
    for condition in ("ablated", "added"):
        kl = rows_of(prompts, "harmless", condition).kl.to_numpy(np.float64)
        yield _mean(f"kl.harmless.{condition}", kl)
    ablated = bench.removing(source.direction.unit)
    added = adding(source.coefficient * source.direction.vector, source.site)
    text = {edit.name: bench.text(edit.name, edit) for edit in (ablated, added)}
    base = np.array(text["ablated"]["base_loss"])
    yield _perplexity("base", base)
    for name, found in text.items():
        yield _mean(f"kl.text.{name}", np.array(found["kl"]))
        yield _perplexity(name, np.array(found["loss"]))
    for name, kl in bench.answer_kl((ablated, added), n_answers).items():
        yield _mean(f"kl.answers.{name}", np.array(kl))
    if ("harmful", "orthogonalised") in measured_pairs(prompts):
        weights = bench.orthogonalising(source.direction.unit)
        yield _mean(
            "kl.orthogonalised_from_ablated", np.array(bench.distance(ablated, weights, n_answers))
        )


def token_estimates(prompts: pd.DataFrame, reading: Mapping[str, float]) -> Iterator[Estimate]:
    """First-token log-odds of refusal, and how well they tell refused answers from the others.

    Nothing where no first tokens of refusals were learnt. No null: they restate the openings score.
    """
    if not reading:
        return
    threshold = reading["threshold"]
    for name, condition in measured_pairs(prompts):
        odds = rows_of(prompts, name, condition).log_odds.to_numpy(np.float64)
        yield _estimate(f"log_odds.{name}.{condition}", bootstrap_mean(odds), unit="nats")
    base = prompts[prompts.condition == "base"]
    odds, labels = base.log_odds.to_numpy(np.float64), (base.answer == "refused").to_numpy(bool)
    yield Estimate("log_odds.threshold", threshold, unit="nats")
    agreed = (odds > threshold) == labels
    yield _estimate("log_odds.agreement", wilson(int(agreed.sum()), len(agreed)))
    if 0 < labels.sum() < len(labels):
        area = bootstrap(_auroc, [odds, labels], paired=True)
        yield _estimate("log_odds.auroc", area)


def _auroc(odds: np.ndarray, labels: np.ndarray) -> float:
    """AUROC; a resample with a single class says nothing, so it counts as chance."""
    return auroc(odds, labels) if 0 < labels.sum() < len(labels) else HALF


def rates_table(prompts: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    """Refusal rate per set and edit, with intervals and, where measured, null rates."""
    rows = []
    for name, condition in answered_pairs(prompts):
        found = refused(prompts, name, condition)
        rate = wilson(int(found.sum()), len(found))
        null = null_rate_interval(draws, name) if condition == EDITED[name] else (None, None)
        rows.append(
            {
                "label": SET_LABELS[name],
                "condition": condition,
                "value": rate.value,
                "low": rate.low,
                "high": rate.high,
                "null_low": null[0],
                "null_high": null[1],
                "n": rate.n,
            }
        )
    return pd.DataFrame(rows)


def answer_rates(prompts: pd.DataFrame) -> pd.DataFrame:
    """Share of every class of answer, per set and edit."""
    rows = [
        {"set": name, "condition": condition, "answer": answer,
         "share": float((rows_of(prompts, name, condition).answer == answer).mean()),
         "n": len(rows_of(prompts, name, condition))}
        for name, condition in answered_pairs(prompts)
        for answer in ANSWER_CLASSES
    ]  # fmt: skip
    return pd.DataFrame(rows)


def null_tables(effects: Mapping[str, np.ndarray], draws: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Per edit, the effect of every random direction and of the true one ("observed").

    `cosine` is that with the true one.
    """
    tables = {}
    for edit, values in effects.items():
        interval = bootstrap_mean(values)
        observed = {
            "family": "observed", "draw": 0, "cosine": 1.0, "effect": interval.value,
            "low": interval.low, "high": interval.high, "n": interval.n,
        }  # fmt: skip
        random = draws[["family", "draw", "cosine", edit]].rename(columns={edit: "effect"})
        random = random.assign(n=interval.n)
        tables[f"nulls_{edit}"] = pd.concat([pd.DataFrame([observed]), random], ignore_index=True)
    return tables


def _estimate(name: str, interval: Interval, mde: float | None = None, unit: str = "") -> Estimate:
    return Estimate(
        name, interval.value, interval.low, interval.high, n=interval.n, mde=mde, unit=unit
    )


def _mean(name: str, values: np.ndarray) -> Estimate:
    mde = minimum_detectable_effect_mean(float(values.std(ddof=1)), len(values))
    return _estimate(name, bootstrap_mean(values), mde, "nats")


def _perplexity(condition: str, losses: np.ndarray) -> Estimate:
    interval = bootstrap(_exp_mean, [losses], paired=True)
    return _estimate(f"perplexity.{condition}", interval)


def _exp_mean(losses: np.ndarray) -> float:
    return float(np.exp(losses.mean()))
