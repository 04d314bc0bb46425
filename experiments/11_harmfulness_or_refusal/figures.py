"""Figures of experiment 11, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

LABELS = {
    "instruction": "last token of the instruction",
    "template": "last token of the template",
    "harm": "harmfulness",
    "refusal": "refusal",
    "harmful": "harmful requests",
    "harmless": "harmless requests",
    "odds": "refuses",
    "inversion": "says that it is harmful",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure; steering only where something was steered."""
    found = {"effects": plot_effects(result), "inversion": plot_inversion(result)}
    return found | ({"steering": plot_steering(result)} if "steering" in result.tables else {})


def plot_effects(result: Result) -> Figure:
    """Partial effects at both positions."""
    table = result.tables["effects"]
    value = table.set_index(["label", "group"])["value"]
    first, last = (value["instruction"], value["template"])
    return plots.intervals(
        table, limits=None, labels=LABELS,
        title="From instruction to template, refusal goes from "
        f"{first['refusal']:.2f} to {last['refusal']:.2f},\nharmfulness {first['harm']:.2f} to "
        f"{last['harm']:.2f}",
        caption=caption(result, f"n = {table.n[0]} clusters of prompts", "partial effects on the "
                        "projection, each with the other held fixed"),
        x_label="Partial effect (standard deviations)",
    )  # fmt: skip


def plot_inversion(result: Result) -> Figure:
    """Accuracy of the word on harm, per class."""
    table = result.tables["inversion"]
    harmful, harmless = table.value
    return plots.intervals(
        table.assign(group="share that it judges rightly"),
        title=f"Asked for one word, the model judges {harmful:.0%} of harmful\nand {harmless:.0%} "
        "of harmless requests rightly",
        caption=caption(result, f"n = {table.n[0]} test prompts per class", "Wilson 95%"),
        x_label="Share judged rightly", labels=LABELS,
    )  # fmt: skip


def plot_steering(result: Result) -> Figure:
    """What each direction moves."""
    table = result.tables["steering"]
    value = table.set_index(["label", "group"])["value"]["inversion"]
    return plots.intervals(
        table, limits=None, labels=LABELS,
        title="The word on harm moves by "
        f"{value['harm']:.2f} of the gap under the harmfulness\ndirection, by "
        f"{value['refusal']:.2f} under the refusal direction",
        caption=caption(result, f"n = {table.n[0]} harmless test prompts"),
        x_label="Rise over the gap between harmful and harmless requests",
    )  # fmt: skip
