"""Points with intervals, beside their nulls."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.plots.columns import has_numbers, numbers, require, rows_where, values_of
from interp.plots.parts import (
    add_legend,
    label_of,
    name_rows,
    null_handle,
    stacked_axes,
    wrapped,
)
from interp.plots.style import FONT_SIZE, NULL_FILL, colours_of, figure_style


def intervals(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    caption: str = "",
    limits: tuple[float, float] | None = (0.0, 1.0),
    null_label: str = "null, 95%",
    labels: Mapping[str, str] | None = None,
    reference: float | None = None,
) -> Figure:
    """Points with intervals, one row per `label`, one colour per `group`, each named beside it.

    Groups are named where there are several. A row's null is a grey bar from `null_low` to
    `null_high`; a `reference` is a dotted line. `limits` are those of a rate; pass None for other
    measures.
    """
    require(table, ["label", "group", "value"])
    names = labels or {}
    rows, colours = values_of(table, "label"), colours_of(values_of(table, "group"))
    table, most = _with_slots(table, list(colours))
    step = 0.7 / most
    with figure_style():
        height = 2.1 + max(0.62, 0.36 * most) * len(rows)
        figure, (axis,) = stacked_axes(title, caption, 1, height)
        for name, colour in colours.items():
            points = rows_where(table, "group", name)
            heights = np.array([rows.index(v) for v in points["label"]], dtype=np.float64)
            heights = heights + numbers(points, "slot") * step
            _null_bars(axis, points, heights, step)
            _interval_points(axis, points, heights, colour)
            if len(colours) > 1:
                _name_points(axis, points, heights, label_of(name, names), colour, limits)
        name_rows(axis, [wrapped(label_of(row, names), 26) for row in rows])
        axis.set(xlabel=x_label)
        if reference is not None:
            axis.axvline(reference, color="black", linestyle=":", linewidth=1.2, zorder=0)
        if limits is not None:
            axis.set_xlim(limits[0] - 0.02, limits[1] + 0.02)
        add_legend(figure, null_handle(table, null_label))
    return figure


def _with_slots(table: pd.DataFrame, groups: list[str]) -> tuple[pd.DataFrame, int]:
    """With the `slot` of every point about the middle of its row, and the most points of a row.

    Only the groups that a row has take room in it.
    """
    order = table["group"].map(groups.index)
    by_row = order.groupby(table["label"])
    count = np.asarray(by_row.transform("nunique"))
    slot = np.asarray(by_row.transform("rank", method="dense")) - 1 - (count - 1) / 2
    return table.assign(slot=slot), int(count.max())


def _name_points(
    axis: Axes,
    points: pd.DataFrame,
    heights: np.ndarray,
    name: str,
    colour: str,
    limits: tuple[float, float] | None,
) -> None:
    """The group's name above each point, on the side that has room."""
    values = numbers(points, "value")
    low, high = limits or (float(values.min()), float(values.max()))
    for value, height in zip(values, heights, strict=True):
        is_right = value > (low + high) / 2
        axis.annotate(
            name, (value, height), (-7 if is_right else 7, 7), textcoords="offset points",
            ha="right" if is_right else "left", color=colour, fontsize=FONT_SIZE - 3,
        )  # fmt: skip


def _null_bars(axis: Axes, rows: pd.DataFrame, heights: np.ndarray, step: float) -> None:
    if has_numbers(rows, "null_low", "null_high"):
        low, high = numbers(rows, "null_low"), numbers(rows, "null_high")
        axis.barh(heights, high - low, height=step * 0.9, left=low, **NULL_FILL)


def _interval_points(axis: Axes, rows: pd.DataFrame, heights: np.ndarray, colour: str) -> None:
    values = numbers(rows, "value")
    if has_numbers(rows, "low", "high"):
        low, high = numbers(rows, "low"), numbers(rows, "high")
        axis.hlines(heights, low, high, color=colour, linewidth=2.4)
    axis.plot(values, heights, "o", color=colour, markersize=8, zorder=3)
