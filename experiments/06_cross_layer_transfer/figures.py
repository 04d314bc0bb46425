"""Figures of experiment 06, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import MIN_R2

LABELS = {
    "everywhere": "all layers",
    "all_but": "all but the source and its neighbours",
    "halves": "random halves of those",
    "second": "every second layer, not the source",
    "addition": "added, rise on harmless prompts",
    "ablation": "ablated, fall on harmful prompts",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    drawing = (plot_sets, plot_singles, plot_profile, plot_alignment)
    return {draw.__name__.removeprefix("plot_"): draw(result) for draw in drawing}


def plot_sets(result: Result) -> Figure:
    """What is taken beyond half of the gap, at sets that leave the source out and everywhere."""
    table = result.tables["sets"]
    gap = table.gap[0]
    taken = 0.5 * gap - table.set_index("label")["value"]
    title = f"The gap is {gap:.1f} nats; ablation away from the source takes {taken['all_but']:.1f}"
    title += f" nats, at every second layer {taken['second']:.1f}"
    notes = (
        f"n = {table.n.max()} prompts per class",
        "median over sources",
        "dotted: half of the gap is taken",
    )
    beyond = table.assign(value=-table.value, low=-table.high, high=-table.low)
    return plots.intervals(
        beyond, title=title, caption=caption(result, *notes), limits=None, labels=LABELS,
        x_label="Fall of the refusal log odds beyond half of the gap (nats)", reference=0.0,
    )  # fmt: skip


def plot_singles(result: Result) -> Figure:
    """Effect of every direction at every single layer."""
    table = result.tables["singles"]
    means = table.groupby(table.source == table.target)["value"].mean()
    own, far = means[True], means[False]
    title = f"At one layer, its own direction moves refusal by {own:.1f} nats, "
    title += f"that of a far one by {far:.1f}"
    notes = f"n = {table.n.max()} prompts", "grey: not measured, or a random direction does as much"
    return plots.matrix(
        table.rename(columns={"source": "row", "target": "column", "operator": "panel"}),
        title=title, caption=caption(result, *notes), annotate=len(table) <= 60, labels=LABELS,
        x_label="Written at layer", y_label="Direction taken at layer",
        value_label="Change of the refusal log odds (nats)",
    )  # fmt: skip


def plot_profile(result: Result) -> Figure:
    """Fall of the odds by one direction, layer by layer, and the cosine of the class means."""
    table = result.tables["profile"]
    panels = {"effect": "Fall of log odds\nover random (nats)", "cosine": "Cosine of the\nmeans"}
    deepest = table.loc[table.effect.idxmax(), "layer"]
    return plots.profiles(
        table.melt(["layer", "n"], list(panels), "panel").rename(columns={"layer": "depth"}),
        title=f"Ablated at one layer, the strongest direction does most at layer {deepest}",
        caption=caption(result, f"n = {table.n.max()} harmful prompts"),
        y_labels=panels, x_label="Layer",
    )  # fmt: skip


def plot_alignment(result: Result) -> Figure:
    """How far the identity and a rotation map one layer onto another, by distance."""
    table = result.tables["alignment"]
    far = table[table.distance == table.distance.max()].set_index(["measure", "kind"])["value"]
    found = far["identity"] / far["rotation"]
    title = f"Half of the depth apart, the identity explains {found['all']:.0%} of what a "
    title += f"rotation does, {found['without']:.0%} without the largest dimensions"
    return plots.profiles(
        table.rename(columns={"kind": "panel", "distance": "depth", "measure": "group"}),
        title=title,
        caption=caption(result, f"n = {table.n.max()} prompts", "mean and range over pairs"),
        y_labels={"all": "R² in all\ndimensions", "without": "R² without the\nlargest three"},
        x_label="Distance between layers (share of the depth)", references=MIN_R2,
    )  # fmt: skip
