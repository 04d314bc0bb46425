"""A measure over the whole turn of a plane."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from interp.plots.columns import marked_rows, numbers, require, rows_where, values_of
from interp.plots.parts import (
    add_legend,
    draw_band,
    draw_null_band,
    finish_axes,
    line_handles,
    null_handle,
    stacked_axes,
)
from interp.plots.style import NULL_GREY, colours_of, figure_style


def angle_curve(
    table: pd.DataFrame,
    *,
    angle: str,
    value: str,
    title: str,
    y_label: str,
    group: str,
    null: str | None = "null",
    x_label: str = "Angle in the plane (degrees)",
    null_label: str = "null, 95%",
    base: float | None = None,
    limits: tuple[float, float] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """A measure over the whole turn, 0 to 360 degrees; groups whose `null` is true are thin grey
    lines.

    The value at 0 is repeated at 360 where it was not measured there. `base` is the unedited
    model.
    """
    require(table, [angle, value, group, *([null] if null else [])])
    is_null = marked_rows(table, null)
    colours = colours_of(values_of(table.loc[~is_null], group))
    with figure_style():
        figure, (axis,) = stacked_axes(title, 1, 5.0)
        for _, rows in table.loc[is_null].groupby(group, sort=False):
            rows = _closed(rows, angle)
            axis.plot(
                numbers(rows, angle),
                numbers(rows, value),
                color=NULL_GREY,
                linewidth=1.0,
                alpha=0.6,
                zorder=1,
            )
        draw_null_band(axis, _closed(table.loc[~is_null], angle), angle)
        for name, colour in colours.items():
            rows = _closed(rows_where(table.loc[~is_null], group, name), angle)
            axis.plot(
                numbers(rows, angle),
                numbers(rows, value),
                "o-",
                color=colour,
                markersize=4,
                zorder=3,
            )
            draw_band(axis, rows, angle, colour)
        axis.set_xlim(0, 360)
        axis.xaxis.set_major_locator(MultipleLocator(45))
        if limits is not None:
            axis.set_ylim(*limits)
        finish_axes(axis, x_label, y_label, base, False, False)
        handles = line_handles(colours, labels or {})
        if is_null.any():
            handles["random planes"] = Line2D([], [], color=NULL_GREY, linewidth=1.0)
        add_legend(figure, handles | null_handle(table, null_label))
    return figure


def _closed(rows: pd.DataFrame, angle: str) -> pd.DataFrame:
    """Rows in order of angle, those at 0 repeated at 360 where that was not measured."""
    rows = rows.sort_values(angle)
    if 360 in numbers(rows, angle):
        return rows
    return pd.concat([rows, rows_where(rows, angle, 0).assign(**{angle: 360.0})], ignore_index=True)
