"""From the measurements of experiment 05 to estimates with intervals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from experiments.lab.estimate import Estimate
from experiments.lab.meter import SHOWING
from experiments.lab.selection import Selection, found_estimate, gate_estimates
from interp import stats
from interp.effects import newcombe_excess
from interp.effects import two_level_bootstrap as over

from .measure import AGAIN
from .protocol import DECIDING, FAMILIES, MAX_SHARE_LEFT, PUSHES

Values = Float[np.ndarray, "draw sample"]


def selection_estimates(selection: Selection, coefficient: float) -> list[Estimate]:
    """What was chosen, and how many train prompts its classes are made of: no intervals."""
    found = [*gate_estimates(selection.prompts), found_estimate(selection)]
    depth = Estimate("selection.depth", float(selection.chosen.depth), unit="blocks")
    return [*found, depth, Estimate("coefficient", coefficient)]


def rate_estimates(answers: pd.DataFrame) -> Iterator[Estimate]:
    """Refusal rates, and what 05a, 05b and 05d ask of them."""
    refused = {
        f"{on}.{condition}": part.answer.isin(SHOWING).to_numpy(bool)
        for (on, condition), part in answers.groupby(["set", "condition"], sort=False)  # type: ignore[misc]
    }
    for name, values in refused.items():
        yield Estimate.of(f"refusal_rate.{name}", stats.wilson(int(values.sum()), len(values)))
    base, plain = refused["harmful.base"], refused["harmless.base"]
    for edit in ("ablated", "orthogonalised"):
        if (left := refused.get(f"harmful.{edit}")) is not None:
            excess = newcombe_excess(base, left, MAX_SHARE_LEFT)
            yield Estimate.of(f"excess.{edit}", excess)
            yield Estimate.of(f"fall.{edit}", stats.newcombe_difference(left, base))
    others = {"rise.added": plain} | {f"rise.over.{f}": refused[f"harmless.{f}"] for f in PUSHES}
    for name, other in others.items():
        yield Estimate.of(name, stats.newcombe_difference(other, refused["harmless.added"]))
    yield Estimate("harmless.accepted", float((~plain).sum()), n=len(plain), unit="prompts")


def values_of(scores: pd.DataFrame, measure: str, *families: str) -> Values:
    """The scores of some families, those of one direction or dose in a row."""
    part = scores[(scores.measure == measure) & scores.family.isin(families)]
    return part.value.to_numpy(np.float64).reshape(-1, part.prompt.max() + 1)


def score_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """Falls of the refusal odds over random directions, KL, and how odds follow the dose."""
    for edit in ("ablated", "orthogonalised"):
        if not (scores.family == edit).any():
            yield from (Estimate(name.format(edit), float("nan")) for name in DECIDING)
            continue
        falls = values_of(scores, "fall", edit, AGAIN)
        null = values_of(scores, "fall", *FAMILIES).mean(1)
        yield Estimate.of(f"effect.{edit}", over(np.mean, falls), null=null, unit="nats")
        for family in FAMILIES:
            margin = over(beyond_strongest, falls, values_of(scores, "fall", family))
            yield Estimate.of(f"margin.{edit}.{family}", margin, unit="nats")
    kl = values_of(scores, "kl", "ablated", AGAIN)
    limits = stats.null_interval(values_of(scores, "kl", "covariance_matched").mean(1))
    yield Estimate.of("kl.accepted.ablated", over(np.mean, kl), null=limits, unit="nats")
    levels = values_of(scores, "odds", "added")
    shape = {"r2": rising_r2, "step": step, "drop": lambda at: max(0.0, step(-at)), "range": np.ptp}
    for name, measure in shape.items():
        interval = over(lambda _, at, f=measure: float(f(at.mean(1))), levels[:1], levels)
        yield Estimate.of(f"graded.{name}", interval, unit="nats" if name == "range" else "")


def beyond_strongest(fall: Float[np.ndarray, " sample"], nulls: Values) -> float:
    """Mean fall minus that of the null draw with the largest mean."""
    return float(fall.mean() - nulls.mean(1).max())


def rising_r2(means: Float[np.ndarray, " level"]) -> float:
    """Share of the variance of the level means that a rising isotonic regression explains."""
    total = ((means - means.mean()) ** 2).sum()
    return float(1 - ((means - isotonic_regression(means).x) ** 2).sum() / total) if total else 0.0


def step(means: Float[np.ndarray, " level"]) -> float:
    """The largest rise between neighbouring levels, over the range of the means."""
    return float(np.diff(means).max() / np.ptp(means)) if np.ptp(means) else 1.0
