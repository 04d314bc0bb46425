"""Figures of experiment 04, each drawn from the table of its name."""

import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import CURVED, DEPTHS

METRICS = {"l2": "L2", "whitened": "whitened", "causal": "unembedding-weighted"}
MEANINGS = {"output": "orders changes of the output", "behaviour": "predicts refusal odds"}
THIRDS = {name: f"{name} third" for name in DEPTHS}
PLANTED = {"sphere": "planted sphere", "hyperbolic": "planted hyperbolic"}


def plot(result: Result) -> dict[str, Figure]:
    """Curvature at every place, and the metrics."""
    return {"excess": plot_excess(result), "metrics": plot_metrics(result)}


def plot_excess(result: Result) -> Figure:
    """The excess over depth, beside that of planted surfaces; the margin is grey."""
    table = result.tables["excess"].assign(null_low=-CURVED, null_high=CURVED)
    planted = table[["label", *PLANTED]].melt("label", var_name="group")
    planted = planted.groupby(["label", "group"], sort=False).mean().reset_index()
    return plots.intervals(
        pd.concat([table, planted], ignore_index=True),
        limits=None,
        title="Triangle defects of last-token states lie, on average,\n"
        f"{result['curvature'].value:.3f} outside what flat controls give",
        caption=caption(result, f"n = {table['n'].min()} states of a class"),
        x_label="Triangle defect beyond flat controls",
        null_label=f"counts as flat (within {CURVED:g})",
        labels={**THIRDS, **PLANTED},
    )


def plot_metrics(result: Result) -> Figure:
    """How well each metric orders the output, and predicts refusal."""
    table = result.tables["metrics"]
    value = table.set_index(["label", "group"])["value"]
    segments, prompts = (table.loc[table["label"] == label, "n"].max() for label in MEANINGS)
    return plots.intervals(
        table,
        limits=None,
        title=f"L2 orders the output with a Spearman of {value['output', 'l2']:.2f}, "
        f"refusal with {value['behaviour', 'l2']:.2f}",
        caption=caption(result, f"n = {segments} segments, {prompts} harmful prompts"),
        x_label="Spearman correlation, within a base prompt or harmful prompts",
        null_label="shuffled, 95%",
        labels={**METRICS, **MEANINGS},
    )
