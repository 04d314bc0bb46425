"""One visual style for every figure, and one function per kind of figure.

Each function takes a tidy table and the names of its columns and returns a `Figure` that needs no
global backend: it can be saved, and a notebook shows it when it is the value of a cell. Columns
`low`, `high`, `null_low` and `null_high` are drawn as bands or bars when the table has them.
Colours are Okabe and Ito's (2008).
"""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MultipleLocator

from interp.errors import DataError

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
MANY_POINTS = 16  # of one curve; with more, its points are drawn small

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
_NULL_FILL: dict[str, Any] = {"color": NULL_GREY, "alpha": 0.35, "linewidth": 0}
_LINE_STYLES: tuple[Any, ...] = ("-", (0, (3, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


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
        figure, axes = _figure(title, 1, 4.6)
        lines = _lines(table, group, stream)
        _draw_lines(axes[0], table, x, y, lines)
        _finish(axes[0], x_label, y_label, reference, log_x, log_y)
        _legend(figure, _lines_legend(table, lines, labels or {}, null_label))
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
    _require(table, [panel])
    absent = set(panel_labels) - set(table[panel])
    if absent:
        raise DataError(f"The table has no rows for the panels {sorted(absent)} in '{panel}'.")
    with figure_style():
        figure, axes = _figure(title, len(panel_labels), 2.5 * len(panel_labels) + 0.9, sharex=True)
        # Made from the whole table, so that a group keeps its colour in every panel.
        lines = _lines(table, group, stream)
        for axis, (key, y_label) in zip(axes, panel_labels.items(), strict=True):
            _draw_lines(axis, _rows(table, panel, key), x, y, lines)
            _finish(axis, "", y_label, (references or {}).get(key), False, key in log_panels)
        axes[-1].set_xlabel(x_label)
        figure.align_ylabels(axes)
        _legend(figure, _lines_legend(table, lines, labels or {}, null_label))
    return figure


def matrix(
    table: pd.DataFrame,
    *,
    row: str,
    column: str,
    value: str,
    title: str,
    x_label: str,
    y_label: str,
    value_label: str,
    panel: str | None = None,
    centre: float | None = 0.0,
    limits: tuple[float, float] | None = None,
    annotate: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Heat map of a long table, diverging around `centre`, or sequential when that is None.

    Rows and columns are sorted when numeric, else kept in order of appearance; absent cells are
    grey. With `panel`, one map per value of that column, side by side with a common colour scale.
    """
    _require(table, [row, column, value, *([panel] if panel else [])])
    names = labels or {}
    keys = _values(table, panel) if panel else [None]
    norm = _normalise(_numbers(table, value), centre, limits)
    with figure_style():
        wide = max(WIDTH, 5.2 * len(keys))
        high = max(6.2 if len(keys) == 1 else 5.4, 2.0 + 0.24 * len(_values(table, row)))
        figure = NotebookFigure(figsize=(wide, high), layout="constrained")
        _title(figure, title)
        axes = np.atleast_1d(figure.subplots(1, len(keys), sharey=True))
        for axis, key in zip(axes, keys, strict=True):
            rows = _rows(table, panel, key)
            _heat_map(axis, rows, row, column, value, norm, centre is not None, annotate, names)
            axis.set(xlabel=x_label, title="" if key is None else names.get(str(key), str(key)))
        axes[0].set_ylabel(y_label)
        figure.colorbar(axes[0].images[0], ax=list(axes), label=value_label, shrink=0.85)
    return figure


def dose_response(
    table: pd.DataFrame,
    *,
    damage: str,
    effect: str,
    group: str,
    title: str,
    x_label: str,
    y_label: str,
    dose: str | None = None,
    null: str | None = "null",
    panel: str | None = None,
    caps: Sequence[float] = (),
    base: float | None = None,
    log_x: bool = True,
    labels: Mapping[str, str] | None = None,
    null_label: str = "random directions",
) -> Figure:
    """Effect against damage: a curve per operator in order of `dose`; rows whose `null` is true
    are grey points.

    With `panel`, the curves of each value of that column have a panel of their own, one above the
    other, and the null is in all of them. `caps` are vertical lines at damage limits, `base` a
    horizontal line at the unedited model. The damage axis is logarithmic above the smallest
    positive damage and linear below, so that zero damage has a place.
    """
    named = [column for column in (dose, null, panel) if column]
    _require(table, [damage, effect, group, *named])
    names = labels or {}
    is_null = _marked(table, null)
    real = table.loc[~is_null]
    colours = _colours(_values(real, group))
    keys = _values(real, panel) if panel else [None]
    with figure_style():
        figure, axes = _figure(title, len(keys), 2.5 + 2.7 * len(keys), sharex=True, sharey=True)
        for axis, key in zip(axes, keys, strict=True):
            _null_points(axis, table.loc[is_null], damage, effect)
            for name, colour in colours.items():
                rows = _rows(_rows(real, panel, key), group, name)
                rows = rows.sort_values(dose) if dose else rows
                at, values = _numbers(rows, damage), _numbers(rows, effect)
                size = 8 if len(rows) <= MANY_POINTS else 4
                axis.plot(at, values, "o-", color=colour, markersize=size, zorder=3)
                _error_bars(axis, rows, damage, effect, colour)
            for cap in caps:
                axis.axvline(cap, color=BLACK, linewidth=1.2, linestyle=":")
            if log_x:
                _log_damage(axis, _numbers(table, damage), caps)
            _finish(axis, "", "" if panel else y_label, base, False, False)
            axis.set_title("" if key is None else names.get(str(key), str(key)))
        axes[-1].set_xlabel(x_label)
        if panel:
            figure.supylabel(y_label, fontsize=FONT_SIZE)
        handles = _line_handles(colours, names)
        if is_null.any():
            handles[null_label] = _dot_handle(NULL_GREY)
        _legend(figure, handles)
    return figure


def rates(
    table: pd.DataFrame,
    *,
    label: str,
    condition: str,
    title: str,
    x_label: str,
    value: str = "value",
    limits: tuple[float, float] | None = (0.0, 1.0),
    null_label: str = "null, 95%",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Points with intervals, one row per `label`, one colour per `condition` (base and
    interventions).

    A row's null is a grey bar from `null_low` to `null_high`. For other measures than rates pass
    `limits=None`.
    """
    _require(table, [label, condition, value])
    names = labels or {}
    rows, colours = _values(table, label), _colours(_values(table, condition))
    step = 0.7 / len(colours)
    with figure_style():
        height = 1.9 + max(0.62, 0.3 * len(colours)) * len(rows)
        figure, (axis,) = _figure(title, 1, height)
        for index, (name, colour) in enumerate(colours.items()):
            points = _rows(table, condition, name)
            heights = np.array([rows.index(v) for v in points[label]], dtype=np.float64)
            heights = heights + (index - (len(colours) - 1) / 2) * step
            _null_bars(axis, points, heights, step)
            _interval_points(axis, points, value, heights, colour)
        axis.set_yticks(range(len(rows)), [_wrapped(names.get(str(v), str(v)), 26) for v in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.grid(False, axis="y")
        axis.set(xlabel=x_label)
        if limits is not None:
            axis.set_xlim(limits[0] - 0.02, limits[1] + 0.02)
        handles: dict[str, Any] = {}
        handles |= {names.get(str(n), str(n)): _dot_handle(c) for n, c in colours.items()}
        _legend(figure, handles | _null_handle(table, null_label))
    return figure


def angle_curve(
    table: pd.DataFrame,
    *,
    angle: str,
    value: str,
    title: str,
    y_label: str,
    group: str,
    null: str | None = "null",
    x_label: str = "Angle in the plane (degrees)",
    null_label: str = "null, 95%",
    base: float | None = None,
    limits: tuple[float, float] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """A measure over the whole turn, 0 to 360 degrees; groups whose `null` is true are thin grey
    lines.

    The value at 0 is repeated at 360 where it was not measured there. `base` is the unedited
    model.
    """
    _require(table, [angle, value, group, *([null] if null else [])])
    is_null = _marked(table, null)
    colours = _colours(_values(table.loc[~is_null], group))
    with figure_style():
        figure, (axis,) = _figure(title, 1, 5.0)
        for _, rows in table.loc[is_null].groupby(group, sort=False):
            rows = _closed(rows, angle)
            axis.plot(
                _numbers(rows, angle),
                _numbers(rows, value),
                color=NULL_GREY,
                linewidth=1.0,
                alpha=0.6,
                zorder=1,
            )
        _null_band(axis, _closed(table.loc[~is_null], angle), angle)
        for name, colour in colours.items():
            rows = _closed(_rows(table.loc[~is_null], group, name), angle)
            axis.plot(
                _numbers(rows, angle),
                _numbers(rows, value),
                "o-",
                color=colour,
                markersize=4,
                zorder=3,
            )
            _band(axis, rows, angle, colour)
        axis.set_xlim(0, 360)
        axis.xaxis.set_major_locator(MultipleLocator(45))
        if limits is not None:
            axis.set_ylim(*limits)
        _finish(axis, x_label, y_label, base, False, False)
        handles = _line_handles(colours, labels or {})
        if is_null.any():
            handles["random planes"] = Line2D([], [], color=NULL_GREY, linewidth=1.0)
        _legend(figure, handles | _null_handle(table, null_label))
    return figure


def bars_beside_marks(
    table: pd.DataFrame,
    *,
    panel: str,
    panel_labels: Mapping[str, str],
    label: str,
    value: str,
    group: str,
    marks: Mapping[str, str],
    title: str,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Horizontal bars from zero, one per row of the table, with marks for what they are held to.

    A panel per key of `panel_labels` that the table has, whose text names its x axis; rows of one
    `label` stand together, coloured by `group`. `marks` maps up to three columns to their names in
    the legend: the first is drawn as a line across the bar, the others as open symbols.
    """
    _require(table, [panel, label, value, group, *marks])
    colours = _colours(_values(table, group))
    panels = {key: _rows(table, panel, key) for key in panel_labels if key in set(table[panel])}
    sizes = [len(_values(rows, label)) for rows in panels.values()]
    with figure_style():
        figure = NotebookFigure(figsize=(WIDTH, 2.2 + 0.9 * sum(sizes)), layout="constrained")
        _title(figure, title)
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=sizes)[:, 0]
        for axis, (key, rows) in zip(axes, panels.items(), strict=True):
            _marked_bars(axis, rows, label, value, group, colours, list(marks))
            axis.set(xlabel=panel_labels[key])
        names = labels or {}
        handles: dict[str, Any] = {
            names.get(str(name), str(name)): Patch(color=colour, alpha=0.75)
            for name, colour in colours.items()
        }
        handles |= {
            name: Line2D([], [], color=BLACK, linestyle="", **style)
            for name, style in zip(marks.values(), _MARKS, strict=False)
        }
        _legend(figure, handles)
    return figure


def null_strip(
    table: pd.DataFrame,
    *,
    value: str,
    family: str,
    title: str,
    x_label: str,
    observed: str = "observed",
    zero: float | None = 0.0,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """The measured effect as a line, above every draw of each null family with its 95% range.

    The row whose `family` is `observed` holds the measured effect; `low`/`high` give its
    interval.
    """
    is_observed = _observed(table, value, family, observed)
    effect = table.loc[is_observed].iloc[:1]
    with figure_style():
        figure, axis = _strips(
            table.loc[~is_observed], value, family, title, x_label, labels or {}, True
        )
        if _has(effect, "low", "high"):
            axis.axvspan(
                effect["low"].item(),
                effect["high"].item(),
                color=VERMILLION,
                alpha=0.15,
                linewidth=0,
            )
        axis.axvline(effect[value].item(), color=VERMILLION, linewidth=2.4)
        if zero is not None:
            axis.axvline(zero, color=BLACK, linewidth=1.0, linestyle=":")
        name = (labels or {}).get(observed, observed)
        _legend(
            figure,
            {
                name: Line2D([], [], color=VERMILLION, linewidth=2.4),
                "null draw": _dot_handle(NULL_GREY),
                "null, 95%": Patch(**_NULL_FILL),
            },
        )
    return figure


def distribution_strip(
    table: pd.DataFrame,
    *,
    value: str,
    group: str,
    title: str,
    x_label: str,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Every value of each group as a point, the quartiles as a bar and the median as a line."""
    _require(table, [value, group])
    with figure_style():
        figure, _ = _strips(table, value, group, title, x_label, labels or {}, False)
    return figure


def null_histogram(
    table: pd.DataFrame,
    *,
    value: str,
    family: str,
    title: str,
    x_label: str,
    observed: str = "observed",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Histogram of many null draws per family with the measured value as a line; for hundreds of
    draws.
    """
    is_observed = _observed(table, value, family, observed)
    names = labels or {}
    colours = _colours(
        _values(table.loc[~is_observed], family), cycle=(NULL_GREY, SKY, ORANGE, GREEN)
    )
    bins = np.histogram_bin_edges(_numbers(table.loc[~is_observed], value), bins=40)
    with figure_style():
        figure, (axis,) = _figure(title, 1, 4.4)
        handles: dict[str, Any] = {}
        for name, colour in colours.items():
            draws = _numbers(_rows(table, family, name), value)
            axis.hist(draws, bins=list(bins), color=colour, alpha=0.65)
            label = f"{names.get(str(name), str(name))} ({len(draws)} draws)"
            handles[label] = Patch(color=colour, alpha=0.65, linewidth=0)
        for measured in table.loc[is_observed][value]:
            axis.axvline(measured, color=VERMILLION, linewidth=2.4)
        handles[names.get(observed, observed)] = Line2D([], [], color=VERMILLION, linewidth=2.4)
        axis.set(xlabel=x_label, ylabel="Null draws")
        _legend(figure, handles)
    return figure


def scatter(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    title: str,
    x_label: str,
    y_label: str,
    group: str | None = None,
    point_label: str | None = None,
    reference: float | None = None,
    log_x: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """One point per row, a colour per `group`, with the text of `point_label` beside it where
    given.
    """
    _require(table, [x, y, *([group] if group else []), *([point_label] if point_label else [])])
    keys = _values(table, group) if group else [""]
    colours = _colours(keys)
    with figure_style():
        figure, (axis,) = _figure(title, 1, 5.2)
        for name, colour in colours.items():
            rows = _rows(table, group, name)
            axis.plot(
                _numbers(rows, x), _numbers(rows, y), "o", color=colour, alpha=0.8, markersize=6
            )
            _error_bars(axis, rows, x, y, colour)
        if point_label:
            for _, point in table.iterrows():
                axis.annotate(
                    str(point[point_label]),
                    (point[x], point[y]),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=FONT_SIZE - 3,
                )
        _finish(axis, x_label, y_label, reference, log_x, False)
        if group:
            names = labels or {}
            _legend(figure, {names.get(str(n), str(n)): _dot_handle(c) for n, c in colours.items()})
    return figure


# ---- pieces of figures
# ----------------------------------------------------------------------------------


def _require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    absent = [column for column in columns if column not in table]
    if absent or table.empty:
        raise DataError(
            f"The figure's table lacks {absent or 'rows'}; "
            f"it has the columns {list(table.columns)}."
        )


def _observed(table: pd.DataFrame, value: str, family: str, observed: str) -> np.ndarray:
    """Rows of the measured effect among those of the nulls; DataError where there is none."""
    _require(table, [value, family])
    is_observed = np.asarray(table[family] == observed, bool)
    if not is_observed.any():
        raise DataError(f"No row of '{family}' is '{observed}'; the measured effect is missing.")
    return is_observed


def _values(table: pd.DataFrame, column: str) -> list[Any]:
    """Distinct values, sorted when numeric, else in order of appearance."""
    values = list(dict.fromkeys(table[column]))
    return sorted(values) if pd.api.types.is_numeric_dtype(table[column]) else values


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    return np.asarray(table[column], dtype=np.float64)


def _rows(table: pd.DataFrame, column: str | None, value: Any) -> pd.DataFrame:
    """Rows with one value of a column; all of them when the table is not divided."""
    return table if column is None else table.loc[table[column] == value]


def _has(table: pd.DataFrame, *columns: str) -> bool:
    """Whether the optional columns are there and hold at least one number."""
    return all(column in table and bool(table[column].notna().any()) for column in columns)


def _marked(table: pd.DataFrame, column: str | None) -> np.ndarray:
    """Rows whose boolean column is true; none when there is no such column."""
    return np.asarray(table[column], bool) if column else np.zeros(len(table), bool)


def _wrapped(text: str, characters: int) -> str:
    return "\n".join(textwrap.fill(line, characters) for line in text.split("\n"))


def _title(figure: Figure, title: str) -> None:
    """The finding, left-aligned and wrapped to the figure's width."""
    # A letter of this font is about .56 of its size wide; 72 points to the inch.
    characters = int(figure.get_figwidth() * 72 / ((FONT_SIZE + 1) * 0.56))
    figure.suptitle(_wrapped(title, characters), x=0.01, ha="left", fontsize=FONT_SIZE + 1)


def _figure(
    title: str, n_rows: int, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    figure = NotebookFigure(figsize=(WIDTH, height), layout="constrained")
    _title(figure, title)
    axes = figure.subplots(n_rows, 1, sharex=sharex, sharey=sharey)
    return figure, list(np.atleast_1d(np.asarray(axes, dtype=object)))


def _colours(names: Sequence[Any], cycle: Sequence[str] = CYCLE) -> dict[Any, str]:
    """A colour per name: the fixed one where the name has one, else the next of the cycle."""
    taken = {FIXED_COLOURS[str(name)] for name in names if str(name) in FIXED_COLOURS}
    free = [colour for colour in cycle if colour not in taken]
    others = [name for name in names if str(name) not in FIXED_COLOURS]
    if len(others) > len(free):
        raise DataError(
            f"{len(names)} groups in one figure, but only {len(free)} distinguishable colours are "
            "left; split the figure or mark the nulls as nulls."
        )
    chosen = dict(zip(others, free, strict=False))
    return {name: FIXED_COLOURS.get(str(name), chosen.get(name, BLACK)) for name in names}


@dataclass(frozen=True)
class _Lines:
    """How the lines of a profile are told apart: columns, and a colour or style per value."""

    group: str | None
    stream: str | None
    colours: Mapping[Any, str]
    styles: Mapping[Any, Any]


def _lines(table: pd.DataFrame, group: str | None, stream: str | None) -> _Lines:
    _require(table, [column for column in (group, stream) if column])
    streams = _values(table, stream) if stream else [None]
    if len(streams) > len(_LINE_STYLES):
        raise DataError(f"{len(streams)} streams in one figure; at most {len(_LINE_STYLES)}.")
    colours = _colours(_values(table, group)) if group else {None: GREEN}
    return _Lines(group, stream, colours, dict(zip(streams, _LINE_STYLES, strict=False)))


def _draw_lines(axis: Axes, table: pd.DataFrame, x: str, y: str, lines: _Lines) -> None:
    """Lines and bands of one panel, for the groups and streams that it has."""
    _require(table, [x, y])
    for name, colour in lines.colours.items():
        for kind, style in lines.styles.items():
            rows = _rows(_rows(table, lines.group, name), lines.stream, kind).sort_values(x)
            if len(rows):
                at, values = _numbers(rows, x), _numbers(rows, y)
                axis.plot(at, values, color=colour, linestyle=style, zorder=3)
                _null_band(axis, rows, x)
                _band(axis, rows, x, colour)


def _lines_legend(
    table: pd.DataFrame, lines: _Lines, names: Mapping[str, str], null_label: str
) -> dict[str, Any]:
    """Groups by colour, then streams by line style, then the null."""
    handles: dict[str, Any] = _line_handles(lines.colours, names) if lines.group else {}
    if lines.stream and len(lines.styles) > 1:
        for kind, style in lines.styles.items():
            line = Line2D([], [], color="#555555")
            line.set_linestyle(style)
            handles[names.get(str(kind), str(kind))] = line
    return handles | _null_handle(table, null_label)


def _fill(axis: Axes, rows: pd.DataFrame, x: str, low: str, high: str, **style: Any) -> None:
    axis.fill_between(_numbers(rows, x), _numbers(rows, low), _numbers(rows, high), **style)


def _band(axis: Axes, rows: pd.DataFrame, x: str, colour: str) -> None:
    if _has(rows, "low", "high"):
        _fill(axis, rows, x, "low", "high", color=colour, alpha=0.18, linewidth=0)


def _null_band(axis: Axes, rows: pd.DataFrame, x: str) -> None:
    if _has(rows, "null_low", "null_high"):
        _fill(axis, rows, x, "null_low", "null_high", zorder=0, **_NULL_FILL)


def _null_handle(table: pd.DataFrame, null_label: str) -> dict[str, Any]:
    """Legend entry of the null band or bar, where the table has one."""
    return {null_label: Patch(**_NULL_FILL)} if _has(table, "null_low", "null_high") else {}


def _null_bars(axis: Axes, rows: pd.DataFrame, heights: np.ndarray, step: float) -> None:
    if _has(rows, "null_low", "null_high"):
        low, high = _numbers(rows, "null_low"), _numbers(rows, "null_high")
        axis.barh(heights, high - low, height=step * 0.9, left=low, **_NULL_FILL)


def _interval_points(
    axis: Axes, rows: pd.DataFrame, value: str, heights: np.ndarray, colour: str
) -> None:
    values = _numbers(rows, value)
    if _has(rows, "low", "high"):
        low, high = _numbers(rows, "low"), _numbers(rows, "high")
        axis.hlines(heights, low, high, color=colour, linewidth=2.4)
    axis.plot(values, heights, "o", color=colour, markersize=8, zorder=3)


def _error_bars(axis: Axes, rows: pd.DataFrame, x: str, y: str, colour: str) -> None:
    if _has(rows, "low", "high"):
        at, low, high = (_numbers(rows, column) for column in (x, "low", "high"))
        axis.vlines(at, low, high, color=colour, alpha=0.5, linewidth=1.6)


def _null_points(axis: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    at, values = _numbers(rows, x), _numbers(rows, y)
    axis.plot(at, values, ".", color=NULL_GREY, alpha=0.6, zorder=1)


def _log_damage(axis: Axes, damage: np.ndarray, caps: Sequence[float]) -> None:
    """A logarithmic axis that has a place for zero damage."""
    smallest = _smallest_positive(damage)
    largest = 1.3 * max(float(damage.max()), *caps, smallest)
    axis.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    axis.set_xlim(-0.2 * smallest, largest)
    powers = np.arange(np.ceil(np.log10(smallest)), np.floor(np.log10(largest)) + 1)
    # The first power may stand beside zero, where both names would not fit.
    axis.set_xticks([0, *(10 ** powers[powers > np.log10(2 * smallest)])])


_MARKS: tuple[dict[str, Any], ...] = (
    {"marker": "|", "markersize": 22, "markeredgewidth": 3.0},
    {"marker": "D", "markersize": 8, "markerfacecolor": "white", "markeredgewidth": 1.6},
    {"marker": "o", "markersize": 8, "markerfacecolor": "white", "markeredgewidth": 1.6},
)


def _marked_bars(
    axis: Axes,
    table: pd.DataFrame,
    label: str,
    value: str,
    group: str,
    colours: Mapping[Any, str],
    marks: Sequence[str],
) -> None:
    """Bars of one panel; rows of one label share its place, each with its number beside it."""
    names = _values(table, label)
    for index, name in enumerate(names):
        rows = _rows(table, label, name)
        step = 0.8 / len(rows)
        for place, row in enumerate(rows.to_dict("records")):
            at = index + (place - (len(rows) - 1) / 2) * step
            axis.barh(at, row[value], height=step * 0.92, color=colours[row[group]], alpha=0.75)
            axis.annotate(
                f"{row[value]:.2f}", (0, at), (5, 0), textcoords="offset points", va="center",
                fontsize=FONT_SIZE - 2,
            )  # fmt: skip
            for mark, style in zip(marks, _MARKS, strict=False):
                axis.plot(row[mark], at, color=BLACK, linestyle="", zorder=4, **style)
    axis.set_yticks(range(len(names)), [_wrapped(str(name), 30) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(False, axis="y")


def _finish(
    axis: Axes, x_label: str, y_label: str, reference: float | None, log_x: bool, log_y: bool
) -> None:
    if reference is not None:
        axis.axhline(reference, color=BLACK, linewidth=1.2, linestyle=":", zorder=2)
    if log_x:
        axis.set_xscale("log")
    if log_y:
        axis.set_yscale("log")
    axis.set(xlabel=x_label, ylabel=y_label)


def _strips(
    table: pd.DataFrame,
    value: str,
    group: str,
    title: str,
    x_label: str,
    names: Mapping[str, str],
    is_null: bool,
) -> tuple[Figure, Axes]:
    """One row of points per group, with a bar over 95% of them (nulls) or their middle half."""
    rows = _values(table, group)
    figure, (axis,) = _figure(title, 1, 1.9 + 0.8 * len(rows))
    colours = dict.fromkeys(rows, NULL_GREY) if is_null else _colours(rows)
    shares = (2.5, 50, 97.5) if is_null else (25, 50, 75)
    for index, name in enumerate(rows):
        values = _numbers(_rows(table, group, name), value)
        low, middle, high = np.percentile(values, shares)
        # Multiples of the golden ratio spread the points evenly, without a random generator.
        spread = (np.arange(len(values)) * 0.6180339887 % 1 - 0.5) * 0.6
        axis.barh(
            index, high - low, height=0.72, left=low, color=colours[name], alpha=0.3, linewidth=0
        )
        axis.plot(values, index + spread, ".", color=colours[name], alpha=0.75, markersize=6)
        axis.vlines(middle, index - 0.36, index + 0.36, color=BLACK, linewidth=2.0, zorder=4)
    labels = [f"{names.get(str(v), str(v))}\n(n = {(table[group] == v).sum()})" for v in rows]
    axis.set_yticks(range(len(rows)), labels)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(False, axis="y")
    axis.set(xlabel=x_label)
    return figure, axis


def _heat_map(
    axis: Axes,
    table: pd.DataFrame,
    row: str,
    column: str,
    value: str,
    norm: Normalize,
    diverging: bool,
    annotate: bool,
    names: Mapping[str, str],
) -> None:
    rows, columns = _values(table, row), _values(table, column)
    cells = table.pivot(index=row, columns=column, values=value).reindex(rows, columns=columns)
    grid = np.asarray(cells, dtype=np.float64)
    colour_map = matplotlib.colormaps["RdBu_r" if diverging else "viridis"].with_extremes(
        bad="#BDBDBD"
    )
    axis.imshow(grid, norm=norm, cmap=colour_map, aspect="auto", interpolation="nearest")
    _name_ticks(axis.xaxis, columns, names, at_most=12)
    _name_ticks(axis.yaxis, rows, names, at_most=32)
    for label in axis.get_xticklabels():
        label.set_rotation(90 if _is_crowded(axis.get_xticklabels()) else 0)
    axis.grid(False)
    if annotate:
        _annotate(axis, grid, norm, diverging)


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


def _smallest_positive(values: np.ndarray) -> float:
    positive = values[values > 0]
    return float(positive.min()) if len(positive) else 1.0


def _closed(rows: pd.DataFrame, angle: str) -> pd.DataFrame:
    """Rows in order of angle, those at 0 repeated at 360 where that was not measured."""
    rows = rows.sort_values(angle)
    if 360 in _numbers(rows, angle):
        return rows
    return pd.concat([rows, _rows(rows, angle, 0).assign(**{angle: 360.0})], ignore_index=True)


def _line_handles(colours: Mapping[Any, str], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        names.get(str(name), str(name)): Line2D([], [], color=colour, linewidth=2.6)
        for name, colour in colours.items()
    }


def _dot_handle(colour: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linestyle="", markersize=7)


def _legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Legend under the axes, where it hides nothing, in as few rows as the width allows."""
    if not handles:
        return
    # The mark and the gaps of an entry are as wide as 9 letters; 11 letters go to the inch.
    lengths = [len(label) + 9 for label in handles]
    budget = figure.get_figwidth() * 11
    for columns in range(len(lengths), 0, -1):
        if sum(max(column) for column in np.array_split(lengths, columns)) <= budget:
            break
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
