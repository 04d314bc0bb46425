"""From the measurements of experiment 08 to the tables that figures are drawn from."""

import numpy as np
import pandas as pd

from interp.stats import bootstrap_mean

from .estimates import odds_of
from .measure import ALL, SOME, turn
from .protocol import DOSES, PLANES

CLASSES = ("harmful", "harmless")


def row(values: np.ndarray, **columns: object) -> dict[str, object]:
    """Mean of some values, with its interval over prompts."""
    found = bootstrap_mean(values, n_resamples=200)
    return {**columns, "value": found.value, "low": found.low, "high": found.high, "n": found.n}


def curve_table(scores: pd.DataFrame, part: str, family: str) -> pd.DataFrame:
    """Change of the odds over the angle, per class; random planes are null, over both classes."""
    base = odds_of(scores, "base", ALL)
    change = (odds_of(scores, part, family) - base)[0]
    rows = [
        row(change[:, i, j], angle=angle, group=name, null=False)
        for i, name in enumerate(CLASSES)
        for j, angle in enumerate(turn(change.shape[-1]))
    ]
    for other in PLANES if part == "plane" else ():
        for draw, at in enumerate((odds_of(scores, part, other) - base).mean((1, 2))):
            name = f"{other} {draw}"
            rows += [dict(angle=a, value=v, group=name, null=True)
                     for a, v in zip(turn(4), at, strict=True)]  # fmt: skip
    return pd.DataFrame(rows)


def adding_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean odds of each class over the dose, in both versions."""
    base = odds_of(scores, "base", ALL)[0]
    rows = []
    for family in ("plain", "kept"):
        odds = np.concatenate([base, odds_of(scores, "adding", family)[0]], -1)
        for i, name in enumerate(CLASSES):
            rows += [row(odds[:, i, j], group=family, stream=name, depth=dose)
                     for j, dose in enumerate((0.0, *DOSES))]  # fmt: skip
    return pd.DataFrame(rows)


def length_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute change by rescaling and by turns of the same chord, per site."""
    base, rows = odds_of(scores, "base", SOME), []
    for (family, site), part in scores[scores.part == "length"].groupby(
        ["family", "site"], sort=False
    ):
        change = np.abs(odds_of(part, "length", str(family)) - base).mean((0, 2, 3))
        depth = float(str(site).split(".")[0]) + (1.0 if str(site).endswith("post") else 0.0)
        rows.append(row(change, group="rescaled" if family == "last" else family, depth=depth))
    return pd.DataFrame(rows)


def damage_table(scores: pd.DataFrame, text: pd.DataFrame) -> pd.DataFrame:
    """Mean change of the odds of both classes against the KL on text, dose by dose."""
    base = odds_of(scores, "base", ALL)
    found = []
    for (part, family), rows in text.groupby(["part", "family"], sort=False):
        change = (odds_of(scores, str(part), str(family)) - base)[0].mean((0, 1))
        found.append(rows.assign(effect=change, damage=rows.kl, group=family))
    return pd.concat(found, ignore_index=True)


def competition_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Gap between the classes at both lengths, alone and beside other features."""
    base = odds_of(scores, "base", ALL), odds_of(scores, "competition", "alone")
    alone, added = np.concatenate(base, -1), odds_of(scores, "competition", "added")
    rows = []
    for name, odds in {"alone": alone, "beside others": added}.items():
        pairs = (odds[:, :, 0] - odds[:, :, 1]).mean(0)
        rows += [row(pairs[:, i], label=label, group=name)
                 for i, label in enumerate(("as it is", "twice as long"))]  # fmt: skip
    return pd.DataFrame(rows)
