"""From the measurements of experiment 08 to the tables that figures are drawn from."""

import numpy as np
import pandas as pd

from experiments.lab.steps import CLASSES, odds_of
from interp.stats import bootstrap_mean
from interp.turns import even_degrees

from .estimates import alone
from .protocol import DOSES, PLANES, QUARTERS


def drawn(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of all figures."""
    return {
        "own_plane": curve_table(scores, "own", "turned"),
        "fixed_plane": curve_table(scores, "plane", "plane"),
        "adding": adding_table(scores),
        "length": length_table(scores),
        "competition": competition_table(scores),
    }


def row(values: np.ndarray, **columns: object) -> dict[str, object]:
    """Mean of some values, with its interval over prompts."""
    found = bootstrap_mean(values, n_resamples=200)
    return {**columns, "value": found.value, "low": found.low, "high": found.high, "n": found.n}


def curve_table(scores: pd.DataFrame, part: str, family: str) -> pd.DataFrame:
    """Change of the odds over the angle, per class; random planes are null, over both classes."""
    base = odds_of(scores, "base", "all")
    change = (odds_of(scores, part, family) - base)[0]
    rows = [
        row(change[:, i, j], angle=angle, group=name, null=False)
        for i, name in enumerate(CLASSES)
        for j, angle in enumerate(even_degrees(change.shape[-1]))
    ]
    for other in PLANES if part == "plane" else ():
        draws = (odds_of(scores, part, other) - base).mean((1, 2))
        rows += [
            {"angle": angle, "value": value, "group": f"{other} {draw}", "null": True}
            for draw, values in enumerate(draws)
            for angle, value in zip(QUARTERS, values, strict=True)
        ]
    return pd.DataFrame(rows)


def adding_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean odds of each class over the dose, in both versions."""
    odds = {family: odds_of(scores, "adding", family)[0] for family in ("plain", "kept")}
    base = odds_of(scores, "base", "all")[0]
    return pd.DataFrame([
        row(np.concatenate([base, part], -1)[:, i, j], group=family, stream=name, depth=dose)
        for family, part in odds.items()
        for i, name in enumerate(CLASSES)
        for j, dose in enumerate((0.0, *DOSES))
    ])  # fmt: skip


def length_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute change by rescaling and by turns of the same chord, per site."""
    base, rows = odds_of(scores, "base", "all"), []
    parts = scores[scores.part == "length"].groupby(["family", "site"], sort=False)
    for (family, site), part in parts:  # type: ignore[misc]
        change = np.abs(odds_of(part, "length", family) - base).mean((0, 2, 3))
        layer, stream = site.split(".")
        group = "rescaled" if family == "last" else family
        rows.append(row(change, group=group, depth=int(layer) + (stream == "post")))
    return pd.DataFrame(rows)


def competition_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Gap between the classes at both lengths, alone and beside other features."""
    conditions = {"alone": alone(scores), "beside": odds_of(scores, "competition", "added")}
    return pd.DataFrame([
        row((odds[:, :, 0] - odds[:, :, 1]).mean(0)[:, i], label=label, group=name)
        for name, odds in conditions.items()
        for i, label in enumerate(("as it is", "longer"))
    ])  # fmt: skip
