"""Figures of experiment 07, each drawn from the table of its name."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import SHARE

WAYS = {
    "raw": "notes' ordering",
    "over_norm": "notes' ordering, variances over squared norm",
    "cosine": "lowest cosine",
    "random": "mean of all layers",
    "depth.0": "first candidate",
    "depth.0.6": "at .6 of the depth",
    "depth.1": "last candidate",
}
SHORT = {
    "raw": "raw",
    "over_norm": "over norm",
    "cosine": "cosine",
    "depth.0": "first",
    "depth.0.6": ".6",
    "depth.1": "last",
}
KINDS = {"steered": "steering", "classified": "classification"}
PANELS = {
    "mean_variance": "Mean\nvariance",
    "mean_variance/norm": "Mean variance /\nsquared norm",
    "cosine": "Cosine of\nclass means",
    "steered share": "Share of the\nbest effect",
    "classified": "Accuracy",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure whose table there is."""
    drawing = [plot_shares, plot_layers]
    drawing += [plot_picks] if "picks" in result.tables else []
    return {draw.__name__.removeprefix("plot_"): draw(result) for draw in drawing}


def plot_shares(result: Result) -> Figure:
    """Share of the best layer's effect by every way to pick."""
    table = result.tables["shares"]
    shown = table.loc[table["way"].isin(WAYS)]
    shown = shown.assign(label=shown["way"], group=shown["kind"])
    found = shown.loc[shown["group"] == "steered"].set_index("label")["value"]
    if found.isna().all():
        title = "Too few behaviours can be steered to say which layer is best"
    else:
        title = (
            f"Of the best layer's steering the notes' ordering picks {found['raw']:.0%}, over the "
            f"norm {found['over_norm']:.0%}; a random layer has {found['random']:.0%}"
        )
    counts = shown.groupby("group").n.max()
    return plots.intervals(
        shown.sort_values("label", key=lambda names: names.map(list(WAYS).index)), title=title,
        caption=caption(result, f"n = {counts['steered']} behaviours steered, "
                        f"{counts['classified']} classified", "95% hierarchical bootstrap"),
        x_label="Share of the best layer's effect", labels=WAYS | KINDS, limits=(0.0, 1.2),
    )  # fmt: skip


def plot_layers(result: Result) -> Figure:
    """Statistics and effects over depth."""
    table = result.tables["layers"]
    empty = set(table.columns[table.isna().all()])
    panels = {name: words for name, words in PANELS.items() if name not in empty}
    long = table.melt(["behaviour", "depth"], list(panels), "panel", "value").dropna()
    ends = table.groupby("behaviour").mean_variance.agg(["first", "last"])
    times = float(np.exp(np.log(ends["last"] / ends["first"]).mean()))
    return plots.profiles(
        long.rename(columns={"behaviour": "group"}),
        title=f"From the first to the last candidate the raw variance grows {times:,.0f}-fold",
        caption=caption(result, f"steering: ablated everywhere, or {SHARE} of the norm added; mean "
                        "of what leaves text whole at a layer"),
        y_labels=panels, log=("mean_variance", "mean_variance/norm"),
    )  # fmt: skip


def plot_picks(result: Result) -> Figure:
    """What every pick is worth, by behaviour and effect."""
    table = result.tables["picks"]
    shown = table.loc[table["way"].isin(WAYS)]
    rows = shown["behaviour"] + ", " + shown["effect"]
    sites = shown.assign(row=rows).pivot(index="row", columns="way", values="site")
    first = int((sites["raw"] == sites["depth.0"]).sum())
    columns = shown["way"].map(SHORT)
    return plots.matrix(
        pd.DataFrame({"row": rows, "column": columns, "value": shown["share"]}),
        title=f"The raw ordering picks the first candidate {first} times of {len(sites)}",
        caption=caption(result, "1: as good as the best layer on other prompts"),
        x_label="Picked by", y_label="", value_label="Share of the best layer's effect",
        centre=None, limits=(0.0, 1.0), annotate=True,
    )  # fmt: skip
