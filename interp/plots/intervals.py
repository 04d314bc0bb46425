"""Points with intervals, beside their nulls."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.columns import has_numbers, numbers, require, rows_where, values_of
from interp.plots.parts import (
    add_legend,
    dot_handles,
    label_of,
    name_rows,
    null_handle,
    stacked_axes,
    wrapped,
)
from interp.plots.style import NULL_FILL, colours_of, figure_style


def rates(
    table: pd.DataFrame,
    *,
    label: str,
    condition: str,
    title: str,
    x_label: str,
    value: str = "value",
    limits: tuple[float, float] | None = (0.0, 1.0),
    null_label: str = "null, 95%",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Points with intervals, one row per `label`, one colour per `condition` (base and
    interventions).

    A row's null is a grey bar from `null_low` to `null_high`. For other measures than rates pass
    `limits=None`.
    """
    require(table, [label, condition, value])
    names = labels or {}
    rows, colours = values_of(table, label), colours_of(values_of(table, condition))
    step = 0.7 / len(colours)
    with figure_style():
        height = 1.9 + max(0.62, 0.3 * len(colours)) * len(rows)
        figure, (axis,) = stacked_axes(title, 1, height)
        for index, (name, colour) in enumerate(colours.items()):
            points = rows_where(table, condition, name)
            heights = np.array([rows.index(v) for v in points[label]], dtype=np.float64)
            heights = heights + (index - (len(colours) - 1) / 2) * step
            _null_bars(axis, points, heights, step)
            _interval_points(axis, points, value, heights, colour)
        name_rows(axis, [wrapped(label_of(row, names), 26) for row in rows])
        axis.set(xlabel=x_label)
        if limits is not None:
            axis.set_xlim(limits[0] - 0.02, limits[1] + 0.02)
        add_legend(figure, dot_handles(colours, names) | null_handle(table, null_label))
    return figure


def _null_bars(axis: Axes, rows: pd.DataFrame, heights: np.ndarray, step: float) -> None:
    if has_numbers(rows, "null_low", "null_high"):
        low, high = numbers(rows, "null_low"), numbers(rows, "null_high")
        axis.barh(heights, high - low, height=step * 0.9, left=low, **NULL_FILL)


def _interval_points(
    axis: Axes, rows: pd.DataFrame, value: str, heights: np.ndarray, colour: str
) -> None:
    values = numbers(rows, value)
    if has_numbers(rows, "low", "high"):
        low, high = numbers(rows, "low"), numbers(rows, "high")
        axis.hlines(heights, low, high, color=colour, linewidth=2.4)
    axis.plot(values, heights, "o", color=colour, markersize=8, zorder=3)
