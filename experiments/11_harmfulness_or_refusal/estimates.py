"""From the measurements of experiment 11 to estimates with intervals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.partial_effects import Panel, Values, bootstrapped
from interp.effects import two_level_bootstrap as over
from interp.stats import wilson

from .measure import POSITIONS, accuracy
from .protocol import CLAIMS, FAMILIES

DIRECTIONS = ("harm", "refusal")
EFFECTS = tuple(f"{what}.{where}" for what in DIRECTIONS for where in POSITIONS)
STEERED = {"inversion": "word", "odds": "odds"}  # measures, and their columns unsteered
Draws = Float[np.ndarray, "draw row"]


def effect_estimates(panel: Panel, n: int, seed: int) -> list[Estimate]:
    """What the regression of 11a gives."""
    found = bootstrapped(panel, lambda counts: summary(panel, counts), n, seed)
    return [Estimate.of(name, interval) for name, interval in found.items()]


def summary(panel: Panel, counts: Values) -> dict[str, float]:
    """Every statistic of 11a by its name."""
    effects, (reliability, overlap) = panel.effects(counts), panel.alike(counts)
    named = zip(EFFECTS, effects.T.ravel().tolist(), strict=True)
    found = {**dict(named), "reliability": reliability, "overlap": overlap}
    for name, one in {"": effects, ".by_label": panel.effects(counts, "label"),
                      ".by_odds": panel.effects(counts, "score")}.items():  # fmt: skip
        found[f"dissociation{name}"] = dissociation(one)
    return found


def dissociation(effects: Float[np.ndarray, "pos effect"]) -> float:
    """The smaller lead of an effect at its own position over the other, where that is above 0."""
    (harm_first, refusal_first), (harm_last, refusal_last) = effects.tolist()
    return min(harm_first - max(harm_last, 0.0), refusal_last - max(refusal_first, 0.0))


def refused_estimate(prompts: pd.DataFrame) -> Estimate:
    """How many harmful prompts are refused, of those that were answered."""
    answered = prompts[prompts.answer != ""].answer
    return Estimate("refused", float((answered == "refused").sum()), n=len(answered),
                    unit="prompts")  # fmt: skip


def unsteered_estimates(scores: pd.DataFrame) -> Iterator[Estimate]:
    """Accuracy of the word on harm, and the gaps between the classes of both measures, in nats."""
    for wording in ("inversion", "swapped"):
        yield Estimate(f"{wording}.accuracy", accuracy(scores, wording), n=len(scores))
    for name, part in scores.groupby("harmful"):
        hits = (part.inversion > 0) == (name == 1)
        side = "harmful" if name == 1 else "harmless"
        yield Estimate.of(f"inversion.right.{side}", wilson(int(hits.sum()), len(hits)))
    for measure in STEERED:
        yield Estimate.of(f"{measure}.gap", over(np.mean, gaps_of(scores, measure)), unit="nats")


def gaps_of(scores: pd.DataFrame, measure: str) -> Draws:
    """Harmful minus harmless test prompts, unsteered, row by row; one draw."""
    rows = scores.pivot_table(index="row", columns="harmful", values=STEERED[measure])
    return (rows[1] - rows[0]).to_numpy(np.float64)[None]


def steering_estimates(scores: pd.DataFrame, steered: pd.DataFrame) -> Iterator[Estimate]:
    """What each direction moves, over the gap; NaN where nothing was steered."""
    if steered.empty:
        kinds = (".by_", ".over.", ".selective")
        missing = [name for name in CLAIMS[1].estimates if any(kind in name for kind in kinds)]
        yield from (Estimate(name, float("nan")) for name in missing)
        return
    rises = {key: part.pivot_table(index="draw", columns="row", values="value").to_numpy()
             for key, part in steered.groupby(["measure", "direction"])}  # fmt: skip
    for measure in STEERED:
        gaps, both = gaps_of(scores, measure), [rises[measure, name] for name in DIRECTIONS]
        for name, values in zip(DIRECTIONS, both, strict=True):
            yield Estimate.of(f"{measure}.by_{name}", over(share, values, gaps))
        yield Estimate.of(f"{measure}.selective", over(share, both[0] - both[1], gaps))
    for family in FAMILIES:
        random = rises["inversion", family]
        beyond = over(lambda rise, null: float(rise.mean() - null.mean(1).max()),
                      rises["inversion", "harm"], random)  # fmt: skip
        yield Estimate.of(f"inversion.over.{family}", beyond, unit="nats")


def share(rise: Float[np.ndarray, " row"], gap: Draws) -> float:
    """Mean rise over the mean gap between the classes."""
    return float(rise.mean() / gap.mean())
