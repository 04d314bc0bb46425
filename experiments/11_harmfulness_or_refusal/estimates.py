"""From the measurements of experiment 11 to estimates with intervals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from interp.effects import two_level_bootstrap as over
from interp.stats import Interval, wilson

from .protocol import CLAIMS, FAMILIES

STEERED = ("inversion", "odds")  # measures
Draws = Float[np.ndarray, "draw row"]


def effect_estimates(found: dict[str, Interval]) -> list[Estimate]:
    """What the regression of 11a gives."""
    return [Estimate.of(name, interval) for name, interval in found.items()]


def refused_estimate(prompts: pd.DataFrame) -> Estimate:
    """Harmful prompts after which a refusal is likelier than all else."""
    odds = prompts[prompts.harmful == 1].odds
    return Estimate("refused", float((odds > 0).sum()), n=len(odds), unit="prompts")


def unsteered_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """Accuracy of the word on harm, and the gaps between the classes of both measures, in nats."""
    sides = {side: scores[scores.harmful == side] for side in (1, 0)}
    right = {"harmful": sides[1].inversion > 0, "harmless": sides[0].inversion < 0}
    for name, hits in right.items():
        rate = wilson(int(hits.sum()), len(hits))
        yield Estimate.of(f"inversion.accuracy.{name}", rate)
    accuracy = float(np.mean([hits.mean() for hits in right.values()]))
    yield Estimate("inversion.accuracy", accuracy, n=len(scores))
    for measure in STEERED:
        gaps = gaps_of(scores, measure)
        yield Estimate.of(f"{measure}.gap", over(np.mean, gaps), unit="nats")


def gaps_of(scores: pd.DataFrame, measure: str) -> Draws:
    """Harmful minus harmless test prompts, unsteered, row by row; one draw."""
    rows = scores.pivot_table(index="row", columns="harmful", values=measure)
    return (rows[1] - rows[0]).to_numpy(np.float64)[None]


def steering_estimates(scores: pd.DataFrame, steered: pd.DataFrame) -> Iterator[Estimate]:
    """What each direction moves, over the gap; NaN where nothing was steered."""
    if steered.empty:
        missing = [name for name in CLAIMS[1].estimates if ".by_" in name or ".over." in name]
        yield from (Estimate(name, float("nan")) for name in missing)
        return
    for measure in STEERED:
        gaps = gaps_of(scores, measure)
        for name in ("harm", "refusal"):
            rises = rises_of(scores, steered, measure, name)
            moved = over(lambda rise, gap: float(rise.mean() / gap.mean()), rises, gaps)
            yield Estimate.of(f"{measure}.by_{name}", moved)
    harm = rises_of(scores, steered, "inversion", "harm")
    for family in FAMILIES:
        random = rises_of(scores, steered, "inversion", family)
        beyond = over(lambda rise, null: float(rise.mean() - null.mean(1).max()), harm, random)
        yield Estimate.of(f"inversion.over.{family}", beyond, unit="nats")


def rises_of(scores: pd.DataFrame, steered: pd.DataFrame, measure: str, name: str) -> Draws:
    """By how much harmless test prompts rise under a direction, its re-extractions in a row."""
    base = scores[scores.harmful == 0].set_index("row")[measure].sort_index()
    part = steered[(steered.measure == measure) & (steered.direction == name)]
    return part.pivot_table(index="draw", columns="row", values="value").to_numpy() - base.to_numpy()
