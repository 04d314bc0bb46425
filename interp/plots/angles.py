"""A measure over the whole turn of a plane."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from interp.plots.columns import marked_rows, numbers, require, rows_where, values_of
from interp.plots.parts import (
    add_legend,
    draw_band,
    finish_axes,
    line_handles,
    set_title,
    stacked_axes,
    value_column,
)
from interp.plots.style import BLACK, NULL_GREY, WIDTH, NotebookFigure, colours_of, figure_style


def angles(
    table: pd.DataFrame,
    *,
    title: str,
    y_label: str,
    caption: str = "",
    x_label: str = "Angle in the plane (degrees)",
    null_label: str = "random planes",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """`value` over the whole turn, 0 to 360 degrees of `angle`, a colour per `group`.

    Groups whose `null` is true are thin grey lines. The value at 0 is repeated at 360 where it was
    not measured there; the unedited model is the dotted line at 0.
    """
    is_null, colours = _groups(table)
    with figure_style():
        figure, (axis,) = stacked_axes(title, caption, 1, 5.0)
        _turns(axis, table, is_null, colours, np.asarray)
        axis.set_xlim(0, 360)
        axis.xaxis.set_major_locator(MultipleLocator(45))
        finish_axes(axis, x_label, y_label, 0.0, False, False)
        _turns_legend(figure, is_null, colours, labels or {}, null_label)
    return figure


def polar(
    table: pd.DataFrame,
    *,
    title: str,
    caption: str = "",
    limits: tuple[float, float] | None = None,
    null_label: str = "random planes",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """The same as a polar plot: the radius is `value`, the dotted circle the unedited model at 0.

    The centre is the least value drawn, rounded down, so that what is negative can be read. With
    `limits` the radius goes from the one to the other, and no circle is drawn.
    """
    is_null, colours = _groups(table)
    with figure_style():
        figure = NotebookFigure(figsize=(WIDTH, WIDTH * 0.9), layout="constrained")
        set_title(figure, title, caption)
        axis = figure.add_subplot(projection="polar")
        _turns(axis, table, is_null, colours, np.radians)
        if limits is None:
            axis.set_rlim(np.floor(float(numbers(table, "value").min())) - 0.5)
            circle = np.radians(range(361)), np.zeros(361)
            axis.plot(*circle, color=BLACK, linewidth=1.2, linestyle=":")
        else:
            axis.set_rlim(*limits)
        axis.set_rlabel_position(100)
        _turns_legend(figure, is_null, colours, labels or {}, null_label)
    return figure


def _groups(table: pd.DataFrame) -> tuple[np.ndarray, dict[Any, str]]:
    """Which rows are the null's, and a colour for each of the other groups."""
    require(table, ["angle", "value", "group"])
    is_null = marked_rows(table, value_column(table, "null"))
    return is_null, colours_of(values_of(table.loc[~is_null], "group"))


def _turns(
    axis: Axes,
    table: pd.DataFrame,
    is_null: np.ndarray,
    colours: Mapping[Any, str],
    at: Callable[[np.ndarray], np.ndarray],
) -> None:
    """The lines of one figure; `at` turns degrees into what the axis is drawn in."""
    for _, rows in table.loc[is_null].groupby("group", sort=False):
        rows = _closed(rows)
        grey = {"color": NULL_GREY, "linewidth": 1.0, "alpha": 0.6, "zorder": 1}
        axis.plot(at(numbers(rows, "angle")), numbers(rows, "value"), **grey)
    for name, colour in colours.items():
        rows = _closed(rows_where(table.loc[~is_null], "group", name))
        place = rows.assign(place=at(numbers(rows, "angle")))
        axis.plot(place["place"], numbers(rows, "value"), "o-", color=colour, markersize=4)
        draw_band(axis, place, "place", colour)


def _turns_legend(
    figure: Figure,
    is_null: np.ndarray,
    colours: Mapping[Any, str],
    names: Mapping[str, str],
    null_label: str,
) -> None:
    handles: dict[str, Any] = line_handles(colours, names)
    if is_null.any():
        handles[null_label] = Line2D([], [], color=NULL_GREY, linewidth=1.0)
    add_legend(figure, handles)


def _closed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in order of angle, those at 0 repeated at 360 where that was not measured."""
    rows = rows.sort_values("angle")
    if 360 in numbers(rows, "angle"):
        return rows
    return pd.concat([rows, rows_where(rows, "angle", 0).assign(angle=360.0)], ignore_index=True)
