"""Figures of experiment 03, each drawn from the table of its name."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import N_SHOTS

Y_LABELS = {
    "errors": f"Errors, {N_SHOTS} per class,\n",
    "distances": "Within a class,\n",
    "decomposition": "Squared distance,\n",
    "dimension": "Dimension by ",
}
SETS = {"contrast": "contrast set", "twins": "twins"}
KINDS = {
    "linear": "linear rule",
    "nearest": "nearest neighbour",
    "distance": "distance over norm",
    "cosine": "cosine",
    "turning": "by direction",
    "lengths": "by length",
}
LABELS = SETS | {f"{key}.trained": kind for key, kind in KINDS.items()}
LABELS |= {f"{key}.untrained": f"{kind}, random weights" for key, kind in KINDS.items()}


def plot(result: Result) -> dict[str, Figure]:
    """What each claim is about, over depth, and the intrinsic dimension."""
    errors, apart = line(result, "errors", "linear"), line(result, "distances", "distance")
    turning, lengths = (line(result, "decomposition", part) for part in ("turning", "lengths"))
    share = (turning / (turning + lengths)).min()
    dimension = result.tables["dimension"]
    times = (2 * dimension["value"] / (dimension["null_low"] + dimension["null_high"])).median()
    shown = {
        "errors": f"A line misplaces {errors[0]:.0%} of the twins at first, "
        f"{errors.min():.0%} at best, {errors[-1]:.0%} at the end",
        "distances": f"Twins lie {apart[0]:.2f} norms apart at first, {apart.max():.2f} at "
        f"most, {apart[-1]:.2f} at the end",
        "decomposition": f"At every depth directions make up {share:.0%} or more of the squared "
        "distance of twins",
        "dimension": f"The intrinsic dimension is {times:.2g} times that of Gaussian states",
    }
    return {name: over_depth(result, name, title) for name, title in shown.items()}


def line(result: Result, name: str, key: str) -> np.ndarray:
    """Of the twins, one line's values from the first site to the last."""
    rows = result.tables[name].query(f"panel == 'twins' and group == '{key}.trained'")
    return rows["value"].to_numpy()


def over_depth(result: Result, name: str, title: str) -> Figure:
    """The lines of a table, one panel above the other."""
    table = result.tables[name]
    n = " and ".join(str(n) for n in table["n"].unique())
    return plots.profiles(
        table,
        title=title,
        caption=caption(result, "last token of the instruction", f"n = {n} prompts per class"),
        y_labels={key: f"{Y_LABELS[name]}{SETS.get(key, key)}" for key in table["panel"].unique()},
        labels=LABELS,
        null_label="Gaussian, same covariance" if name == "dimension" else "permuted labels, 95%",
    )
