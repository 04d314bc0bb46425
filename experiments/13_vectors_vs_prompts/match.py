"""How much of the vector does what a sentence does, on validation prompts; and of the undoer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.lab.meter import BASE, Meter

from .measure import BASELINE, Halves, Match, Reading, mean, pushing, with_edit, with_sentence
from .protocol import (
    COUNTER_DOSES,
    DOSES,
    LEFT,
    MAX_MISMATCH,
    MAX_RATIO,
    MIN_RISE,
    Config,
)

PLAIN = ("validation", BASELINE, "none")
Curve = dict[float, Reading]  # by dose


def vector_at(meter: Meter, halves: Halves, dose: float) -> Reading:
    """The validation prompts under so much of the vector."""
    pair = halves.vector.direction, halves.counter.direction
    return with_edit(meter, PLAIN, pushing(pair, dose, 0.0, f"{halves.site}/0"))


def curve(meter: Meter, halves: Halves) -> Curve:
    """The vector at no dose, and at every one of DOSES."""
    base = with_edit(meter, PLAIN, BASE).odds
    none = {0.0: Reading(base, np.zeros_like(base))}
    return none | {dose: vector_at(meter, halves, dose) for dose in DOSES}


def crossing(doses: Sequence[float], values: Sequence[float], target: float) -> float:
    """The smallest dose at which a line between measured ones reaches the target.

    The one with the largest value where none does.
    """
    for i in range(1, len(doses)):
        low, high = values[i - 1], values[i]
        if low < target <= high:
            return doses[i - 1] + (target - low) / (high - low) * (doses[i] - doses[i - 1])
    return doses[int(np.argmax(values[1:])) + 1]


def match(meter: Meter, lead: str, halves: Halves, found: Curve) -> dict[str, object]:
    """The dose at which one site's vector does what a sentence does; `curve` is added to."""
    sentence = with_sentence(meter, "validation", lead)
    target, base = float(sentence.odds.mean()), float(found[0.0].odds.mean())
    doses, odds, _ = mean(found)
    for _ in range(2):
        dose = crossing(doses, odds, target)
        found[dose] = vector_at(meter, halves, dose)
        doses, odds, _ = mean(found)
    rises = target - base, float(found[dose].odds.mean()) - base
    kl = float(sentence.kl.mean()), float(found[dose].kl.mean())
    ratio = max(kl[1], 1e-6) / max(kl[0], 1e-6)
    works = rises[0] >= MIN_RISE and abs(rises[1] - rises[0]) <= MAX_MISMATCH * rises[0]
    return {
        "sentence": lead, "site": halves.site, "dose": dose, "rise.prompt": rises[0],
        "rise.vector": rises[1], "kl.prompt": kl[0], "kl.vector": kl[1], "kl.ratio": ratio,
        "matched": bool(works and 1 / MAX_RATIO <= ratio <= MAX_RATIO),
    }  # fmt: skip


def closest(meter: Meter, lead: str, curves: Sequence[Curve]) -> int:
    """The site whose vector, where it reaches the sentence's odds, has the closest KL.

    A site that does not reach them counts last.
    """
    sentence = with_sentence(meter, "validation", lead)
    target, wanted = float(sentence.odds.mean()), max(float(sentence.kl.mean()), 1e-6)

    def distance(found: Curve) -> tuple[bool, float]:
        doses, odds, kl = mean(found)
        at = float(np.interp(crossing(doses, odds, target), doses, kl))
        return max(odds) < target, abs(float(np.log(max(at, 1e-6) / wanted)))

    return min(range(len(curves)), key=lambda i: distance(curves[i]))


def matches(
    meter: Meter, every: Sequence[Halves], config: Config
) -> tuple[list[Match], pd.DataFrame, pd.DataFrame]:
    """What is used, every sentence's best match, and the curves that they were found on.

    Without any match the closest is used, so that there is something to show.
    """
    curves = [curve(meter, halves) for halves in every]
    rows = []
    for lead in [f"steering {i}" for i in range(config.n_sentences)]:
        site = closest(meter, lead, curves)
        rows.append({**match(meter, lead, every[site], dict(curves[site])), "row": site})
    table = pd.DataFrame(rows)
    table["far"] = np.abs(np.log(table["kl.ratio"]))
    order = table.sort_values(["matched", "far"], ascending=[False, True], kind="stable")
    kept = order[order.matched][: config.n_used] if table.matched.any() else order[:1]
    table["used"] = table.index.isin(kept.index)
    used = [
        finish(meter, every[int(r.row)], str(r.sentence), float(r.dose), config)
        for r in kept.itertuples()
    ]  # type: ignore[arg-type]
    return used, table.drop(columns=["row", "far"]), curve_table(every, curves)


def finish(meter: Meter, halves: Halves, lead: str, dose: float, config: Config) -> Match:
    """The match, with the dose of the counter-vector and all draws."""
    pairs = halves.drawn(config.n_reextractions, meter.lab)
    nulls = [one for *_, one in meter.lab.nulls(halves.vector, config.n_nulls, "13.nulls")]
    return Match(lead, halves, dose, counter_dose(meter, halves, lead, dose), pairs, nulls)


def counter_dose(meter: Meter, halves: Halves, lead: str, dose: float) -> float:
    """The dose that leaves LEFT of the rises, on average over sentence and vector."""
    pair = halves.vector.direction, halves.counter.direction
    base = with_edit(meter, PLAIN).odds.mean()

    def left(share: float) -> float:
        found = []
        for first, amount in ((lead, 0.0), (BASELINE, dose)):
            on = ("validation", first, "none")
            edits = [pushing(pair, amount, c, f"{halves.site}/0") for c in (0.0, share * dose)]
            start, undone = (with_edit(meter, on, edit).odds.mean() - base for edit in edits)
            found.append(undone / max(start, MIN_RISE))
        return float(np.mean(found))

    shares = [1.0, *map(left, COUNTER_DOSES)]
    return dose * crossing((0.0, *COUNTER_DOSES), [-x for x in shares], -LEFT)


def curve_table(every: Sequence[Halves], curves: Sequence[Curve]) -> pd.DataFrame:
    """Mean odds and KL of every site's vector, at every dose of the grid."""
    rows = [
        (halves.site, *row)
        for halves, found in zip(every, curves, strict=True)
        for row in zip(*mean(found), strict=True)
    ]
    return pd.DataFrame(rows, columns=["site", "dose", "odds", "kl"])
