"""Figures of experiment 04, each drawn from the table of its name (up to a dot)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.lab.results import Result, caption
from interp import plots
from interp.plots.parts import add_legend, dot_handles, name_rows, stacked_axes
from interp.plots.style import (
    BLACK,
    FIXED_COLOURS,
    GREEN,
    NULL_GREY,
    ORANGE,
    SKY,
    VERMILLION,
    figure_style,
)

STATUSES = {
    "within": ("within the margin of flatness", GREEN),
    "inconclusive": ("no power, or neither", "#F2F2F2"),
    "outside": ("outside", VERMILLION),
}
METRICS = {"l2": "L2", "whitened": "whitened", "causal": "unembedding-weighted"}
MEANINGS = {"output": "orders changes\nof the output", "behaviour": "predicts refusal"}
DECIDING = {
    "delta_rel": "Gromov delta\n(relative)",
    "triangle_defect": "Triangle defect",
    "negative_share": "Negative\neigenvalue share",
}
OTHERS = {
    "fit_ratio": "Sphere against\nhyperbolic fit",
    "ollivier": "Ollivier-Ricci\ncurvature",
    "holonomy": "Holonomy\n(degrees)",
    "sphere_radius": "Best sphere\nradius",
    "hyperbolic_radius": "Best hyperbolic\nradius",
    "twonn": "TwoNN\ndimension",
}
SPACES = {
    "flat (rotated)": NULL_GREY,
    "flat (mixture)": NULL_GREY,
    "sphere": ORANGE,
    "hyperbolic": SKY,
    "tree": GREEN,
}
PLANTED = {"sphere": "planted sphere", "hyperbolic": "planted hyperbolic space"}


def plot(result: Result) -> dict[str, Figure]:
    """The answers, then the estimators on known spaces and over depth, those that decide first."""
    return {
        "meanings": plot_metrics_in_short(result),
        "meanings.manifold": plot_votes(result),
        "calibration": plot_calibration(result, DECIDING),
        "calibration.appendix": plot_calibration(result, OTHERS),
        "profile": plot_profile(result, DECIDING),
        "profile.appendix": plot_profile(result, OTHERS),
        "metrics": plot_metrics(result),
    }


def plot_metrics_in_short(result: Result) -> Figure:
    """How well each metric orders changes of the output, and predicts refusal."""
    table = result.tables["meanings"]
    rows = table[table["meaning"].isin(MEANINGS)]
    supported = set(rows.loc[rows["verdict"] == "supported", "meaning"])
    as_well = [MEANINGS[m].replace("\n", " ") for m in MEANINGS if m in supported]
    return plots.intervals(
        rows.rename(columns={"meaning": "label", "row": "group"}),
        limits=None,
        title=f"L2 distance {' and '.join(as_well)} as well as others"
        if as_well
        else "L2 distance is not shown to do as well as other metrics",
        caption=caption(
            result, f"n = {int(rows['n'].max())} segments or prompts", "mean over sites"
        ),
        x_label="Spearman correlation",
        labels={**METRICS, **MEANINGS},
    )


def plot_votes(result: Result) -> Figure:
    """The share of cells that each estimator finds flat, not flat, or cannot tell."""
    table = result.tables["meanings"]
    rows = table[table["meaning"] == "manifold"]
    names = list(dict.fromkeys(rows["row"]))
    shares = rows.pivot(index="row", columns="part", values="value").loc[names]
    with figure_style():
        flat = shares["within"].iloc[0]
        figure, (axis,) = stacked_axes(
            f"The estimators together find {flat:.0%} of the cells flat",
            caption(result, f"a cell is a site and a class, n = {int(rows['n'].max())}"),
            1,
            2.2 + 0.34 * len(names),
        )
        left = np.zeros(len(names))
        for status, (_, colour) in STATUSES.items():
            width = shares[status].to_numpy(np.float64)
            axis.barh(range(len(names)), width, left=left, color=colour, edgecolor=NULL_GREY)
            left = left + width
        name_rows(axis, [name.replace("_", " ").replace(" / ", ", ") for name in names])
        axis.set(xlabel="Share of cells", xlim=(0, 1))
        add_legend(figure, {text: Patch(color=colour) for text, colour in STATUSES.values()})
    return figure


def plot_calibration(result: Result, names: dict[str, str]) -> Figure:
    """What estimators read on known spaces of the data's size and noise, and on the data."""
    table = result.tables["calibration"]
    shown = [name for name in names if name in set(table["estimator"])]
    with figure_style():
        figure, axes = stacked_axes(
            "What the estimators read on known spaces, and on the data",
            caption(
                result,
                f"states of {table['site'].iloc[0]}, n = {int(table['n'].min())} per class",
                "spaces of equal size and noise; bars: medians; lines: the data",
            ),
            len(shown),
            1.4 + 2.1 * len(shown),
        )
        for axis, name in zip(axes, shown, strict=True):
            _spaces(axis, table[table["estimator"] == name])
            axis.set(xlabel=names[name].replace("\n", " "))
        add_legend(figure, dot_handles({c: FIXED_COLOURS[c] for c in ("harmful", "harmless")}, {}))
    return figure


