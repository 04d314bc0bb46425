"""Matrices as colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.text import Text

from interp.errors import DataError
from interp.plots.columns import numbers, require, rows_where, values_of
from interp.plots.parts import label_of, set_title, value_column
from interp.plots.style import BLACK, FONT_SIZE, WIDTH, NotebookFigure, figure_style

ABSENT = "#D0D0D0"


def matrix(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    y_label: str,
    value_label: str,
    caption: str = "",
    centre: float | None = 0.0,
    limits: tuple[float, float] | None = None,
    annotate: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Heat map of `value` by `row` and `column`, diverging around `centre`, sequential without one.

    Rows and columns are sorted when numeric, else kept in order of appearance. Absent cells are
    grey, and so are those that the null reaches (`reached` is true). With a column `panel` there is
    a map per value, side by side with a common colour scale; with `section` rows of one section
    stand together under its name.
    """
    require(table, ["row", "column", "value"])
    names = labels or {}
    panel = value_column(table, "panel")
    keys = values_of(table, panel) if panel else [None]
    norm = _normalise(numbers(table, "value"), centre, limits)
    with figure_style():
        wide = max(WIDTH, 5.2 * len(keys))
        high = max(6.2 if len(keys) == 1 else 5.4, 2.2 + 0.24 * len(values_of(table, "row")))
        figure = NotebookFigure(figsize=(wide, high), layout="constrained")
        set_title(figure, title, caption)
        axes = np.atleast_1d(figure.subplots(1, len(keys), sharey=True))
        for axis, key in zip(axes, keys, strict=True):
            _heat_map(axis, rows_where(table, panel, key), norm, centre, annotate, names)
            axis.set(xlabel=x_label, title="" if key is None else label_of(key, names))
        axes[0].set_ylabel(y_label)
        figure.colorbar(axes[0].images[0], ax=list(axes), label=value_label, shrink=0.85)
    return figure


def _heat_map(
    axis: Axes,
    table: pd.DataFrame,
    norm: Normalize,
    centre: float | None,
    annotate: bool,
    names: Mapping[str, str],
) -> None:
    rows, columns = values_of(table, "row"), values_of(table, "column")

    def grid_of(value: str) -> np.ndarray:
        """One column of the table by row and column, in the order of the axes."""
        cells = table.pivot(index="row", columns="column", values=value)
        return np.asarray(cells.reindex(rows, columns=columns), dtype=np.float64)

    grid = grid_of("value")
    hidden = grid_of("reached") == 1 if "reached" in table else np.zeros(grid.shape, bool)
    colours = matplotlib.colormaps["viridis" if centre is None else "RdBu_r"]
    colours = colours.with_extremes(bad=ABSENT)
    shown = np.where(hidden, np.nan, grid)
    axis.imshow(shown, norm=norm, cmap=colours, aspect="auto", interpolation="nearest")
    _name_ticks(axis.xaxis, columns, names, at_most=12)
    _name_ticks(axis.yaxis, rows, names, at_most=32)
    for label in axis.get_xticklabels():
        label.set_rotation(90 if _is_crowded(axis.get_xticklabels()) else 0)
    axis.grid(False)
    if "section" in table:
        _part_sections(axis, table, rows)
    if annotate:
        _annotate(axis, shown, norm, centre is not None)


def _part_sections(axis: Axes, table: pd.DataFrame, rows: Sequence[Any]) -> None:
    """A line between sections of rows, and each section's name inside the map."""
    section = table.drop_duplicates("row").set_index("row")["section"].reindex(rows).tolist()
    starts = [i for i in range(len(rows)) if i == 0 or section[i] != section[i - 1]]
    for start in starts:
        if start:
            axis.axhline(start - 0.5, color=BLACK, linewidth=2.0)
        text = axis.text(-0.4, start - 0.42, str(section[start]), va="top", fontsize=FONT_SIZE - 3)
        text.set_bbox({"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1.5})


def _name_ticks(axis: Axis, values: Sequence[Any], names: Mapping[str, str], at_most: int) -> None:
    """Every name, but of many numbers only each second, third, ... so that they stay apart."""
    numbers = [i for i, v in enumerate(values) if _is_number(v) or str(v).isdigit()]
    hidden = set(numbers) - set(numbers[:: max(1, int(np.ceil(len(numbers) / at_most)))])
    places = [i for i in range(len(values)) if i not in hidden]
    texts = [f"{v:g}" if _is_number(v) else str(v) for v in values]
    axis.set_ticks(places, [names.get(str(values[i]), texts[i]) for i in places])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _is_crowded(labels: Sequence[Text]) -> bool:
    return max(len(label.get_text()) for label in labels) * len(labels) > 55


def _annotate(axis: Axes, grid: np.ndarray, norm: Normalize, diverging: bool) -> None:
    """The number in each cell, white where the cell is dark."""
    for (i, j), number in np.ndenumerate(grid):
        if np.isfinite(number):
            shade = float(norm(number))
            is_dark = abs(shade - 0.5) > 0.35 if diverging else shade < 0.55
            text = f"{number:.2f}".replace("-", "\N{MINUS SIGN}")
            axis.text(
                j, i, text, ha="center", va="center", color="white" if is_dark else BLACK,
                fontsize=FONT_SIZE - 3,
            )  # fmt: skip


def _normalise(
    values: np.ndarray, centre: float | None, limits: tuple[float, float] | None
) -> Normalize:
    """Colour scale: equal steps either side of `centre`, so that equal colours mean equal
    effects.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise DataError("The matrix has no finite value to draw.")
    low, high = limits or (float(finite.min()), float(finite.max()))
    if centre is None:
        return Normalize(low, high)
    reach = max(abs(low - centre), abs(high - centre)) or 1.0
    return TwoSlopeNorm(centre, centre - reach, centre + reach)
