"""Which site each ordering picks, by statistics alone; see protocol.py for the readings."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from .measure import Layers
from .protocol import DEPTHS, ORDERINGS, READINGS, TIE, WEIGHTS

RANDOM = "random"
BY_DEPTH = tuple(f"depth.{share:g}" for share in DEPTHS)
Values = Float[np.ndarray, " site"]
Counted = Bool[np.ndarray, " site"]


def names() -> list[str]:
    """Every way to pick: orderings, and each but the cosine's in every other reading."""
    others = [f"{name}.{r}" for name in ORDERINGS if name != "cosine" for r in READINGS]
    return [*ORDERINGS, *others, *BY_DEPTH]


def picks(found: Layers, counted: Counted) -> dict[str, Int[np.ndarray, " draw"]]:
    """The site that each way picks in every draw, as a row of `found.sites`."""
    n_draws = len(found.statistics["cosine"])
    per_draw = [
        picked({name: values[draw] for name, values in found.statistics.items()}, counted)
        for draw in range(n_draws)
    ]
    n_layers = found.n_layers
    for row in per_draw:
        for name, share in zip(BY_DEPTH, DEPTHS, strict=True):
            row[name] = lowest(np.abs(found.depth - share * n_layers), counted)
    return {name: np.array([row[name] for row in per_draw]) for name in names()}


def picked(at: Mapping[str, Values], counted: Counted) -> dict[str, int]:
    """The sites that the orderings pick from one draw's statistics."""
    found = {"cosine": lowest(at["cosine"], counted)}
    for name, size in (("raw", 1.0), ("over_norm", at["squared_norm"])):
        three = at["mean_variance"] / size, at["max_variance"] / size, at["cosine"]
        found[name] = by_ranks(three, counted)
        found[f"{name}.strict"] = lowest(three[0], counted)
        found[f"{name}.ties"] = by_ties(three, counted)
        found[f"{name}.halves"] = by_halves(three, counted)
    return found


def lowest(values: Values, among: Counted) -> int:
    """The row of the lowest value among some; the first of equals."""
    return int(np.where(among, values, np.inf).argmin())


def by_ranks(three: tuple[Values, Values, Values], among: Counted) -> int:
    """The lowest weighted sum of ranks."""
    rows = np.flatnonzero(among)
    total = sum(w * rankdata(values[rows]) for w, values in zip(WEIGHTS, three, strict=True))
    return int(rows[np.argmin(total)])


def by_ties(three: tuple[Values, Values, Values], among: Counted) -> int:
    """The lowest cosine among near-ties of the largest variance among those of the mean one."""
    for values in three[:2]:
        among = among & (values <= (1 + TIE) * values[among].min())
    return lowest(three[2], among)


def by_halves(three: tuple[Values, Values, Values], among: Counted) -> int:
    """The lowest cosine of the better half (rounded up) of the better half."""
    for values in three[:2]:
        among = among & (values <= np.sort(values[among])[(among.sum() - 1) // 2])
    return lowest(three[2], among)
