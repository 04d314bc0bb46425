"""Tables of experiment 04, one per figure, and all that the flatness test and the scores hold."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.sites import Site
from interp.stats import half_sample_interval, interval_columns

from .manifold import REPORTED, Cell
from .metrics import Correlations
from .protocol import CLASSES, SHAPES, verdicts

MEANINGS = ("manifold", "output", "behaviour")
STATUSES = ("within", "outside", "inconclusive")
SPACES = {"data": "data", "rotated": "flat (rotated)", "clustered": "flat (mixture)"}
SPACES |= {space: space for space in (*SHAPES, "tree")}


def profile_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every estimator at every site and class, with its interval, both nulls and planted means."""
    rows = []
    for cell in cells:
        for name in (name for name in REPORTED if name in cell.draws["data"]):
            draws = {kind: np.array(found.get(name, ())) for kind, found in cell.draws.items()}
            interval = half_sample_interval(float(draws["data"][0]), draws["halves"])
            rows.append(
                {**identity(cell), "estimator": name, "value": interval.value}
                | {"low": interval.low, "high": interval.high}
                | interval_columns(draws["rotated"], "null_")
                | interval_columns(draws["clustered"], "mixture_")
                | {shape: draws[shape].mean() for shape in SHAPES}
                | {"n": cell.n}
            )
    return pd.DataFrame(rows)


def identity(cell: Cell) -> dict[str, object]:
    """The columns that say which cell a row is of."""
    return {"site": str(cell.site), "depth": cell.site.depth, "class": cell.group}


def assessment_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Power, p-values and status of every estimator and shape, at every site and class."""
    parts = [c.assessment.assign(**identity(c), cell_status=c.status()) for c in cells]
    return pd.concat(parts, ignore_index=True)


def calibration_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Single draws of every space and of the data, at the middle site that has trees."""
    complete = [cell for cell in cells if "tree" in cell.draws]
    sites = sorted({cell.site for cell in complete})
    middle = sites[len(sites) // 2]
    rows = [
        {"site": str(middle), "n": cell.n, "class": cell.group, "space": space}
        | {"estimator": name, "value": value}
        for cell in complete
        if cell.site == middle
        for kind, space in SPACES.items()
        for name in REPORTED
        for value in cell.draws[kind][name]
    ]
    return pd.DataFrame(rows)


def correlation_table(sites: Sequence[Site], **meanings: Correlations) -> pd.DataFrame:
    """One row per meaning, site, step and metric, with interval and null."""
    parts = []
    for meaning, found in meanings.items():
        places = product([(str(s), s.depth) for s in sites], found.steps, INNER_PRODUCTS)
        names, rows = ["site", "depth", "step", "metric"], [(*at, *rest) for at, *rest in places]
        columns = {"value": found.value, **interval_columns(found.draws)}
        columns |= interval_columns(found.null, "null_")
        flat = {name: values.ravel() for name, values in columns.items()}
        table = pd.DataFrame(rows, columns=names).assign(**flat, n=found.n, meaning=meaning)
        parts.append(table)
    return pd.concat(parts)


def scores_table(
    sites: Sequence[Site], labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray
) -> pd.DataFrame:
    """Openings score of every test prompt, and its projections."""
    table = pd.DataFrame({"prompt": np.arange(len(labels)), "class": np.array([*CLASSES])[labels]})
    names = [f"{name} {site}" for site in sites for name in INNER_PRODUCTS]
    columns = dict(zip(names, predicted.reshape(-1, len(labels)), strict=True))
    return table.assign(openings=scores, **columns)


def meanings_table(cells: Sequence[Cell], estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """What the first figure shows: shares of statuses per estimator, and correlations."""
    votes = {"all votes": [cell.status() for cell in cells]}
    votes |= {f"all votes / {shape}": [cell.status(shape) for cell in cells] for shape in SHAPES}
    for row in assessment_table(cells).to_dict("records"):
        votes.setdefault(f"{row['estimator']} / {row['shape']}", []).append(row["status"])
    table = [
        {"meaning": "manifold", "row": label, "part": status, "n": len(found)}
        | {"value": found.count(status) / len(found)}
        for label, found in votes.items()
        for status in STATUSES
    ]
    numbers = ("n", "value", "low", "high", "null_low", "null_high")
    for meaning in MEANINGS[1:]:
        for name in INNER_PRODUCTS:
            found = vars(estimates[f"{meaning}.spearman.{name}"])
            row = {"meaning": meaning, "row": name, "part": "spearman"}
            table.append(row | {number: found[number] for number in numbers})
    verdict = dict(zip(MEANINGS, verdicts(estimates).values(), strict=True))
    return pd.DataFrame(table).assign(verdict=lambda rows: rows["meaning"].map(verdict))
