"""Figures of experiment 04, each drawn from the table of its name alone."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.lab.results import Result
from interp.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    NULL_GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    NotebookFigure,
    figure_style,
)

STATUS_COLOURS = {"within": GREEN, "inconclusive": "#F2F2F2", "outside": VERMILLION}
STATUS_NAMES = {
    "within": "within the margin of flatness",
    "inconclusive": "no power, or neither",
    "outside": "outside",
}
CLASS_COLOURS = {"harmful": VERMILLION, "harmless": BLUE}
METRIC_COLOURS = {"l2": BLACK, "whitened": ORANGE, "causal": PURPLE}
METRIC_NAMES = {"l2": "L2", "whitened": "whitened", "causal": "unembedding-weighted"}
MEANINGS = {
    "manifold": "(a) flat by its own geodesics",
    "output": "(b) L2 orders output KL",
    "behaviour": "(c) L2 predicts refusal",
}
ESTIMATORS = {
    "delta_rel": "Gromov delta (relative)",
    "triangle_defect": "Triangle defect",
    "negative_share": "Negative eigenvalue share",
    "fit_ratio": "Sphere against hyperbolic fit (log)",
    "ollivier": "Ollivier-Ricci curvature",
    "holonomy": "Holonomy (degrees)",
    "sphere_radius": "Best sphere radius (mean distances)",
    "hyperbolic_radius": "Best hyperbolic radius (mean distances)",
    "twonn": "TwoNN dimension",
}
SPACES = ("flat (rotated)", "flat (mixture)", "sphere", "hyperbolic", "tree")
SPACE_COLOURS = (NULL_GREY, NULL_GREY, ORANGE, SKY, GREEN)


def plot(result: Result) -> dict[str, Figure]:
    """The four figures."""
    drawing = {
        "meanings": plot_meanings,
        "calibration": plot_calibration,
        "profile": plot_profile,
        "metrics": plot_metrics,
    }
    figures = {}
    for name, draw in drawing.items():
        with figure_style():
            figures[name] = draw(result.tables[name])
    return figures


def plot_meanings(table: pd.DataFrame) -> Figure:
    """Which meaning of Euclidean holds: votes of the estimators, and the three metrics."""
    figure = NotebookFigure(figsize=(13, 7), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[1.2, 1, 1])
    parts = {meaning: table[table["meaning"] == meaning] for meaning in MEANINGS}
    _status_bars(axes[0], parts["manifold"])
    for axis, meaning in zip(axes[1:], ("output", "behaviour"), strict=True):
        _metric_points(axis, parts[meaning])
    for axis, (meaning, rows) in zip(axes, parts.items(), strict=True):
        unit = {"manifold": "cells", "output": "segments", "behaviour": "prompts"}[meaning]
        axis.set_title(
            f"{MEANINGS[meaning]}:\n{rows['verdict'].iloc[0]}\n(n = {rows['n'].max()} {unit})"
        )
    words = {rows["verdict"].iloc[0] for rows in parts.values()}
    overall = "not in every meaning" if "rejected" in words else "undecided"
    finding = "yes, in all three meanings" if words == {"supported"} else overall
    title = f"Is activation space Euclidean? {finding[0].upper()}{finding[1:]}"
    return _finished(figure, list(axes), title)


def _status_bars(axis: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["row"]))[::-1]
    left = np.zeros(len(names))
    for status, colour in STATUS_COLOURS.items():
        part = rows[rows["part"] == status].set_index("row")["value"]
        values = part.loc[names].to_numpy(dtype=float)
        axis.barh(
            names, values, left=left, color=colour, edgecolor=NULL_GREY, label=STATUS_NAMES[status],
        )  # fmt: skip
        left = left + values
    axis.set_xlabel("Share of cells (site x class)")
    axis.set_xlim(0, 1)
    axis.set_yticks(range(len(names)), [_row_name(name) for name in names])


def _row_name(name: str) -> str:
    estimator, _, shape = name.partition(" / ")
    return f"{estimator.replace('_', ' ')}, {shape}" if shape else "all votes, both shapes"


def _metric_points(axis: Axes, rows: pd.DataFrame) -> None:
    for height, row in enumerate(rows.to_dict("records")[::-1]):
        axis.barh(
            height, row["null_high"] - row["null_low"], left=row["null_low"], height=0.6,
            color=NULL_GREY, alpha=0.35, label="null, 95%" if height == 0 else None,
        )  # fmt: skip
        colour = METRIC_COLOURS[row["row"]]
        axis.plot([row["low"], row["high"]], [height, height], color=colour)
        axis.plot(row["value"], height, "o", color=colour, markersize=9)
    names = [METRIC_NAMES[name].replace("-", "-\n") for name in rows["row"][::-1]]
    axis.set_yticks(range(len(names)), names)
    axis.axvline(0, color=NULL_GREY, linewidth=1)
    axis.set_xlabel("Spearman, mean over sites")


def plot_calibration(table: pd.DataFrame) -> Figure:
    """What every estimator reads on known spaces of the data's size and noise, and on the data."""
    names = [name for name in ESTIMATORS if name in set(table["estimator"])]
    figure, axes = _grid(names, len(SPACES))
    for axis, name in zip(axes, names, strict=False):
        rows = table[table["estimator"] == name]
        for height, (space, colour) in enumerate(zip(SPACES, SPACE_COLOURS, strict=True)):
            values = rows[rows["space"] == space]["value"].to_numpy(dtype=float)
            offsets = np.linspace(-0.25, 0.25, len(values))
            axis.plot(values, height + offsets, "o", color=colour, markersize=3, alpha=0.7)
            axis.plot([np.median(values)] * 2, [height - 0.4, height + 0.4], color=BLACK)
        for group, colour in CLASS_COLOURS.items():
            found = rows[(rows["space"] == "data") & (rows["class"] == group)]["value"]
            for value in found:
                axis.axvline(value, color=colour, label=f"data, {group}")
        axis.set_yticks(range(len(SPACES)), SPACES)
        axis.set_title(ESTIMATORS[name])
        axis.invert_yaxis()
    n, site = table["n"].min(), table["site"].iloc[0]
    finding = (
        f"The data at {site} beside flat, curved and tree-like samples of equal size and noise"
    )
    return _finished(figure, axes, f"{finding} (n = {n} states per class; bar: median)")


