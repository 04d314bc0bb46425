"""Answers side by side."""

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from interp.errors import DataError
from interp.plots.columns import require
from interp.plots.parts import set_title
from interp.plots.style import CAPTION_SIZE, WIDTH, NotebookFigure, figure_style

MOST_ROWS = 8
LETTERS = 26  # of a line of a cell
LINES = 3


def answers(
    table: pd.DataFrame, *, columns: Sequence[str], title: str, caption: str = ""
) -> Figure:
    """The texts of the columns side by side, one row per row of the table, cut to a few words.

    Raises DataError for more than eight rows.
    """
    require(table, columns)
    if len(table) > MOST_ROWS:
        raise DataError(f"{len(table)} rows of answers; at most {MOST_ROWS} can be read.")
    cells = [[_cut(str(text)) for text in row] for row in table[list(columns)].to_numpy()]
    with figure_style():
        figure = NotebookFigure(figsize=(WIDTH, 1.5 + 0.62 * len(cells)), layout="constrained")
        set_title(figure, title, caption)
        axis = figure.subplots()
        axis.set_axis_off()
        drawn = axis.table(
            cells, colLabels=list(columns), cellLoc="left", bbox=[0, 0, 1, 1], edges="horizontal"
        )
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(CAPTION_SIZE)
    return figure


def _cut(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), LETTERS * 90 // 78)
    kept = "\n".join(lines[:LINES])
    return f"{kept} ..." if len(lines) > LINES else kept
