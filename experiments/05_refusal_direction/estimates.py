"""From the cells of experiment 05 to estimates with intervals, nulls and detectable effects."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from experiments.lab.estimate import Estimate
from experiments.lab.meter import Meter
from experiments.lab.selection import Selection, found_estimate, gate_estimates
from interp import stats
from interp.errors import DataError
from interp.scores import auroc, classifier_accuracy

from .measure import AGAIN, WANTED, Edits
from .protocol import CRITERION_FAMILIES, MAX_SHARE_LEFT

CHANCE = 0.5
EDITED = {"harmful": "ablated", "contrast": "ablated", "harmless": "added"}


def by_condition(prompts: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """The rows of every set and condition that was measured."""
    return dict(list(prompts.groupby(["set", "condition"], sort=False)))  # type: ignore[arg-type]


def refusals(prompts: pd.DataFrame) -> dict[tuple[str, str], Bool[np.ndarray, " sample"]]:
    """Per set and condition with answers, whether each answer declines."""
    rows = by_condition(prompts.dropna(subset=["answer"]))
    return {key: (part.answer == "refused").to_numpy(bool) for key, part in rows.items()}


def selection_estimates(selection: Selection, coefficient: float) -> list[Estimate]:
    """What was chosen, and how many train prompts its classes are made of.

    These are choices and counts, without interval or null.
    """
    chosen = selection.chosen
    values = {
        ("coefficient", ""): coefficient,
        ("selection.depth", "blocks"): chosen.depth,
        ("selection.position", "tokens from the end"): chosen.position,
        ("selection.bypass", "nats"): chosen.bypass,
        ("selection.bypass.base", "nats"): selection.base_bypass,
        ("selection.induce", "nats"): chosen.induce,
        ("selection.induce.base", "nats"): selection.base_induce,
        ("selection.kl", "nats"): chosen.kl,
    }
    n = len(selection.prompts.validation[0])
    return [
        *gate_estimates(selection.prompts),
        *(Estimate(name, float(x), n=n, unit=unit) for (name, unit), x in values.items()),
        Estimate("selection.passed", float(selection.passed), n=len(selection.candidates)),
        found_estimate(selection),
    ]


def rate_estimates(prompts: pd.DataFrame, draws: pd.DataFrame) -> Iterator[Estimate]:
    """Refusal rates with Wilson intervals, and their paired differences with Newcombe's.

    The base rates, and the differences, have no null of their own: that of the edited rate says it.
    """
    found = refusals(prompts)
    detectable = {
        on: stats.minimum_detectable_effect_rate(len(base), float(base.mean()))
        for (on, condition), base in found.items()
        if condition == "base"
    }
    for (on, condition), refused in found.items():
        yield Estimate.of(
            f"refusal_rate.{on}.{condition}",
            stats.wilson(int(refused.sum()), len(refused)),
            null=null_rates(draws, on) if condition == EDITED[on] else None,
            mde=detectable[on],
        )
    for on in detectable:
        change = stats.newcombe_difference(found[on, "base"], found[on, EDITED[on]])
        yield Estimate.of(f"refusal_rate.{on}.difference", change, mde=detectable[on])
    excess = found["harmful", "ablated"] - MAX_SHARE_LEFT * found["harmful", "base"]
    yield _mean("refusal_rate.harmful.excess", excess, unit="")


def null_rates(draws: pd.DataFrame, on: str) -> tuple[float, float] | None:
    """95% of the refusal rates under the criterion's null families; None where none answered."""
    kind = "harmless" if on == "harmless" else "harmful"
    rates = of_families(draws, f"{kind}_rate", CRITERION_FAMILIES)
    measured = rates[np.isfinite(rates)]
    return stats.null_interval(measured) if len(measured) else None


def of_families(
    draws: pd.DataFrame, column: str, families: Sequence[str]
) -> Float[np.ndarray, " draw"]:
    """One column of the draws of some families."""
    return draws.loc[draws.family.isin(families), column].to_numpy(np.float64)