def plot_profile(table: pd.DataFrame) -> Figure:
    """Every estimator over depth, with both flat controls and the planted spaces."""
    names = [name for name in ESTIMATORS if name in set(table["estimator"])]
    figure, axes = _grid(names, 3)
    for axis, name in zip(axes, names, strict=False):
        rows = table[table["estimator"] == name]
        for group, colour in CLASS_COLOURS.items():
            _profile(axis, rows[rows["class"] == group].sort_values("depth"), group, colour)
        axis.set_title(ESTIMATORS[name])
        axis.set_xlabel("Depth (blocks)")
    judged = table[~table["estimator"].isin(["twonn", "sphere_radius", "hyperbolic_radius"])]
    inside = (judged["value"] >= judged["mixture_low"]) & (
        judged["value"] <= judged["mixture_high"]
    )
    finding = (
        f"{inside.mean():.0%} of the curvature readings lie inside the flat mixture's 95% band"
    )
    counts = sorted({int(n) for n in table["n"]})
    sizes = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    return _finished(figure, axes, f"{finding} (n = {sizes} states per point)")


def _profile(axis: Axes, rows: pd.DataFrame, group: str, colour: str) -> None:
    if rows.empty:
        return
    if len(rows) == 1:  # a band needs a width
        rows = pd.concat([rows.assign(depth=rows["depth"] + shift) for shift in (-0.5, 0.5)])
    depth = rows["depth"]
    hatch = {"harmful": "///", "harmless": "\\\\\\"}[group]
    axis.fill_between(
        depth, rows["null_low"], rows["null_high"], color=NULL_GREY, alpha=0.25, linewidth=0,
        label="null: rotated, 95%",
    )  # fmt: skip
    axis.fill_between(
        depth, rows["mixture_low"], rows["mixture_high"], facecolor="none", edgecolor=colour,
        alpha=0.5, hatch=hatch, linewidth=0, label=f"null: flat mixture, {group}",
    )  # fmt: skip
    below, above = rows["value"] - rows["low"], rows["high"] - rows["value"]
    axis.errorbar(
        depth, rows["value"], [below, above], color=colour, marker="o", elinewidth=1,
        label=f"data, {group}",
    )  # fmt: skip
    if group == "harmful":
        axis.plot(depth, rows["sphere"], "--", color=ORANGE, label="planted sphere")
        axis.plot(depth, rows["hyperbolic"], "--", color=SKY, label="planted hyperbolic")


