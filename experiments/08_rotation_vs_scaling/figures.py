"""Figures of experiment 08, each drawn from the table of its name."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from interp import plots

CHANGE = "Change of the refusal\nlog odds (nats)"
LABELS = {
    "plain": "added",
    "kept": "added, old length kept",
    "longer": "twice as long",
    "beside": "beside other features",
    "rescaled": "half and twice as long",
    "isotropic": "turned, isotropic",
    "covariance_matched": "turned, as states differ",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    drawing = (plot_own_plane, plot_fixed_plane, plot_adding, plot_length, plot_competition)
    return {draw.__name__.removeprefix("plot_"): draw(result) for draw in drawing}


def below(result: Result, name: str, *notes: str) -> str:
    """The caption of a figure, with how many test prompts it shows."""
    n = result.tables[name].n.max()
    return caption(result, f"n = {n:.0f} test prompts per class", *notes)


def plot_own_plane(result: Result) -> Figure:
    """Odds over the angle in each state's own plane."""
    means = result.tables["own_plane"].groupby("angle").value.mean()
    near, far = means[means.index <= 180].max(), means[means.index > 180].max()
    title = f"Best of the angles that adding reaches: {number(near)} nats,\n" \
            f"best of the others: {number(far)}"  # fmt: skip
    note = "each state in its own plane; beyond 180 degrees its rest is reversed, out of reach"
    return around(result, "own_plane", title, note)


def plot_fixed_plane(result: Result) -> Figure:
    """Odds over the angle in the fixed plane, and in random ones."""
    table = result.tables["fixed_plane"]
    real = np.ptp(table[~table.null].groupby("angle").value.mean()) / 2
    null = table[table.null].groupby("group").value.agg(np.ptp).max() / 2
    title = f"Around the fixed plane refusal odds swing by ±{real:.1f} nats, around the " \
            f"strongest random one by ±{null:.1f}"  # fmt: skip
    note = "random planes, some with the direction: both classes, with the same length"
    return around(result, "fixed_plane", title, note)


def around(result: Result, name: str, title: str, note: str) -> Figure:
    """Odds over the angle."""
    return plots.angles(
        result.tables[name], title=title, caption=below(result, name, note), y_label=CHANGE,
        x_label="Angle from the direction (degrees)",
    )  # fmt: skip


def plot_adding(result: Result) -> Figure:
    """Addition, and the same turn at the old length."""
    table = result.tables["adding"]
    both = table.pivot_table(index=["stream", "depth"], columns="group", values="value")
    apart = number((both.plain - both.kept).abs().max())
    return plots.profiles(
        table, title=f"Adding and the turn that it amounts to are up to {apart} nats apart",
        caption=below(result, "adding"), y_labels="Refusal log odds (nats)", labels=LABELS,
        x_label="Added along the direction (median lengths of a state)",
    )  # fmt: skip


def plot_length(result: Result) -> Figure:
    """Rescaling beside turns of the same chord, by site."""
    table = result.tables["length"]
    means = table[table.depth < table.depth.max()].groupby("group").value.mean()
    least = number(min(means["isotropic"], means["covariance_matched"]))
    title = f"Half or twice the length changes the refusal odds by {number(means['rescaled'])} " \
            f"nats, random turns of that size by {least} or more"  # fmt: skip
    notes = "mean absolute change; the last point, after the last block, is a control"
    return plots.profiles(
        table, title=title, caption=below(result, "length", notes), y_labels=CHANGE, labels=LABELS
    )


def plot_competition(result: Result) -> Figure:
    """The gap between the classes, alone and beside other features."""
    table = result.tables["competition"]
    gap = table.set_index(["label", "group"]).value
    short, long = (number(gap[name, "beside"]) for name in ("as it is", "longer"))
    title = f"Beside other features {short} nats of the gap between the classes are left, of " \
            f"longer states {long}"  # fmt: skip
    return plots.intervals(
        table, title=title, caption=below(result, "competition"), limits=None, labels=LABELS,
        x_label="Refusal log odds, harmful minus harmless (nats)",
    )  # fmt: skip
