"""Figures of experiment 01, each drawn from the table of its name (up to a dot)."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import N_LARGEST

NOTES = {
    "cosine": "Cosine of\nclass means",
    "mean_variance": "Mean variance\nover features",
    "max_variance": "Largest variance\nof a feature",
}
GROWTH = {**NOTES, "share": "Variance / mean\nsquared norm"}
WHERE = {
    "profiles": "last token",
    "instruction": "last token of the instruction",
    "without_largest": f"last token, without the {N_LARGEST} largest dimensions",
}
LABELS = {
    "both": "between classes",
    "all": "all dimensions",
    "without_largest": f"without the {N_LARGEST} largest",
    "pre": "before the attention (pre)",
    "mid": "before the MLP (mid)",
    "topics": "harmless topics",
    "untrained": "random weights",
    "harmful": "harmful",
}
PERMUTED = "permuted labels, 95%"
PLACES = {"last": "last token", "last_instruction": "end of instruction"}


def plot(result: Result) -> dict[str, Figure]:
    """The notes' graphs, the same on logarithmic axes, and what they hide."""
    shown = {name: plot_profiles(result, name) for name in WHERE}
    shown |= {f"{name}.log": plot_profiles(result, name, log=True) for name in WHERE}
    return shown | {"excess": plot_excess(result), "common_mean": plot_common_mean(result)}


def plot_profiles(result: Result, name: str, *, log: bool = False) -> Figure:
    """The notes' graphs ; with `log`, beside the share of the squared norm that varies."""
    table = result.tables[name]
    values = table[table["panel"] == ("share" if log else "cosine")].groupby("depth")["value"]
    ends, lowest = values.mean().dropna().iloc[[0, -1]], values.min()
    title = (
        f"The share of the squared norm that varies ends {ends.iloc[1] / ends.iloc[0]:.3g} times "
        "as large as it begins"
        if log
        else f"The class means are least alike at a depth of {lowest.idxmin():g} blocks, "
        f"with a cosine of {lowest.min():.3f}"
    )
    return plots.profiles(
        table,
        title=title,
        caption=caption(result, WHERE[name], counts(result, name)),
        y_labels=GROWTH if log else NOTES,
        labels=LABELS,
        null_label=PERMUTED,
        log=("mean_variance", "max_variance", "share") if log else (),
    )


def plot_excess(result: Result) -> Figure:
    """Excess of 1 - cosine of harmful against harmless, and of the controls."""
    table = result.tables["excess"]
    at_end = table[table["panel"] == "last_instruction"]
    peaks = (at_end.loc[at_end["group"] == group, "value"] for group in ("harmful", "topics"))
    harmful, topics = (float(peak.max()) for peak in peaks)
    times = harmful / topics if topics > 0 else np.inf
    return plots.profiles(
        table,
        title="At the end of the instruction harmful and harmless prompts part "
        f"{times:.1f} times as far as two harmless topics",
        caption=caption(
            result,
            f"without the {N_LARGEST} largest dimensions; the most parted pair of topics",
            "times: of the largest excess",
            counts(result, "excess"),
        ),
        y_labels={
            name: f"Excess of 1 \N{MINUS SIGN} cosine\nat {place}" for name, place in PLACES.items()
        },
        labels=LABELS,
        references=0.0,
    )


def plot_common_mean(result: Result) -> Figure:
    """Cosine without the common mean, with and without the largest dimensions."""
    table = result.tables["common_mean"]
    lowest = table.loc[table["value"].idxmin()]
    way = "opposite ways" if lowest["value"] < 0 else "the same way"
    return plots.profiles(
        table,
        title=f"Without their common mean the class means point {way}, "
        f"with a cosine down to {lowest['value']:.2f}",
        caption=caption(result, counts(result, "common_mean"), "dotted: opposite means"),
        y_labels={name: f"Cosine at\n{place}" for name, place in PLACES.items()},
        labels=LABELS,
        null_label=PERMUTED,
        references=-1.0,
    )


def counts(result: Result, name: str) -> str:
    """The number of prompts."""
    first = result.tables[name].iloc[0]
    return f"n = {first['n_harmful']} harmful, {first['n_harmless']} harmless prompts"