def plot_metrics(table: pd.DataFrame) -> Figure:
    """Spearman of each metric over depth, per step of the segment and per comparison."""
    panels = list(table[["meaning", "step"]].drop_duplicates().itertuples(index=False, name=None))
    figure = NotebookFigure(figsize=(12, 7), layout="constrained")
    n_columns = max(1, -(-len(panels) // 2))
    axes = list(np.ravel(figure.subplots(2, n_columns, squeeze=False, sharey=True)))
    for axis, (meaning, step) in zip(axes, panels, strict=False):
        rows = table[(table["meaning"] == meaning) & (table["step"] == step)]
        for shift, (name, colour) in enumerate(METRIC_COLOURS.items()):
            _metric_line(axis, rows[rows["metric"] == name].sort_values("depth"), shift, colour)
        target = "output KL" if meaning == "output" else "refusal score"
        axis.set_title(f"{target}, {step}\n(n = {rows['n'].max()})")
        axis.set_xlabel("Depth (blocks)")
        axis.axhline(0, color=NULL_GREY, linewidth=1)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    axes[0].set_ylabel("Spearman")
    output = _means(table[table["meaning"] == "output"])
    refusal = _means(table[table["step"] == "both classes"])
    title = (
        f"Mean Spearman over sites: with output KL {output}; with the refusal score, both classes, "
        f"{refusal}"
    )
    return _finished(figure, axes, "\n".join(textwrap.wrap(title, 95)))


def _means(rows: pd.DataFrame) -> str:
    means = {name: rows[rows["metric"] == name]["value"].mean() for name in METRIC_COLOURS}
    return ", ".join(f"{METRIC_NAMES[name]} {value:.2f}" for name, value in means.items())


def _metric_line(axis: Axes, rows: pd.DataFrame, shift: int, colour: str) -> None:
    name = str(rows["metric"].iloc[0])
    depth = rows["depth"] + (shift - 1) * 0.15
    if name == "l2":
        axis.fill_between(
            depth, rows["null_low"], rows["null_high"], color=NULL_GREY, alpha=0.3, linewidth=0,
            label="null, 95%",
        )  # fmt: skip
    axis.errorbar(
        depth, rows["value"], [rows["value"] - rows["low"], rows["high"] - rows["value"]],
        color=colour, marker="o", elinewidth=1, label=METRIC_NAMES[name],
    )  # fmt: skip


def _grid(names: Sequence[str], height: float) -> tuple[Figure, list[Axes]]:
    figure = NotebookFigure(figsize=(13, 3 * max(3.0, height * 0.7) + 1), layout="constrained")
    axes = list(np.ravel(figure.subplots(-(-len(names) // 3), 3, squeeze=False)))
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    return figure, axes[: len(names)]


def _finished(figure: Figure, axes: Sequence[Axes], title: str) -> Figure:
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    figure.suptitle(textwrap.fill(title, 95))
    return figure
