"""What figures are put together from: title, axes, bands, error bars, legend."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interp.errors import DataError
from interp.plots.columns import has_numbers, numbers
from interp.plots.style import (
    BLACK,
    CAPTION_SIZE,
    FONT_SIZE,
    NULL_FILL,
    TITLE_LINES,
    WIDTH,
    NotebookFigure,
)


def wrapped(text: str, characters: int) -> str:
    """The text with line breaks, so that no line is longer than `characters`."""
    return "\n".join(textwrap.fill(line, characters) for line in text.split("\n"))


def label_of(value: Any, names: Mapping[str, str]) -> str:
    """What readers see for a value of a column: its text in `names`, else the value itself."""
    return names.get(str(value), str(value))


def set_title(figure: Figure, title: str, caption: str = "") -> None:
    """The finding above the figure, and in small letters below it what it was measured on.

    Raises DataError for a title of more than two lines: details belong into the caption.
    """
    lines = wrapped(title, _letters(figure, FONT_SIZE + 1))
    if lines.count("\n") >= TITLE_LINES:
        raise DataError(f"The title takes more than {TITLE_LINES} lines: {title!r}. Shorten it.")
    figure.suptitle(lines, x=0.01, ha="left", fontsize=FONT_SIZE + 1)
    if caption:
        small = wrapped(caption, _letters(figure, CAPTION_SIZE))
        figure.text(0.01, 0.01, small, va="bottom", fontsize=CAPTION_SIZE, color="#555555")
        _reserve(figure, 1 + small.count("\n"), CAPTION_SIZE)


def _reserve(figure: Figure, n_lines: int, size: float) -> float:
    """Keep the axes out of so many more lines at the bottom; return where these begin."""
    engine = figure.get_layout_engine()
    assert engine is not None  # every figure of ours has the constrained one
    bottom = engine.get().get("rect", (0, 0, 1, 1))[1]
    above = bottom + (n_lines * 1.45 + 0.6) * size / 72 / figure.get_figheight()
    engine.set(rect=(0, above, 1, 1 - above))
    return bottom


def _letters(figure: Figure, size: float) -> int:
    """How many letters fit side by side: one is about .56 of its size wide, 72 points an inch."""
    return int(figure.get_figwidth() * 72 / (size * 0.56))


def stacked_axes(
    title: str,
    caption: str,
    n_rows: int,
    height: float,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A titled figure of the usual width, and its panels, one above the other."""
    figure = NotebookFigure(figsize=(WIDTH, height), layout="constrained")
    set_title(figure, title, caption)
    axes = figure.subplots(n_rows, 1, sharex=sharex, sharey=sharey)
    return figure, list(np.atleast_1d(np.asarray(axes, dtype=object)))


def value_column(table: pd.DataFrame, column: str) -> str | None:
    """The column where the table has it, None where it is not divided by it."""
    return column if column in table else None


def _fill(axis: Axes, rows: pd.DataFrame, x: str, low: str, high: str, **style: Any) -> None:
    axis.fill_between(numbers(rows, x), numbers(rows, low), numbers(rows, high), **style)


def draw_band(axis: Axes, rows: pd.DataFrame, x: str, colour: str) -> None:
    """The interval `low` to `high` of a line, where the table has it."""
    if has_numbers(rows, "low", "high"):
        _fill(axis, rows, x, "low", "high", color=colour, alpha=0.18, linewidth=0)


def draw_null_band(axis: Axes, rows: pd.DataFrame, x: str) -> None:
    """The null's range `null_low` to `null_high` behind a line, where the table has it."""
    if has_numbers(rows, "null_low", "null_high"):
        _fill(axis, rows, x, "null_low", "null_high", zorder=0, **NULL_FILL)


def null_handle(table: pd.DataFrame, null_label: str) -> dict[str, Any]:
    """Legend entry of the null band or bar, where the table has one."""
    return {null_label: Patch(**NULL_FILL)} if has_numbers(table, "null_low", "null_high") else {}


def draw_error_bars(axis: Axes, rows: pd.DataFrame, x: str, colour: str) -> None:
    """The interval `low` to `high` of every point, where the table has it."""
    if has_numbers(rows, "low", "high"):
        at, low, high = (numbers(rows, column) for column in (x, "low", "high"))
        axis.vlines(at, low, high, color=colour, alpha=0.5, linewidth=1.6)


def finish_axes(
    axis: Axes, x_label: str, y_label: str, reference: float | None, log_x: bool, log_y: bool
) -> None:
    """Axis names and scales, and a dotted line at the reference."""
    if reference is not None:
        axis.axhline(reference, color=BLACK, linewidth=1.2, linestyle=":", zorder=2)
    if log_x:
        axis.set_xscale("log")
    if log_y:
        axis.set_yscale("log")
    axis.set(xlabel=x_label, ylabel=y_label)


def name_rows(axis: Axes, texts: Sequence[str]) -> None:
    """A text per row on the y axis, the first row on top, without lines between them."""
    axis.set_yticks(range(len(texts)), texts)
    axis.set_ylim(len(texts) - 0.5, -0.5)
    axis.grid(False, axis="y")


def line_handles(colours: Mapping[Any, str], names: Mapping[str, str]) -> dict[str, Any]:
    """Legend entries of lines told apart by colour."""
    return {
        label_of(name, names): Line2D([], [], color=colour, linewidth=2.6)
        for name, colour in colours.items()
    }


def dot_handle(colour: str) -> Line2D:
    """Legend entry of points."""
    return Line2D([], [], color=colour, marker="o", linestyle="", markersize=7)


def dot_handles(colours: Mapping[Any, str], names: Mapping[str, str]) -> dict[str, Any]:
    """Legend entries of points told apart by colour."""
    return {label_of(name, names): dot_handle(colour) for name, colour in colours.items()}


def add_legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Legend under the axes, where it hides nothing, in as few rows as the width allows."""
    if not handles:
        return
    # The mark and the gaps of an entry are as wide as 9 letters; 11 letters go to the inch.
    lengths = [len(label) + 9 for label in handles]
    budget = figure.get_figwidth() * 11
    for columns in range(len(lengths), 0, -1):
        if sum(max(column) for column in np.array_split(lengths, columns)) <= budget:
            break
    bottom = _reserve(figure, -(-len(lengths) // columns), FONT_SIZE - 1)
    entries = handles.values(), handles.keys()
    figure.legend(*entries, loc="lower center", ncols=columns, bbox_to_anchor=(0.5, bottom))
