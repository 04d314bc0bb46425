"""The states of classes of prompts, layer by layer."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from interp.plots.columns import numbers, require, rows_where, values_of
from interp.plots.parts import add_legend, dot_handles, label_of, set_title
from interp.plots.style import FONT_SIZE, WIDTH, NotebookFigure, colours_of, figure_style

COLUMNS = 4


def states(
    table: pd.DataFrame,
    *,
    title: str,
    x_label: str,
    y_label: str,
    caption: str = "",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """A point at `x` and `y` per prompt, a small panel per `panel` (site), a colour per `group`.

    Every panel has a scale of its own: norms grow with depth.
    """
    require(table, ["panel", "x", "y", "group"])
    keys, colours = values_of(table, "panel"), colours_of(values_of(table, "group"))
    n_rows = -(-len(keys) // COLUMNS)
    with figure_style():
        size = (WIDTH, 1.6 + 1.9 * n_rows)
        figure = NotebookFigure(figsize=size, layout="constrained")
        set_title(figure, title, caption)
        axes = np.ravel(figure.subplots(n_rows, min(COLUMNS, len(keys)), squeeze=False))
        for axis in axes[len(keys) :]:
            axis.set_visible(False)
        for axis, key in zip(axes, keys, strict=False):
            for name, colour in colours.items():
                rows = rows_where(rows_where(table, "panel", key), "group", name)
                axis.plot(numbers(rows, "x"), numbers(rows, "y"), ".", color=colour, alpha=0.6)
            axis.set_title(label_of(key, labels or {}), fontsize=FONT_SIZE - 2)
            axis.set(xticks=[], yticks=[])
        axes[max(0, len(keys) - COLUMNS)].set(xlabel=x_label)
        axes[0].set(ylabel=y_label)
        add_legend(figure, dot_handles(colours, labels or {}))
    return figure
