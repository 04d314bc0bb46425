"""From the measurements of experiment 10 to the tables that figures are drawn from."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.stats import Interval

from .estimates import Gate, Pairs, halved, mean, moved
from .measure import CONTROL, WHENCE
from .protocol import VARIED

RANDOM = "random, limit"


def behaviours(gates: Sequence[Gate]) -> pd.DataFrame:
    """The gate, a row per behaviour: validity, reliability and own effect, as far as measured."""
    rows = []
    for gate in gates:
        row = {"behaviour": gate.subject.name, "status": gate.left_out or "counts"}
        for one in gate.estimates:
            kind = one.name.partition(".")[0]
            row |= {kind: one.value, f"{kind}_low": one.low, f"{kind}_high": one.high}
        rows.append(row | {"random": gate.limit})
    kinds = [f"{kind}{end}" for kind in ("validity", "reliability", "own")
             for end in ("", "_low", "_high")]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=["behaviour", "status", *kinds, "random"])


def cosines(
    found: Mapping[str, Float[np.ndarray, "draw one other"]], names: Sequence[str]
) -> pd.DataFrame:
    """Cosines without noise by place; of a behaviour with itself what other prompts would give."""
    rows = [
        (where, row, column, one.value, one.low, one.high)
        for where, draws in found.items()
        for i, row in enumerate(names)
        for j, column in enumerate(names)
        for one in [halved(draws[:, i, j])]
    ]
    return pd.DataFrame(rows, columns=["where", "row", "column", "value", "low", "high"])


def effects(gates: Sequence[Gate], leaks: Pairs, control: Interval | None) -> pd.DataFrame:
    """What directions move scores by, in units of what the own one does."""
    own = {gate.subject.name: gate for gate in gates if not gate.left_out}
    found = {(row, column): leaks.get((row, column)) for row in own for column in own}
    found |= {(CONTROL, VARIED): control} if control else {}
    rows = [(*pair, *((one.value, one.low, one.high) if one else (1.0, 1.0, 1.0)))
            for pair, one in found.items()]  # fmt: skip
    rows += [(RANDOM, name, gate.limit / gate.estimates[-1].value, None, None)
             for name, gate in own.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["row", "column", "value", "low", "high"])


def variants(varied: pd.DataFrame) -> pd.DataFrame:
    """Cosine and effect of every direction of one behaviour, from all train prompts."""
    rows = []
    for name, part in varied[varied.draw == 0].groupby("direction", sort=False):
        one = mean(moved(part, VARIED, str(name)))
        rows.append((*part[WHENCE].iloc[0], one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=[*WHENCE, "value", "low", "high", "n"])
