"""From the measurements of experiment 10 to the tables that figures are drawn from."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.stats import Interval

from .estimates import Cosines, Pairs, mean, moved, random_limit
from .measure import CONTROL, PUSHES, Subject
from .protocol import VARIED

RANDOM = "random, strongest"
WHENCE = ["kind", "site", "position", "cosine"]
NO_PUSHES = pd.DataFrame(columns=PUSHES)
NO_VARIANTS = pd.DataFrame(columns=[*PUSHES, *WHENCE])


def behaviours(
    subjects: Sequence[Subject],
    own: Mapping[str, Estimate],
    reliability: Mapping[str, Estimate],
    left_out: Mapping[str, str],
) -> pd.DataFrame:
    """The gate: one row per behaviour; what was not measured is empty."""
    rows = []
    for one in subjects:
        effect, same = own.get(one.name), reliability.get(one.name)
        limits = (None,) * 5 if effect is None else (
            effect.value, effect.low, effect.high, effect.null_low, effect.null_high)  # fmt: skip
        rows.append((one.name, left_out.get(one.name, "counts"), one.validity.value,
                     one.validity.low, None if same is None else same.value,
                     None if same is None else same.low, *limits))  # fmt: skip
    columns = ["behaviour", "status", "validity", "validity_low", "reliability", "reliability_low",
               "value", "low", "high", "null_low", "null_high"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def cosines(found: Mapping[str, Cosines]) -> pd.DataFrame:
    """Cosines without noise by place; of a behaviour with itself the reliability."""
    rows = []
    for where, of in found.items():
        for row in of.names:
            for column in of.names:
                one = of.own(row) if row == column else of.pair(row, column)
                rows.append((where, row, column, one.value, one.low, one.high))
    return pd.DataFrame(rows, columns=["where", "row", "column", "value", "low", "high"])


def effects(
    pushes: pd.DataFrame, counting: Sequence[str], leaks: Pairs, control: Interval | None
) -> pd.DataFrame:
    """What directions move scores by, in units of what the own one does."""
    found = {pair: one for pair, one in leaks.items() if pair[1] in counting}
    found |= {(name, name): Interval(1.0, 1.0, 1.0, 0) for name in counting}
    if control is not None:
        found[CONTROL, VARIED] = control
    for name in counting:
        limit = random_limit(pushes, name) / moved(pushes, name, name)[0].mean()
        found[RANDOM, name] = Interval(limit, np.nan, np.nan, 0)
    rows = [(row, column, x.value, x.low, x.high) for (row, column), x in found.items()]
    table = pd.DataFrame(rows, columns=["row", "column", "value", "low", "high"])
    order = {name: i for i, name in enumerate((*counting, CONTROL, RANDOM))}
    rank = table.row.map(order) * len(order) + table.column.map(order)
    return table.loc[rank.sort_values().index]


def variants(varied: pd.DataFrame) -> pd.DataFrame:
    """Cosine and effect of every direction of one behaviour, from all train prompts."""
    rows = []
    for name, part in varied[varied.draw == 0].groupby("direction", sort=False):
        one = mean(moved(part, VARIED, str(name)))
        rows.append((*part[WHENCE].iloc[0], one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=[*WHENCE, "value", "low", "high", "n"])


def prompts(pushes: pd.DataFrame, varied: pd.DataFrame) -> pd.DataFrame:
    """Every score with a vector added and subtracted; prompts by their number on a side."""
    return pd.concat([part for part in (pushes, varied) if len(part)] or [varied])
