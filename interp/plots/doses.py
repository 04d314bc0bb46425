"""Effect against damage."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.columns import marked_rows, numbers, require, rows_where, values_of
from interp.plots.parts import (
    add_legend,
    dot_handle,
    draw_error_bars,
    finish_axes,
    label_of,
    line_handles,
    stacked_axes,
    value_column,
)
from interp.plots.style import BLACK, FONT_SIZE, NULL_GREY, colours_of, figure_style

FEW_POINTS = 8  # of one curve; with more, only the doses of its ends are named
FEW_POWERS = 3  # of ten, on the axis of damage; with more, no ticks stand between them
MANY_POINTS = 16  # of one curve; with more, its points are drawn small


def doses(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str = "",
    caps: Sequence[float] = (),
    labels: Mapping[str, str] | None = None,
    null_label: str = "random directions",
) -> Figure:
    """`effect` against `damage`: a curve per `group` in order of `dose`, whose ends are named.

    Rows whose `null` is true are grey points. With a column `panel` the curves of each of its
    values have a panel of their own, and the null is in all of them. `caps` are vertical lines at
    damage limits; the unedited model is at zero. The damage axis is logarithmic above the smallest
    positive damage and linear below, so that zero damage has a place.
    """
    require(table, ["damage", "effect", "group", "dose"])
    names, panel = labels or {}, value_column(table, "panel")
    is_null = marked_rows(table, value_column(table, "null"))
    real = table.loc[~is_null]
    colours = colours_of(values_of(real, "group"))
    keys = values_of(real, panel) if panel else [None]
    with figure_style():
        height = 2.7 + 2.7 * len(keys)
        figure, axes = stacked_axes(title, caption, len(keys), height, sharex=True, sharey=True)
        for axis, key in zip(axes, keys, strict=True):
            _null_points(axis, table.loc[is_null])
            for name, colour in colours.items():
                rows = rows_where(rows_where(real, panel, key), "group", name)
                _curve(axis, rows.sort_values("dose"), colour)
            for cap in caps:
                axis.axvline(cap, color=BLACK, linewidth=1.2, linestyle=":")
            _log_damage(axis, numbers(table, "damage"), caps)
            finish_axes(axis, "", "" if panel else y_label, 0.0, False, False)
            axis.set_title("" if key is None else label_of(key, names))
        axes[-1].set_xlabel(x_label)
        if panel:
            figure.supylabel(y_label, fontsize=FONT_SIZE)
        handles = line_handles(colours, names)
        if is_null.any():
            handles[null_label] = dot_handle(NULL_GREY)
        add_legend(figure, handles)
    return figure


def _curve(axis: Axes, rows: pd.DataFrame, colour: str) -> None:
    at, values = numbers(rows, "damage"), numbers(rows, "effect")
    axis.plot(at, values, "o-", color=colour, markersize=8 if len(rows) <= MANY_POINTS else 4)
    draw_error_bars(axis, rows, "damage", colour)
    named = range(len(rows)) if len(rows) <= FEW_POINTS else [0, len(rows) - 1]
    for i in named:
        axis.annotate(
            f"{rows['dose'].iloc[i]:g}", (at[i], values[i]), (6, -12), textcoords="offset points",
            color=colour, fontsize=FONT_SIZE - 3,
        )  # fmt: skip


def _null_points(axis: Axes, rows: pd.DataFrame) -> None:
    at, values = numbers(rows, "damage"), numbers(rows, "effect")
    axis.plot(at, values, ".", color=NULL_GREY, alpha=0.6, zorder=1)


def _log_damage(axis: Axes, damage: np.ndarray, caps: Sequence[float]) -> None:
    """A logarithmic axis that has a place for zero damage."""
    smallest = _smallest_positive(damage)
    largest = 1.3 * max(float(damage.max()), *caps, smallest)
    axis.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    axis.set_xlim(-0.2 * smallest, largest)
    powers = 10.0 ** np.arange(np.floor(np.log10(smallest)), np.floor(np.log10(largest)) + 1)
    steps = (1, 2, 5) if len(powers) <= FEW_POWERS else (1,)
    ticks = np.outer(powers, steps).flatten()
    # The first may stand beside zero, where both names would not fit.
    ticks = [0.0, *ticks[(ticks > 2 * smallest) & (ticks <= largest)]]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def _smallest_positive(values: np.ndarray) -> float:
    positive = values[values > 0]
    return float(positive.min()) if len(positive) else 1.0
