"""Figures of experiment 04, each drawn from the table of its name."""

import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import CURVED

METRICS = {"l2": "L2", "whitened": "whitened", "causal": "unembedding-weighted"}
MEANINGS = {"output": "orders changes of the output", "behaviour": "predicts refusal odds"}
ESTIMATORS = {
    "triangle_defect": "Triangle defect\nover flat controls",
    "negative_share": "Negative eigenvalue\nshare over controls",
}
PLANTED = {"sphere": "planted sphere", "hyperbolic": "planted hyperbolic plane"}


def plot(result: Result) -> dict[str, Figure]:
    """Curvature over depth, and the metrics in short."""
    return {"excess": plot_excess(result), "metrics": plot_metrics(result)}


def plot_excess(result: Result) -> Figure:
    """Both estimators over depth, with flat controls and planted surfaces."""
    table = result.tables["excess"].rename(columns={"estimator": "panel"})
    defect = table[table["panel"] == "triangle_defect"]
    flat = ((defect["low"] > -CURVED) & (defect["high"] < CURVED)).mean()
    beyond = ((defect["low"] > CURVED) | (defect["high"] < -CURVED)).mean()
    means = pd.DataFrame(table.groupby(["panel", "depth"])[[*PLANTED]].mean()).reset_index()
    planted = [means.assign(value=means[shape], group=text) for shape, text in PLANTED.items()]
    bound = [
        planted[0][planted[0]["panel"] == "triangle_defect"].assign(value=sign * CURVED, group=text)
        for sign, text in ((1, "bound, sphere"), (-1, "bound, hyperbolic"))
    ]
    return plots.profiles(
        pd.concat([table.assign(group=table["class"]), *planted, *bound], ignore_index=True),
        title=f"{flat:.0%} of the samples are as flat as the bound asks, {beyond:.0%} are curved",
        caption=caption(
            result,
            f"n \N{GREATER-THAN OR EQUAL TO} {table['n'].min()} states of a class at a site",
            "only the triangle defect decides",
        ),
        y_labels=ESTIMATORS,
        null_label="flat controls, 95%",
        references=0.0,
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
        caption=caption(result, f"n = {segments} segments, {prompts} prompts"),
        x_label="Spearman correlation, within a base prompt or a class",
        null_label="shuffled, 95%",
        labels={**METRICS, **MEANINGS},
    )
