"""Figures of experiment 03, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import N_SHOTS

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
    lines = result.tables["errors"], result.tables["distances"], result.tables["decomposition"]
    ends = [one[one["panel"] == "twins"].groupby("group")["value"].agg(["first", "last"])
            for one in lines]  # fmt: skip
    wrong, apart, parts = (one.T for one in ends)
    last = parts.loc["last"]
    share = last["turning.trained"] / (last["turning.trained"] + last["lengths.trained"])
    table = result.tables["dimension"]
    gaussian = (table["value"] / (table["null_low"] + table["null_high"]) * 2).median()
    return {
        "errors": over_depth(
            result, "errors", "Share of errors,\n", f"learnt from {N_SHOTS} prompts per class",
            "A line misplaces {first:.0%} of the twins at first, {last:.0%} at the end".format(
                **wrong["linear.trained"]),
        ),
        "distances": over_depth(
            result, "distances", "Within a class,\n", "",
            "Twins of a class lie {first:.2f} norms apart at first, {last:.2f} at the end".format(
                **apart["distance.trained"]),
        ),
        "decomposition": over_depth(
            result, "decomposition", "Squared distance over\nsquared norm, ", "",
            f"Directions make up {share:.0%} of the squared distance of twins at the end",
        ),
        "dimension": over_depth(
            result, "dimension", "Dimension by ", "grey: Gaussian, same covariance and number",
            f"States have {gaussian:.2g} times the intrinsic dimension of Gaussian ones",
        ),
    }  # fmt: skip


def over_depth(result: Result, name: str, y_label: str, note: str, title: str) -> Figure:
    """The lines of a table, one panel above the other."""
    table = result.tables[name]
    numbers = " and ".join(str(n) for n in table["n"].unique())
    return plots.profiles(
        table,
        title=title,
        caption=caption(
            result, "last token of the instruction", f"n = {numbers} prompts per class", note
        ),
        y_labels={key: y_label + SETS.get(key, key) for key in table["panel"].unique()},
        labels=LABELS,
        null_label="Gaussian" if name == "dimension" else "permuted labels, 95%",
    )