def openings_estimates(
    prompts: pd.DataFrame,
    effects: Mapping[str, Float[np.ndarray, " sample"]],
    draws: pd.DataFrame,
) -> Iterator[Estimate]:
    """Openings scores, and the effects of both edits against random directions, in nats."""
    yield from _means_by_condition("openings", prompts)
    for kind, values in effects.items():
        null = of_families(draws, kind, CRITERION_FAMILIES)
        effect = _mean(f"effect.{kind}", values, null)
        yield effect
        yield Estimate(f"effect.{kind}.largest_null", float(null.max()), n=len(null), unit="nats")
        permuted = of_families(draws, kind, ["label_permuted"])
        between = stats.Interval(permuted.mean(), *stats.null_interval(permuted), len(permuted))
        p = stats.permutation_p(effect.value, permuted)
        yield Estimate.of(f"effect.{kind}.label_permuted", between, p=p, unit="nats")
        again = _range(of_families(draws, kind, [AGAIN]))
        yield Estimate.of(f"effect.{kind}.reextracted", again, unit="nats")
    yield Estimate.of("reextraction.cosine", _range(of_families(draws, "cosine", [AGAIN])))


def damage_estimates(meter: Meter, edits: Edits, prompts: pd.DataFrame) -> Iterator[Estimate]:
    """KL on harmless prompts, on ordinary text and over answers (nats), and perplexity.

    Their null is in the dose-response table: damage of random directions.
    """
    both = [edits[kind] for kind in WANTED]
    rows = by_condition(prompts)
    for edit in both:
        kl = rows["harmless", edit.name].kl.to_numpy(np.float64)
        yield _mean(f"kl.harmless.{edit.name}", kl)
    yield _perplexity("base", meter.text(both[0])["base_loss"])
    for edit in both:
        yield _mean(f"kl.text.{edit.name}", meter.text(edit)["kl"])
        yield _perplexity(edit.name, meter.text(edit)["loss"])
    for edit in both:
        yield _mean(f"kl.answers.{edit.name}", meter.answer_kl("harmless/kl", edit))
    if "weights" in edits:
        kl = meter.kl("harmful/kl", edits["weights"], edits["ablation"])
        yield _mean("kl.orthogonalised_from_ablated", kl)


def token_estimates(prompts: pd.DataFrame, threshold: float) -> Iterator[Estimate]:
    """First-token log-odds of refusal, and how well they tell refused answers from the others.

    Nothing where no first tokens of refusals were learnt. No null: they restate the openings score.
    """
    if prompts.log_odds.isna().all():
        return
    yield from _means_by_condition("log_odds", prompts)
    base = prompts[prompts.condition == "base"]
    odds, refused = base.log_odds.to_numpy(np.float64), (base.answer == "refused").to_numpy(bool)
    yield Estimate("log_odds.threshold", threshold, unit="nats")
    agreed = int(((odds > threshold) == refused).sum())
    yield Estimate.of("log_odds.agreement", stats.wilson(agreed, len(odds)))
    if 0 < refused.sum() < len(refused):
        yield Estimate.of("log_odds.auroc", stats.bootstrap(_auroc, [odds, refused], paired=True))


def accuracy_estimate(model: str) -> Estimate:
    """Accuracy of the refusal classifier on this model's labelled answers; NaN without labels."""
    try:
        found = classifier_accuracy(model)
    except DataError:
        return Estimate("classifier.accuracy", float("nan"))
    interval = stats.Interval(found["value"], found["low"], found["high"], int(found["n"]))
    return Estimate.of("classifier.accuracy", interval)


def _means_by_condition(column: str, prompts: pd.DataFrame) -> Iterator[Estimate]:
    for (on, condition), rows in by_condition(prompts).items():
        mean = stats.bootstrap_mean(rows[column].to_numpy(np.float64))
        yield Estimate.of(f"{column}.{on}.{condition}", mean, unit="nats")


def _mean(
    name: str, values: np.ndarray, null: np.ndarray | None = None, unit: str = "nats"
) -> Estimate:
    mde = stats.minimum_detectable_effect_mean(float(values.std(ddof=1)), len(values))
    return Estimate.of(name, stats.bootstrap_mean(values), null=null, mde=mde, unit=unit)


def _range(values: np.ndarray) -> stats.Interval:
    """Mean with the range: five values say no more about their tails."""
    return stats.Interval(values.mean(), values.min(), values.max(), len(values))


def _perplexity(condition: str, losses: np.ndarray) -> Estimate:
    interval = stats.bootstrap(lambda drawn: float(np.exp(drawn.mean())), [losses], paired=True)
    return Estimate.of(f"perplexity.{condition}", interval)


def _auroc(odds: np.ndarray, refused: np.ndarray) -> float:
    """AUROC; a resample with a single class says nothing, so it counts as chance."""
    return auroc(odds, refused) if 0 < refused.sum() < len(refused) else CHANCE
