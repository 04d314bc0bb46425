"""One point per row."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from interp.plots.columns import numbers, require, rows_where, values_of
from interp.plots.parts import add_legend, dot_handles, draw_error_bars, finish_axes, stacked_axes
from interp.plots.style import FONT_SIZE, colours_of, figure_style


def scatter(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    title: str,
    x_label: str,
    y_label: str,
    group: str | None = None,
    point_label: str | None = None,
    reference: float | None = None,
    log_x: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """One point per row, a colour per `group`, with the text of `point_label` beside it where
    given.
    """
    require(table, [x, y, *([group] if group else []), *([point_label] if point_label else [])])
    keys = values_of(table, group) if group else [""]
    colours = colours_of(keys)
    with figure_style():
        figure, (axis,) = stacked_axes(title, 1, 5.2)
        for name, colour in colours.items():
            rows = rows_where(table, group, name)
            axis.plot(
                numbers(rows, x), numbers(rows, y), "o", color=colour, alpha=0.8, markersize=6
            )
            draw_error_bars(axis, rows, x, colour)
        if point_label:
            for _, point in table.iterrows():
                axis.annotate(
                    str(point[point_label]),
                    (point[x], point[y]),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=FONT_SIZE - 3,
                )
        finish_axes(axis, x_label, y_label, reference, log_x, False)
        if group:
            add_legend(figure, dot_handles(colours, labels or {}))
    return figure
