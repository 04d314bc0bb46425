"""Lines over layers, in one panel or in several over one axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from interp.errors import DataError
from interp.plots.columns import numbers, require, rows_where, values_of
from interp.plots.parts import (
    add_legend,
    draw_band,
    draw_null_band,
    finish_axes,
    label_of,
    line_handles,
    null_handle,
    stacked_axes,
    value_column,
)
from interp.plots.style import GREEN, LINE_STYLES, colours_of, figure_style


def profiles(
    table: pd.DataFrame,
    *,
    title: str,
    y_labels: str | Mapping[str, str],
    caption: str = "",
    x_label: str = "Depth (blocks)",
    labels: Mapping[str, str] | None = None,
    null_label: str = "null, 95%",
    references: float | Mapping[str, float] | None = None,
    log: bool | Sequence[str] = False,
) -> Figure:
    """Lines of `value` over `depth`, a colour per `group` and a line style per `stream`.

    With several `y_labels` there is a panel for each of their keys, one above the other, whose rows
    have the key in the column `panel`; `references` are horizontal lines, `log` the panels with a
    logarithmic axis (True: all). Bands are `low`/`high`, the null is `null_low`/`null_high` in
    grey. `labels` maps values of the columns to the names that readers see.
    """
    panels = {"": y_labels} if isinstance(y_labels, str) else y_labels
    if "panel" not in table:
        table = table.assign(panel="")
    absent = set(panels) - set(table["panel"])
    if absent:
        raise DataError(f"The table has no rows for the panels {sorted(absent)} in 'panel'.")
    height = 4.8 if len(panels) == 1 else 2.5 * len(panels) + 1.1
    with figure_style():
        figure, axes = stacked_axes(title, caption, len(panels), height, sharex=True)
        # Made from the whole table, so that a group keeps its colour in every panel.
        lines = _lines(table)
        for axis, (key, y_label) in zip(axes, panels.items(), strict=True):
            _draw_lines(axis, rows_where(table, "panel", key), lines)
            shown = references.get(key) if isinstance(references, Mapping) else references
            is_log = log if isinstance(log, bool) else key in log
            finish_axes(axis, "", y_label, shown, False, is_log)
        axes[-1].set_xlabel(x_label)
        if not (numbers(table, "depth") % 1).any():
            axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.align_ylabels(axes)
        add_legend(figure, _lines_legend(table, lines, labels or {}, null_label))
    return figure


@dataclass(frozen=True)
class _Lines:
    """How the lines of a profile are told apart: columns, and a colour or style per value."""

    group: str | None
    stream: str | None
    colours: Mapping[Any, str]
    styles: Mapping[Any, Any]


def _lines(table: pd.DataFrame) -> _Lines:
    require(table, ["depth", "value"])
    group, stream = value_column(table, "group"), value_column(table, "stream")
    streams = values_of(table, stream) if stream else [None]
    if len(streams) > len(LINE_STYLES):
        raise DataError(f"{len(streams)} streams in one figure; at most {len(LINE_STYLES)}.")
    colours = colours_of(values_of(table, group)) if group else {None: GREEN}
    return _Lines(group, stream, colours, dict(zip(streams, LINE_STYLES, strict=False)))


def _draw_lines(axis: Axes, table: pd.DataFrame, lines: _Lines) -> None:
    """Lines and bands of one panel, for the groups and streams that it has."""
    for name, colour in lines.colours.items():
        for kind, style in lines.styles.items():
            rows = rows_where(rows_where(table, lines.group, name), lines.stream, kind)
            rows = rows.sort_values("depth")
            if len(rows):
                at, values = numbers(rows, "depth"), numbers(rows, "value")
                axis.plot(at, values, color=colour, linestyle=style, zorder=3)
                draw_null_band(axis, rows, "depth")
                draw_band(axis, rows, "depth", colour)


def _lines_legend(
    table: pd.DataFrame, lines: _Lines, names: Mapping[str, str], null_label: str
) -> dict[str, Any]:
    """Groups by colour, then streams by line style, then the null."""
    handles: dict[str, Any] = line_handles(lines.colours, names) if lines.group else {}
    if lines.stream and len(lines.styles) > 1:
        for kind, style in lines.styles.items():
            line = Line2D([], [], color="#555555")
            line.set_linestyle(style)
            handles[label_of(kind, names)] = line
    return handles | null_handle(table, null_label)
