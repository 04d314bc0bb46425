"""From the cells and correlations of experiment 04 to estimates."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.stats import Interval, null_interval, wilson

from .manifold import REPORTED, Cell
from .metrics import Correlations, OutputKL
from .protocol import CLASSES, RIVALS, SHAPES


def manifold_estimates(cells: Sequence[Cell], profile: pd.DataFrame) -> Iterator[Estimate]:
    """Shares of cells, median power, and each estimator averaged over sites.

    Wilson's interval of a share is too narrow where neighbouring layers agree. It has no null: what
    flat data give is bounded by the test's level, not known.
    """
    for shape in ("", *SHAPES):
        found, suffix = [cell.status(shape) for cell in cells], f".{shape}" if shape else ""
        for status in ("within", "outside"):
            share = wilson(found.count(status), len(found))
            yield Estimate.of(f"manifold.cells.{status}{suffix}", share, unit="of cells")
    for shape in SHAPES:
        best = [c.assessment[c.assessment["shape"] == shape]["power"].max() for c in cells]
        power = Interval(float(np.median(best)), *null_interval(np.array(best)), len(cells))
        yield Estimate.of(f"manifold.power.{shape}", power, unit="of draws")
    columns = ["value", "low", "high", "null_low", "null_high"]
    for group, name in product(CLASSES, REPORTED):
        rows = profile[(profile["class"] == group) & (profile["estimator"] == name)]
        if len(rows):
            value, low, high, *null = rows[columns].mean()
            interval = Interval(value, low, high, int(rows["n"].min()))
            yield Estimate.of(f"manifold.{name}.{group}", interval, null=tuple(null))


def metric_estimates(
    meaning: str, found: Correlations, steps: slice = slice(None)
) -> Iterator[Estimate]:
    """Spearman of each metric over sites and steps, and each rival's paired lead over L2."""
    value = found.value[:, steps].mean(axis=(0, 1))
    draws, null = (x[:, :, steps].mean(axis=(1, 2)) for x in (found.draws, found.null))
    for index, name in enumerate(INNER_PRODUCTS):
        interval = Interval(value[index], *null_interval(draws[:, index]), found.n)
        limits = null_interval(null[:, index])
        yield Estimate.of(f"{meaning}.spearman.{name}", interval, null=limits)
    for name in RIVALS:
        index = INNER_PRODUCTS.index(name)
        lead, none = draws[:, index] - draws[:, 0], null_interval(null[:, index] - null[:, 0])
        interval = Interval(value[index] - value[0], *null_interval(lead), found.n)
        mde = 2.8 * float(lead.std(ddof=1))
        yield Estimate.of(f"{meaning}.lead.{name}", interval, null=none, mde=mde)


def convergence(kl: OutputKL, steps: Sequence[float]) -> Estimate:
    """Change of KL / t^2 as the second step is halved: median and quartiles over segments."""
    small, double = kl[:, 0] / steps[0] ** 2, kl[:, 1] / steps[1] ** 2
    low, middle, high = np.percentile(np.abs(small / double - 1), [25, 50, 75])
    return Estimate.of("output.convergence", Interval(middle, low, high, small.size))
