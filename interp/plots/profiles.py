"""Lines over layers, in one panel or in several over one axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
)
from interp.plots.style import GREEN, LINE_STYLES, colours_of, figure_style


def profile_over_layers(
    table: pd.DataFrame,
    *,
    y: str,
    title: str,
    y_label: str,
    x: str = "depth",
    x_label: str = "Depth (blocks)",
    group: str | None = None,
    stream: str | None = "stream",
    labels: Mapping[str, str] | None = None,
    null_label: str = "null, 95%",
    reference: float | None = None,
    log_y: bool = False,
    log_x: bool = False,
) -> Figure:
    """Lines over layers (or any ordered x), a colour per `group` and a line style per `stream`.

    Bands are the columns `low`/`high`; the null band is `null_low`/`null_high`, in grey.
    `reference` is a horizontal line (chance, zero). `labels` maps values of the columns to the
    names readers see.
    """
    with figure_style():
        figure, axes = stacked_axes(title, 1, 4.6)
        lines = _lines(table, group, stream)
        _draw_lines(axes[0], table, x, y, lines)
        finish_axes(axes[0], x_label, y_label, reference, log_x, log_y)
        add_legend(figure, _lines_legend(table, lines, labels or {}, null_label))
    return figure


def paired_profiles(
    table: pd.DataFrame,
    *,
    title: str,
    panel_labels: Mapping[str, str],
    y: str = "value",
    x: str = "depth",
    x_label: str = "Depth (blocks)",
    panel: str = "panel",
    group: str | None = "class",
    stream: str | None = "stream",
    labels: Mapping[str, str] | None = None,
    null_label: str = "null, 95%",
    references: Mapping[str, float] | None = None,
    log_panels: Sequence[str] = (),
) -> Figure:
    """Profiles stacked over one x axis: one panel per key of `panel_labels`, whose text names its
    y axis.

    The rows of a panel have its key in the column `panel`; otherwise as in `profile_over_layers`.
    """
    require(table, [panel])
    absent = set(panel_labels) - set(table[panel])
    if absent:
        raise DataError(f"The table has no rows for the panels {sorted(absent)} in '{panel}'.")
    with figure_style():
        figure, axes = stacked_axes(
            title, len(panel_labels), 2.5 * len(panel_labels) + 0.9, sharex=True
        )
        # Made from the whole table, so that a group keeps its colour in every panel.
        lines = _lines(table, group, stream)
        for axis, (key, y_label) in zip(axes, panel_labels.items(), strict=True):
            _draw_lines(axis, rows_where(table, panel, key), x, y, lines)
            finish_axes(axis, "", y_label, (references or {}).get(key), False, key in log_panels)
        axes[-1].set_xlabel(x_label)
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


def _lines(table: pd.DataFrame, group: str | None, stream: str | None) -> _Lines:
    require(table, [column for column in (group, stream) if column])
    streams = values_of(table, stream) if stream else [None]
    if len(streams) > len(LINE_STYLES):
        raise DataError(f"{len(streams)} streams in one figure; at most {len(LINE_STYLES)}.")
    colours = colours_of(values_of(table, group)) if group else {None: GREEN}
    return _Lines(group, stream, colours, dict(zip(streams, LINE_STYLES, strict=False)))


def _draw_lines(axis: Axes, table: pd.DataFrame, x: str, y: str, lines: _Lines) -> None:
    """Lines and bands of one panel, for the groups and streams that it has."""
    require(table, [x, y])
    for name, colour in lines.colours.items():
        for kind, style in lines.styles.items():
            rows = rows_where(rows_where(table, lines.group, name), lines.stream, kind)
            rows = rows.sort_values(x)
            if len(rows):
                at, values = numbers(rows, x), numbers(rows, y)
                axis.plot(at, values, color=colour, linestyle=style, zorder=3)
                draw_null_band(axis, rows, x)
                draw_band(axis, rows, x, colour)


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
