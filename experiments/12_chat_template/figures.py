"""Figures of experiment 12, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

LABELS = {
    "template": "chat template",
    "none": "bare prompt",
    "newline": "prompt and newline",
    "harmful": "harmful prompts",
    "harmless": "harmless prompts",
    "own": "the tuned model's direction",
    "before": "the base's direction",
    "ablated": "ablated in the tuned model (fall on harmful)",
    "added": "added in the tuned model (rise on harmless)",
    "added to the base": "added in the base (rise on harmless)",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure that this kind of model has a table for."""
    drawing = {"refusing": plot_refusing, "effects": plot_effects, "tuning": plot_tuning}
    return {name: draw(result) for name, draw in drawing.items() if name in result.tables}


def plot_refusing(result: Result) -> Figure:
    """Refusal rates by style."""
    table = result.tables["refusing"]
    found = table[table.group == "harmful"].set_index("label")["value"]
    title = f"Harmful prompts refused: {found['template']:.0%} with the template, "
    title += f"{found['newline']:.0%} with a newline, {found['none']:.0%} bare"
    return plots.intervals(
        table, title=title, labels=LABELS, x_label="Share of answers that decline",
        caption=caption(result, f"n = {table.n.min()} train prompts per class", "Wilson 95%"),
    )  # fmt: skip


def plot_effects(result: Result) -> Figure:
    """Effects of every style's direction."""
    table = result.tables["effects"].assign(group=lambda t: [f"used in: {x}" for x in t.group])
    found = result.tables["effects"].set_index(["group", "label"])["value"]["template"]
    title = f"Used in the template, its own direction takes {found['template']:.1f} nats, that\n"
    title += f"of a newline {found['newline']:.1f}, that of bare prompts {found['none']:.1f}"
    used = {f"used in: {x}": f"used in: {LABELS[x]}" for x in result.tables["effects"].group}
    return plots.intervals(
        table, title=title, labels=LABELS | used, limits=None, null_label="random directions, 95%",
        x_label="Fall of the refusal odds, direction ablated (nats)",
        caption=caption(result, "rows: where the direction is taken",
                        f"n = {table.n.max()} harmful test prompts"),
    )  # fmt: skip


def plot_tuning(result: Result) -> Figure:
    """What the directions of the tuned model and of the base do, in both."""
    table = result.tables["tuning"]
    found = table[table.label == "ablated"].set_index("group")["value"]
    title = f"Tuned to refuse, a model's own direction takes {found['own']:.1f} nats,\n"
    title += f"the one that it had before {found['before']:.1f}"
    return plots.intervals(
        table, title=title, labels=LABELS, limits=None,
        x_label="Change of the refusal odds (nats)",
        caption=caption(result, f"n = {table.n.max()} test prompts per class"),
    )  # fmt: skip
