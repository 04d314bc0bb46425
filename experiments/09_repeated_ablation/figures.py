"""Figures of experiment 09, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import LEFT

LABELS = {
    "base": "unedited", "weak": "weak direction", "strong": "strong direction",
    "random": "random directions", "mixed": "refuses, then answers",
    "reworded": "refuses in another way", "chinese": "turns to Chinese",
    "rounds": "several rounds, own words", "untouched": "the model as it is",
    **{f"control {i}": f"control: sentence {i + 1} alone" for i in range(3)},
}  # fmt: skip


def plot(result: Result) -> dict[str, Figure]:
    """Every figure that there is a table for."""
    drawing = {"answers": plot_answers, "loop": plot_loop}
    return {name: draw(result) for name, draw in drawing.items() if name in result.tables}


def plot_answers(result: Result) -> Figure:
    """Rates of mixed answers, other refusals and Chinese, by what is ablated."""
    table = result.tables["answers"]
    rate = table.set_index(["label", "group"])["value"]
    weak = "weak" if ("mixed", "weak") in rate.index else "strong"
    which = {"weak": "a weak", "strong": "the strong"}[weak]
    return plots.intervals(
        table, labels=LABELS, x_label="Share of the answers",
        title=f"Without {which} direction {rate['mixed', weak]:.0%} refuse and then answer,\n"
        f"without random ones {rate['mixed', 'random']:.0%}",
        caption=caption(result, f"n = {table.n.max()} harmful prompts; refusals of another kind: "
                        "of those refused either way; 95% intervals"),
    )  # fmt: skip


def plot_loop(result: Result) -> Figure:
    """Share refused over the number of directions ablated, one after another."""
    table = result.tables["loop"]
    n, most = table.n.max(), table.groupby("group").depth.max()
    if "rounds" in most.index:
        control = most.drop("rounds").max()
        title = (
            f"Rounds in words of their own take up to {most['rounds']} directions,\n"
            f"lessons in one sentence up to {control}"
        )
    else:
        left = table[table.depth == most["untouched"]].value.iloc[0]
        ablated = "one direction" if most["untouched"] == 1 else f"{most['untouched']} directions"
        title = f"With {ablated} ablated {left:.0%} are still refused"
    return plots.profiles(
        table, labels=LABELS, title=title, x_label="Directions ablated, one after another",
        y_labels="Share of harmful\nprompts refused", references=LEFT,
        caption=caption(result, f"n = {n} answers to harmful prompts; dotted: where the loop ends"),
    )  # fmt: skip
