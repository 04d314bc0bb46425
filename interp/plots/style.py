"""The look of every figure: colours, sizes, and figures that need no global backend."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from interp.errors import DataError

# Okabe and Ito's (2008) colours, which the colour-blind tell apart.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
NULL_GREY = "#8C8C8C"
# Names that recur keep one colour in every figure.
FIXED_COLOURS = {"harmful": VERMILLION, "harmless": BLUE, "base": BLACK, "null": NULL_GREY}
# Colours of the recurring names come late, so that others seldom share them; yellow comes last,
# because it is hard to see on white.
CYCLE = (GREEN, PURPLE, ORANGE, SKY, BLUE, VERMILLION, BLACK, YELLOW)

DPI = 150
WIDTH = 8.0
FONT_SIZE = 13
CAPTION_SIZE = 10
TITLE_LINES = 2  # a title is one finding
_STYLE: dict[Any, Any] = {
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE - 1,
    "ytick.labelsize": FONT_SIZE - 1,
    "legend.fontsize": FONT_SIZE - 1,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "figure.facecolor": "white",
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "svg.hashsalt": "interp",
}
NULL_FILL: dict[str, Any] = {"color": NULL_GREY, "alpha": 0.35, "linewidth": 0}
LINE_STYLES: tuple[Any, ...] = ("-", (0, (3, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


class NotebookFigure(Figure):
    """A figure that a notebook shows by itself, without pyplot or a chosen backend."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=DPI)
        # Half the pixels' width on the page, so that a dense screen shows it sharp.
        return picture.getvalue(), {"width": int(self.get_figwidth() * DPI / 1.5)}


@contextmanager
def figure_style() -> Iterator[None]:
    """The project's settings, for the time of one figure; nothing global stays changed."""
    with matplotlib.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at 150 dpi, without the writing program's name: equal runs, equal
    bytes.
    """
    with figure_style():
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


def colours_of(names: Sequence[Any]) -> dict[Any, str]:
    """A colour per name: the fixed one where the name has one, else the next of the cycle."""
    taken = {FIXED_COLOURS[str(name)] for name in names if str(name) in FIXED_COLOURS}
    free = [colour for colour in CYCLE if colour not in taken]
    others = [name for name in names if str(name) not in FIXED_COLOURS]
    if len(others) > len(free):
        raise DataError(
            f"{len(names)} groups in one figure, but only {len(free)} distinguishable colours are "
            "left; split the figure or mark the nulls as nulls."
        )
    chosen = dict(zip(others, free, strict=False))
    return {name: FIXED_COLOURS.get(str(name), chosen.get(name, BLACK)) for name in names}
