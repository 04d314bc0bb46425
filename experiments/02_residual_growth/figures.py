"""Figures of experiment 02, each drawn from the table of its name."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import GROWING, HALF, LAWS, N_LARGEST, RANK, TIMES_CHANCE

LABELS = {
    "all": "all dimensions",
    "without_largest": f"without the {N_LARGEST} largest",
    "odd": "odd layers",
    "even": "even layers (fitted on)",
    "attention": "attention",
    "mlp": "MLP",
    "shared": "shared subspace",
    "private": "subspace of one layer",
}
PLACE = "last token of the instruction"


def plot(result: Result) -> dict[str, Figure]:
    """One figure per step of the argument; no overlap where there are no output matrices."""
    makers = {"growth": growth, "steps": steps, "shared": shared, "overlap": overlap,
              "taken": taken}  # fmt: skip
    return {name: make(result) for name, make in makers.items() if name in result.tables}


def growth(result: Result) -> Figure:
    """Variance and norm after every block, with the laws fitted to the first two thirds."""
    table = result.tables["growth"]
    n_fitted = int(table["fitted"].max())
    held_out = table[(table["panel"] == GROWING[0]) & (table["depth"] > n_fitted)]
    logs = {law: np.log(of["value"].to_numpy()) for law, of in held_out.groupby("group")}
    errors = {law: np.sqrt(np.mean((logs[law] - logs["measured"]) ** 2)) for law in LAWS}
    best = min(LAWS, key=lambda law: errors[law])
    return plots.profiles(
        table,
        title=f"Of four laws the {best} one extrapolates the variance best, "
        f"to a factor of {np.exp(errors[best]):.2g}",
        caption=caption(result, PLACE, counts(result, "growth"), "bands: 95% over prompts",
                        f"laws fitted to blocks 1 to {n_fitted}, scored on the others"),
        y_labels=dict(zip(GROWING, ("Variance over prompts", "Mean norm"), strict=True)),
        x_label="After this many blocks",
        log=True,
    )  # fmt: skip


def steps(result: Result) -> Figure:
    """Length of what every layer adds."""
    table = result.tables["steps"]
    without = table[table["group"] == "without_largest"]["value"].to_numpy()
    ratio = np.percentile(without, 75) / np.percentile(without, 25)
    return plots.profiles(
        table,
        title=f"Without the {N_LARGEST} largest dimensions the quartiles of the steps differ by a "
        f"factor of {ratio:.2g}",
        caption=caption(result, PLACE, counts(result, "steps"), "bands: 95% over prompts"),
        y_labels="Mean length of the update",
        x_label="Layer",
        labels=LABELS,
        log=True,
    )


def shared(result: Result) -> Figure:
    """Share of every layer's own update that lies in the shared subspace."""
    table = result.tables["shared"]
    odd = np.median(table[table["group"] == "odd"]["value"].to_numpy())
    return plots.profiles(
        table,
        title=f"{RANK} directions of even layers hold {odd:.0%} of the update of a typical odd "
        "layer",
        caption=caption(result, PLACE, counts(result, "shared"),
                        "variance over prompts that the directions were not fitted on"),
        y_labels="Share of the update's variance",
        x_label="Layer",
        labels=LABELS,
        null_label="updates rotated, 95%",
    )  # fmt: skip


def overlap(result: Result) -> Figure:
    """Overlap of the output matrices' leading directions, between layers."""
    table = result.tables["overlap"]
    mean = {part: of["value"].mean() for part, of in table.groupby("panel")}
    return plots.matrix(
        table,
        title="Output matrices of two layers share "
        + " and ".join(f"{value:.2g} ({LABELS[str(part)]})" for part, value in mean.items())
        + " times as much as chance",
        caption=caption(result, f"{RANK} leading directions of each, without mean and the "
                        f"{N_LARGEST} largest dimensions", f"wanted: {TIMES_CHANCE}"),
        x_label="Layer",
        y_label="Layer",
        value_label="Overlap (times chance)",
        labels=LABELS,
        centre=None,
    )  # fmt: skip


def taken(result: Result) -> Figure:
    """Growth that is gone when a subspace is projected out of every write."""
    table = result.tables["taken"]
    gone = table[table["group"] == "shared"]["value"].iloc[0]
    return plots.intervals(
        table,
        title="Without the shared subspace "
        + (f"{gone:.0%} of the growth of variance is gone" if gone > 0 else "variance grows more"),
        caption=caption(result, PLACE, counts(result, "taken"), f"wanted: above {HALF} for the "
                        "shared, below for the others; 95% over prompts"),
        x_label="Growth taken away",
        labels=LABELS,
        limits=(min(0.0, table["low"].min()), 1.0),
    )  # fmt: skip


def counts(result: Result, name: str) -> str:
    """The number of prompts."""
    return f"n = {result.tables[name]['n'].iloc[0]} prompts"
