"""Bars beside the marks that they are held to."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interp.plots.columns import require, rows_where, values_of
from interp.plots.parts import add_legend, label_of, name_rows, set_title, wrapped
from interp.plots.style import BLACK, FONT_SIZE, WIDTH, NotebookFigure, colours_of, figure_style


def bars(
    table: pd.DataFrame,
    *,
    panel_labels: Mapping[str, str],
    marks: Mapping[str, str],
    title: str,
    caption: str = "",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Horizontal bars of `value`, one per row of the table, with marks for what they are held to.

    A panel per key of `panel_labels` that the column `panel` has, whose text names its x axis; rows
    of one `label` stand together, coloured by `group`. `marks` maps up to three columns to their
    names in the legend: the first is drawn as a line across the bar, the others as open symbols.
    """
    require(table, ["panel", "label", "value", "group", *marks])
    colours = colours_of(values_of(table, "group"))
    panels = {
        key: rows_where(table, "panel", key) for key in panel_labels if key in set(table["panel"])
    }
    sizes = [len(values_of(rows, "label")) for rows in panels.values()]
    with figure_style():
        figure = NotebookFigure(figsize=(WIDTH, 2.2 + 0.9 * sum(sizes)), layout="constrained")
        set_title(figure, title, caption)
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=sizes)[:, 0]
        for axis, (key, rows) in zip(axes, panels.items(), strict=True):
            _marked_bars(axis, rows, colours, list(marks))
            axis.set(xlabel=panel_labels[key])
        handles: dict[str, Any] = {
            label_of(name, labels or {}): Patch(color=colour, alpha=0.75)
            for name, colour in colours.items()
        }
        handles |= {
            name: Line2D([], [], color=BLACK, linestyle="", **style)
            for name, style in zip(marks.values(), _MARKS, strict=False)
        }
        add_legend(figure, handles)
    return figure


_MARKS: tuple[dict[str, Any], ...] = (
    {"marker": "|", "markersize": 22, "markeredgewidth": 3.0},
    {"marker": "D", "markersize": 8, "markerfacecolor": "white", "markeredgewidth": 1.6},
    {"marker": "o", "markersize": 8, "markerfacecolor": "white", "markeredgewidth": 1.6},
)


def _marked_bars(
    axis: Axes,
    table: pd.DataFrame,
    colours: Mapping[Any, str],
    marks: Sequence[str],
) -> None:
    """Bars of one panel; rows of one label share its place, each with its number beside it."""
    names = values_of(table, "label")
    for index, name in enumerate(names):
        rows = rows_where(table, "label", name)
        step = 0.8 / len(rows)
        for place, row in enumerate(rows.to_dict("records")):
            at = index + (place - (len(rows) - 1) / 2) * step
            axis.barh(at, row["value"], height=step * 0.92, color=colours[row["group"]], alpha=0.75)
            axis.annotate(
                f"{row['value']:.2f}", (0, at), (5, 0), textcoords="offset points", va="center",
                fontsize=FONT_SIZE - 2,
            )  # fmt: skip
            for mark, style in zip(marks, _MARKS, strict=False):
                axis.plot(row[mark], at, color=BLACK, linestyle="", zorder=4, **style)
    name_rows(axis, [wrapped(str(name), 30) for name in names])