def _spaces(axis: Axes, rows: pd.DataFrame) -> None:
    for height, (space, colour) in enumerate(SPACES.items()):
        values = rows[rows["space"] == space]["value"].to_numpy(np.float64)
        if len(values):
            offsets = np.linspace(-0.25, 0.25, len(values))
            axis.plot(values, height + offsets, ".", color=colour, alpha=0.7)
            axis.plot([np.median(values)] * 2, [height - 0.4, height + 0.4], color=BLACK)
    for group, found in rows[rows["space"] == "data"].groupby("class"):
        for value in found["value"]:
            axis.axvline(value, color=FIXED_COLOURS[str(group)])
    name_rows(axis, list(SPACES))


def plot_profile(result: Result, names: dict[str, str]) -> Figure:
    """Estimators over depth, with the flat controls and the planted spaces."""
    table = result.tables["profile"]
    shown = {name: label for name, label in names.items() if name in set(table["estimator"])}
    table = table[table["estimator"].isin(shown)].rename(columns={"estimator": "panel"})
    inside = table["value"].between(table["mixture_low"], table["mixture_high"])
    controls = table.assign(
        group=table["class"],
        null_low=table[["null_low", "mixture_low"]].min(axis=1),
        null_high=table[["null_high", "mixture_high"]].max(axis=1),
    )
    harmful = table[table["class"] == "harmful"][["panel", "depth", *PLANTED]]
    planted = [
        harmful.rename(columns={space: "value"})[["panel", "depth", "value"]].assign(group=text)
        for space, text in PLANTED.items()
    ]
    return plots.profiles(
        pd.concat([controls, *planted], ignore_index=True),
        title=f"{inside.mean():.0%} of the readings lie where a flat mixture would",
        caption=caption(
            result,
            f"n = {_range(table['n'])} states per point",
            "grey: 95% of both flat controls, rotated and mixture",
        ),
        y_labels=shown,
        null_label="flat controls",
    )


def plot_metrics(result: Result) -> Figure:
    """Spearman of each metric over depth, per step of the segment and per comparison."""
    table = result.tables["metrics"]
    names = {"output": "output KL", "behaviour": "refusal"}
    table = table.assign(panel=table["meaning"].map(names) + ",\n" + table["step"])
    output = table[table["meaning"] == "output"].groupby("metric")["value"].mean()
    return plots.profiles(
        table.rename(columns={"metric": "group"}).assign(
            null_low=table["null_low"].where(table["metric"] == "l2"),
            null_high=table["null_high"].where(table["metric"] == "l2"),
        ),
        title=f"L2 orders output KL with a Spearman of {output['l2']:.2f}, whitened distance with "
        f"{output['whitened']:.2f}",
        caption=caption(result, "mean over sites", f"n = {_range(table['n'])}"),
        y_labels={panel: f"Spearman,\n{panel}" for panel in dict.fromkeys(table["panel"])},
        labels=METRICS,
    )


def _range(counts: Sequence[float] | pd.Series) -> str:
    low, high = int(min(counts)), int(max(counts))
    return str(low) if low == high else f"{low} to {high}"
