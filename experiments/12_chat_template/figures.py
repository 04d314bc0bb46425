"""Figures of experiment 12, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

LABELS = {
    "template": "chat template",
    "none": "bare prompt",
    "newline": "prompt and newline",
    "base": "base model",
    "tuned": "tuned to refuse",
    "harmful": "harmful prompts",
    "harmless": "harmless prompts",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    return {"refusing": plot_refusing(result), "effects": plot_effects(result)}


def plot_refusing(result: Result) -> Figure:
    """Refusal rates by style, or of the base and the tuned model."""
    table = result.tables["refusing"]
    found = table[table.group == "harmful"].set_index("label")["value"]
    parts = ", ".join(f"{value:.0%} ({LABELS[str(name)]})" for name, value in found.items())
    return plots.intervals(
        table, title=f"Harmful prompts refused:\n{parts}", labels=LABELS,
        x_label="Share of answers that decline",
        caption=caption(result, f"n = {table.n.min()} or more prompts per class", "Wilson 95%"),
    )  # fmt: skip


def plot_effects(result: Result) -> Figure:
    """Effects of every direction, where it is used."""
    table = result.tables["effects"]
    used = {name: f"used in: {LABELS[name]}" for name in table.group}
    where = table.group.iloc[0]
    found = table[table.group == where].set_index("label")["value"]
    parts = ", ".join(f"{value:.1f} ({LABELS[str(name)]})" for name, value in found.items())
    return plots.intervals(
        table.assign(group=table.group.map(used)), labels=LABELS, limits=None,
        title=f"Nats that directions take from refusal ({used[where]}):\n{parts}",
        null_label="random directions, 95%",
        x_label="Fall of the refusal log odds, direction ablated (nats)",
        caption=caption(result, "rows: where the direction is taken",
                        f"n = {table.n.max()} harmful test prompts"),
    )  # fmt: skip
