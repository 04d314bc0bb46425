"""A measured effect above every draw of its nulls."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interp.errors import DataError
from interp.plots.columns import has_numbers, numbers, require, rows_where, values_of
from interp.plots.parts import add_legend, dot_handle, label_of, name_rows, stacked_axes
from interp.plots.style import BLACK, NULL_FILL, NULL_GREY, VERMILLION, figure_style

OBSERVED = "observed"


def strip(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    caption: str = "",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """The measured effect as a line, above every draw of each null family with its 95% range.

    Columns `family` and `value`; the row of the family "observed" holds the measured effect, with
    its interval in `low`/`high`.
    """
    is_observed = _observed_rows(table)
    effect, nulls = table.loc[is_observed].iloc[:1], table.loc[~is_observed]
    draws = {
        name: numbers(rows_where(nulls, "family", name), "value")
        for name in values_of(nulls, "family")
    }
    names = labels or {}
    with figure_style():
        figure, (axis,) = stacked_axes(title, caption, 1, 2.1 + 0.8 * len(draws))
        for index, values in enumerate(draws.values()):
            _strip(axis, index, values)
        if has_numbers(effect, "low", "high"):
            low, high = effect["low"].item(), effect["high"].item()
            axis.axvspan(low, high, color=VERMILLION, alpha=0.15, linewidth=0)
        axis.axvline(effect["value"].item(), color=VERMILLION, linewidth=2.4)
        axis.axvline(0.0, color=BLACK, linewidth=1.0, linestyle=":")
        name_rows(axis, [f"{label_of(k, names)}\n(n = {len(v)})" for k, v in draws.items()])
        axis.set(xlabel=x_label)
        handles: dict[str, Any] = {
            label_of(OBSERVED, names): Line2D([], [], color=VERMILLION, linewidth=2.4),
            "null draw": dot_handle(NULL_GREY),
            "null, 95%": Patch(**NULL_FILL),
        }
        add_legend(figure, handles)
    return figure


def _observed_rows(table: pd.DataFrame) -> np.ndarray:
    """Rows of the measured effect among those of the nulls; DataError where there is none."""
    require(table, ["value", "family"])
    is_observed = np.asarray(table["family"] == OBSERVED, bool)
    if not is_observed.any():
        raise DataError(f"No row of 'family' is '{OBSERVED}'; the measured effect is missing.")
    return is_observed


def _strip(axis: Axes, index: int, draws: np.ndarray) -> None:
    """A row of points, with a bar over 95% of them and their median."""
    low, middle, high = np.percentile(draws, (2.5, 50, 97.5))
    # Multiples of the golden ratio spread the points evenly, without a random generator.
    spread = (np.arange(len(draws)) * 0.6180339887 % 1 - 0.5) * 0.6
    axis.barh(index, high - low, height=0.72, left=low, color=NULL_GREY, alpha=0.3, linewidth=0)
    axis.plot(draws, index + spread, ".", color=NULL_GREY, alpha=0.75, markersize=6)
    axis.vlines(middle, index - 0.36, index + 0.36, color=BLACK, linewidth=2.0, zorder=4)
