"""Figures of experiment 06, each drawn from the table of its name."""

import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import MAX_LEFT, MIN_R2

LABELS = {
    "all_but": "all but the source and its neighbours",
    "halves": "random halves of those",
    "second": "every second layer",
    "everywhere": "everywhere",
    "base": "unedited",
    "sources": "median over sources",
    "strongest": "strongest source",
    "addition": "added, rise on harmless prompts",
    "ablation": "ablated, fall on harmful prompts",
    "identity": "identity",
    "rotation": "rotation",
    "cka": "CKA (debiased)",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    drawing = (plot_sets, plot_singles, plot_profile, plot_cosines, plot_alignment, plot_rates)
    return {draw.__name__.removeprefix("plot_"): draw(result) for draw in drawing}


def plot_sets(result: Result) -> Figure:
    """Share of the gap left at sets that leave the source out, and at windows."""
    table = result.tables["sets"]
    left = table.set_index("label")["value"]
    return plots.intervals(
        table,
        title=f"Ablated away from its own layer, a direction leaves {left['all_but']:.2f} of the "
        f"gap, at every second layer {left['second']:.2f}",
        caption=caption(
            result, f"n = {int(table.n.max())} prompts", f"margin {MAX_LEFT}; 1: unedited",
            "windows: a quarter of the depth, away from the source",
        ),
        limits=None,
        null_label="random directions, 95%",
        x_label="Share left of the gap in refusal odds",
        labels=LABELS,
    )  # fmt: skip


def plot_singles(result: Result) -> Figure:
    """Effect of every direction at every single layer."""
    table = result.tables["singles"]
    table = table[table.kind != "random"]
    means = table.groupby("kind")["value"].mean()
    cells = table.assign(reached=table.value <= table.null)
    return plots.matrix(
        cells.rename(columns={"source": "row", "target": "column", "operator": "panel"}),
        title=f"At one layer, its own direction moves refusal by {means['own']:.1f} nats, "
        f"that of a far one by {means['far']:.1f}",
        caption=caption(
            result, f"n = {int(table.n.max())} prompts per cell",
            "grey: not measured, or a random direction does as much",
        ),
        x_label="Written at layer",
        y_label="Direction taken at layer",
        value_label="Change of the refusal odds (nats)",
        annotate=len(table) <= 120,
        labels=LABELS,
    )  # fmt: skip


def plot_profile(result: Result) -> Figure:
    """Fall of the odds by one direction, layer by layer, and the cosine of the class means."""
    table = result.tables["profile"]
    panels = {"effect": "Fall of the refusal\nodds (nats)", "cosine": "Cosine of the\nclass means"}
    long = table.melt(["layer", "n"], list(panels), "panel").rename(columns={"layer": "depth"})
    deepest = int(table.loc[table.effect.idxmax(), "layer"])
    return plots.profiles(
        long,
        title=f"Ablated at one layer, the strongest direction does most at layer {deepest}",
        caption=caption(
            result, f"n = {int(table.n.max())} harmful prompts",
            "without random directions: any edit may do more at some layers",
        ),
        y_labels=panels,
        x_label="Layer",
    )  # fmt: skip


def plot_cosines(result: Result) -> Figure:
    """Cosines between the layers' directions."""
    table = result.tables["cosines"]
    apart = (table["first"] - table["second"]).abs()
    near, far = (table.cosine[at].median() for at in (apart == 1, apart >= apart.max() / 3))
    return plots.matrix(
        table.rename(columns={"first": "row", "second": "column", "cosine": "value"}),
        title=f"Directions of neighbouring layers have a cosine of {near:.2f}, "
        f"of far ones {far:.2f}",
        caption=caption(result, "medians; far: a third of the depth or more"),
        x_label="Layer",
        y_label="Layer",
        value_label="Cosine",
        limits=(-1.0, 1.0),
        annotate=table["first"].nunique() <= 10,
    )


def plot_alignment(result: Result) -> Figure:
    """How far the identity and a rotation map one layer onto another, by distance."""
    table = result.tables["alignment"]
    means = table.groupby(["kind", "measure"])["value"].mean().unstack()
    found = (means.identity / means.rotation).round(2)
    return plots.profiles(
        table.rename(columns={"kind": "panel", "distance": "depth", "measure": "group"}),
        title=f"The identity explains {found['all']:.0%} of what a rotation does between layers, "
        f"{found['without']:.0%} without the largest dimensions",
        caption=caption(
            result, f"n = {int(table.n.max())} prompts", "mean and range over pairs of layers"
        ),
        y_labels={"all": "All dimensions", "without": "Without the\nlargest three"},
        x_label="Distance between layers (share of the depth)",
        references=MIN_R2,
        labels=LABELS,
    )


def plot_rates(result: Result) -> Figure:
    """Refusal rates of generated answers beside the odds."""
    table = result.tables["rates"]
    rate = table.set_index("condition")["value"]
    odds = [f"{LABELS[x]} {y:.1f}" for x, y in zip(table.condition, table.odds, strict=True)]
    return plots.intervals(
        pd.DataFrame(table).assign(label=table.condition, group=""),
        title=f"Answers that decline: {rate['base']:.0%} unedited, {rate['everywhere']:.0%} "
        f"ablated everywhere, {rate['all_but']:.0%} without the source",
        caption=caption(
            result, f"n = {int(table.n.max())} harmful prompts, Wilson 95%",
            f"direction of layer {table.source.iloc[0]}", f"mean odds in nats: {', '.join(odds)}",
        ),
        x_label="Share of answers that decline",
        labels=LABELS,
    )  # fmt: skip
