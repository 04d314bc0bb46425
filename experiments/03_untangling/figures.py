"""Figures of experiment 03, each drawn from the table of its name."""

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
    wrong, last_wrong = ends(result, "errors", "linear")
    apart, last_apart = ends(result, "distances", "distance")
    turning, lengths = (ends(result, "decomposition", part)[1] for part in ("turning", "lengths"))
    dimension = result.tables["dimension"]
    times = (2 * dimension["value"] / (dimension["null_low"] + dimension["null_high"])).median()
    shown = {
        "errors": f"A line misplaces {wrong:.0%} of the twins first, {last_wrong:.0%} at the end",
        "distances": f"Twins lie {apart:.2f} norms apart at first, {last_apart:.2f} at the end",
        "decomposition": f"Directions make up {turning / (turning + lengths):.0%} of the squared "
        "distance of twins at the end",
        "dimension": f"The intrinsic dimension is {times:.2g} times that of Gaussian states",
    }
    return {name: over_depth(result, name, title) for name, title in shown.items()}


def ends(result: Result, name: str, line: str) -> tuple[float, float]:
    """Of the twins, one line's values at the first and at the last site."""
    rows = result.tables[name].query(f"panel == 'twins' and group == '{line}.trained'")
    return float(rows["value"].iloc[0]), float(rows["value"].iloc[-1])


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
