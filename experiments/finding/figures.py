"""Figures of `interp find`, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    return {"candidates": plot_candidates(result), "doses": plot_doses(result)}


def plot_candidates(result: Result) -> Figure:
    """Effect of every candidate over depth."""
    table = result.tables["candidates"]
    chosen = table[table.chosen].iloc[0]
    group = table.chosen.map({True: "chosen", False: "candidates"})
    return plots.points(
        table.assign(group=group).rename(columns={"depth": "x", "effect": "y"}),
        title=f"Of {len(table)} candidates the direction of {chosen.site} is taken",
        caption=caption(result, "mean of the fall when ablated and the rise when added"),
        reference=0.0, x_label="Depth the candidate is from (blocks)",
        y_label="Effect on the score (nats)",
    )  # fmt: skip


def plot_doses(result: Result) -> Figure:
    """The score and the damage over the coefficient."""
    table = result.tables["doses"]
    long = table.melt("coefficient", ["score", "kl"], "panel", "value")
    span = abs(table.score.iloc[-1] - table.score.iloc[0])
    return plots.profiles(
        long.rename(columns={"coefficient": "depth"}),
        title=f"From coefficient {table.coefficient.min():g} to {table.coefficient.max():g} "
        f"the score moves by {span:.2g} nats",
        caption=caption(result, "prompts that do not show the behaviour; KL on ordinary text"),
        x_label="Coefficient of the raw difference",
        y_labels={"score": "Score (nats)", "kl": "KL on text\n(nats per token)"},
    )
