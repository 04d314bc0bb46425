"""Figures of experiment 10, each drawn from the table of its name."""

from math import isfinite

from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from interp import plots

from .protocol import SAME, VARIED

LABELS = {
    "third": "at a third of the depth",
    "half": "at half of the depth",
    "common": "at the common site, two thirds",
    "control": f"{VARIED},\nother format",
    "layer": "other layers",
    "token": "other template tokens",
    "handful": "handfuls of prompts",
}


def plot(result: Result) -> dict[str, Figure]:
    """The gate, and every figure whose table there is."""
    drawing = {"behaviours": plot_behaviours, "cosines": plot_cosines, "effects": plot_effects,
               "variants": plot_variants}  # fmt: skip
    return {name: draw(result) for name, draw in drawing.items() if name in result.tables}


def plot_behaviours(result: Result) -> Figure:
    """How well every score tells prompts apart, and which behaviours count."""
    table = result.tables["behaviours"]
    n, shown = int((table.status == "counts").sum()), table.dropna(subset="validity")
    return plots.intervals(
        shown.rename(columns={"behaviour": "label", "status": "group", "validity": "value"}),
        title=f"{n} of {len(table)} behaviours pass every gate of the verdicts",
        caption=caption(result, "validation prompts; AUROC, of choices the share of questions"),
        x_label="How well the score tells\nprompts apart (.5: by chance)",
    )  # fmt: skip


def plot_cosines(result: Result) -> Figure:
    """Cosines of all directions, at three depths."""
    table = result.tables["cosines"]
    most, n = result["alike.largest"].value, table["row"].nunique()
    title = (
        f"Cosine of the two behaviours' directions that are most alike: {number(most)}"
        if isfinite(most)
        else f"Cosines of {n} directions, of which too few count for a verdict"
    )
    return plots.matrix(
        table.rename(columns={"where": "panel"}),
        title=title,
        caption=caption(result, "cosines without noise, a title's at the common site",
                        "diagonal: with as many other prompts"),
        x_label="", y_label="Direction of", value_label="Cosine", limits=(-1, 1), annotate=True,
        labels=LABELS,
    )  # fmt: skip


def plot_effects(result: Result) -> Figure:
    """What every direction does to every score."""
    table = result.tables["effects"]
    most = number(result["leak.largest"].value)
    return plots.matrix(
        table, title=f"The strongest other direction does {most} of what a behaviour's own does",
        caption=caption(result, "test prompts; at the common site, at equal length in a column",
                        "random: the limit that own effects are held against"),
        x_label="Score of", y_label="Direction of", value_label="Effect over that of the own one",
        limits=(-1, 1), annotate=True, labels=LABELS,
    )  # fmt: skip


def plot_variants(result: Result) -> Figure:
    """Effect over cosine of other directions of one behaviour."""
    table = result.tables["variants"]
    share = result["share"]
    return plots.points(
        table.rename(columns={"cosine": "x", "value": "y", "kind": "group"}),
        title=f"The cosine explains {number(share.value)} of what other {VARIED} directions do",
        caption=caption(result, f"n = {table.n.max()} test prompts", "95% over prompts",
                        f"at the common site; a cosine of {SAME} is 45 degrees"),
        x_label=f"Cosine with the {VARIED} direction\nof the common site",
        y_label="Effect on the\nscore (nats)", reference=0.0, labels=LABELS,
    )  # fmt: skip
