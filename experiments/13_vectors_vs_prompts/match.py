"""How much of the vector does what a sentence does, on validation prompts; and of the undoer."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from experiments.lab.meter import Meter

from .measure import Match, Vectors, read
from .protocol import COUNTER_DOSES, DOSES, LEFT, MAX_MISMATCH, MAX_RATIO, MIN_RISE, Config

PLAIN = "validation/neutral/none"
TINY = 1e-6
Curve = dict[float, tuple[float, float]]  # dose to mean odds and mean KL


def at(meter: Meter, vectors: Vectors, dose: float) -> tuple[float, float]:
    """Mean odds and KL of validation prompts under so much of the vector."""
    odds, kl = read(meter, PLAIN, vectors.edit(dose))
    return float(odds.mean()), float(kl.mean())


def crossing(curve: dict[float, float], target: float) -> float:
    """The smallest dose at which a line between measured ones rises to the target.

    The one with the largest value, of those above 0, where none does.
    """
    doses = sorted(curve)
    for low, high in pairwise(doses):
        if curve[low] < target <= curve[high]:
            return low + (target - curve[low]) / (curve[high] - curve[low]) * (high - low)
    return max(doses[1:], key=curve.__getitem__)


def odds_of(curve: Curve) -> dict[float, float]:
    """Without the KL."""
    return {dose: odds for dose, (odds, _) in curve.items()}


def distance(curve: Curve, odds: float, kl: float) -> tuple[bool, float]:
    """Whether a site's vector falls short of a sentence, and how far apart their KLs are."""
    doses = sorted(curve)
    dose = crossing(odds_of(curve), odds)
    found = float(np.interp(dose, doses, [curve[d][1] for d in doses]))
    return max(odds_of(curve).values()) < odds, abs(np.log(max(found, TINY) / max(kl, TINY)))


def matched(
    meter: Meter, every: Sequence[Vectors], curves: Sequence[Curve], lead: str
) -> dict[str, object]:
    """The best site and dose for one sentence; see the top of protocol.py."""
    odds, kl = (float(x.mean()) for x in read(meter, f"validation/{lead}/none"))
    site = min(range(len(every)), key=lambda i: distance(curves[i], odds, kl))
    curve, base, dose = dict(curves[site]), curves[site][0.0][0], 0.0
    for _ in range(2):
        dose = crossing(odds_of(curve), odds)
        curve[dose] = at(meter, every[site], dose)
    rise, ratio = odds - base, max(curve[dose][1], TINY) / max(kl, TINY)
    fits = rise >= MIN_RISE and abs(curve[dose][0] - odds) <= MAX_MISMATCH * rise
    return {
        "sentence": lead, "site": every[site].site, "dose": dose, "rise.prompt": rise,
        "rise.vector": curve[dose][0] - base, "kl.prompt": kl, "kl.vector": curve[dose][1],
        "far": abs(np.log(ratio)), "matched": bool(fits and 1 / MAX_RATIO <= ratio <= MAX_RATIO),
    }  # fmt: skip


def matches(
    meter: Meter, every: Sequence[Vectors], n: Config
) -> tuple[list[Match], pd.DataFrame, pd.DataFrame]:
    """What is used, the best match of every sentence, and the sites' curves.

    Without any match the closest is used, so that there is something to show.
    """
    curves = [{dose: at(meter, one, dose) for dose in (0.0, *DOSES)} for one in every]
    leads = [f"steering {i}" for i in range(n.n_sentences)]
    table = pd.DataFrame([matched(meter, every, curves, lead) for lead in leads])
    order = table.sort_values(["matched", "far"], ascending=[False, True], kind="stable")
    used = order[order.matched][: n.n_used] if table.matched.any() else order[:1]
    by_site, found = {one.site: one for one in every}, []
    for lead, site, dose in used[["sentence", "site", "dose"]].itertuples(index=False):
        vectors = by_site[site]
        nulls = [one for *_, one in meter.lab.nulls(vectors.source, n.n_nulls, "13.nulls")]
        found.append(Match(lead, vectors, dose, undoing_dose(meter, vectors, lead, dose), nulls))
    rows = [(v.site, d, *c[d]) for v, c in zip(every, curves, strict=True) for d in DOSES]
    shown = pd.DataFrame(rows, columns=["group", "dose", "effect", "damage"])
    shown["effect"] -= curves[0][0.0][0]
    return found, table.assign(used=table.index.isin(used.index)), shown


def undoing_dose(meter: Meter, vectors: Vectors, lead: str, dose: float) -> float:
    """The counter-vector's dose that leaves LEFT of both rises, on average."""
    base = meter.scores(PLAIN).mean()
    ways = {f"validation/{lead}/none": 0.0, PLAIN: dose}

    def left(share: float) -> float:
        found = []
        for on, added in ways.items():
            edits = (vectors.edit(added), vectors.edit(added, share * dose))
            start, end = (meter.scores(on, edit).mean() - base for edit in edits)
            found.append(end / max(start, MIN_RISE))
        return float(np.mean(found))

    return dose * crossing({0.0: -1.0} | {x: -left(x) for x in COUNTER_DOSES}, -LEFT)
