"""One point per row."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from interp.plots.columns import numbers, require, rows_where, values_of
from interp.plots.parts import (
    add_legend,
    dot_handles,
    draw_error_bars,
    finish_axes,
    stacked_axes,
    value_column,
)
from interp.plots.style import colours_of, figure_style


def points(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str = "",
    reference: float | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """One point at `x` and `y` per row, a colour per `group` where there is one."""
    require(table, ["x", "y"])
    group = value_column(table, "group")
    colours = colours_of(values_of(table, group) if group else [""])
    with figure_style():
        figure, (axis,) = stacked_axes(title, caption, 1, 5.2)
        for name, colour in colours.items():
            rows = rows_where(table, group, name)
            at, values = numbers(rows, "x"), numbers(rows, "y")
            axis.plot(at, values, "o", color=colour, alpha=0.8, markersize=6)
            draw_error_bars(axis, rows, "x", colour)
        finish_axes(axis, x_label, y_label, reference, False, False)
        if group:
            add_legend(figure, dot_handles(colours, labels or {}))
    return figure
