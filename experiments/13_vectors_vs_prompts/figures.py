"""Figures of experiment 13, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from interp import plots

LABELS = {
    "prompt": "steering sentence",
    "vector": "vector",
    "counter_prompts": "undone by prompts",
    "counter_vector": "undone by a vector",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    drawing = (plot_match, plot_left, plot_filler)
    return {draw.__name__.removeprefix("plot_"): draw(result) for draw in drawing}


def plot_match(result: Result) -> Figure:
    """Rise of the refusal odds against the KL of the next token, on validation prompts."""
    table = result.tables["match"]
    rises = table[table.null].effect
    low, high = (number(float(x)) for x in (rises.min(), rises.max()))
    rise = low if low == high else f"{low} to {high}"
    group = table.group.where(~table.null, "steering sentence")
    return plots.points(
        table.rename(columns={"damage": "x", "effect": "y"}).assign(group=group),
        title=f"Steering sentences raise the refusal odds by {rise} nats",
        caption=caption(result, "validation prompts", "by site: the vector at several doses"),
        x_label="KL of the next token (nats)", y_label="Rise of the refusal\nlog odds (nats)",
    )  # fmt: skip


def plot_left(result: Result) -> Figure:
    """Share of the rise that is left, per undoer and way."""
    table = result.tables["left"]
    left = table.groupby(["label", "group"])["value"].mean()
    prompts, vector = (
        " and ".join(f"{left[undone, way]:.0%}" for way in ("prompt", "vector"))
        for undone in ("counter_prompts", "counter_vector")
    )
    return plots.intervals(
        table, labels=LABELS, x_label="Share of the rise of the refusal log odds that is left",
        title=f"{unmatched(result)}Undone by prompts, {prompts} of a sentence's and\n"
        f"a vector's refusal are left; by a vector, {vector}",
        caption=caption(result, f"n = {table.n[0]} harmless questions"),
    )  # fmt: skip


def plot_filler(result: Result) -> Figure:
    """Share of the rise that is kept, over the length of the filler."""
    table = result.tables["filler"]
    longest = table.depth.max()
    kept = table[table.depth == longest].set_index("group")["value"]
    return plots.profiles(
        table, labels=LABELS, x_label="Tokens of ordinary text before the question",
        y_labels="Share of the rise of the\nrefusal log odds that is kept", references=1.0,
        title=f"{unmatched(result)}Behind {longest} tokens of text the vector\n"
        f"keeps {kept['vector']:.0%}, the sentence {kept['prompt']:.0%}",
        caption=caption(result, f"n = {table.n[0]} harmless questions"),
    )  # fmt: skip


def unmatched(result: Result) -> str:
    """That no sentence and vector match, if so: then nothing follows from what is shown."""
    return "" if result.tables["matches"].matched.any() else "Not matched! "
