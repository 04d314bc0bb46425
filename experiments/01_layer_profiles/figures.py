"""Figures of experiment 01, each drawn from the table of its name (up to a dot)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from interp import geometry, plots

from .measure import FORMS
from .protocol import CLASSES, N_LARGEST, SIGNIFICANCE

NOTES = {
    "cosine": "Cosine of\nclass means",
    "mean_variance": "Mean variance\nover features",
    "max_variance": "Largest variance\nof a feature",
}
GROWTH = {**NOTES, "share": "Variance / mean\nsquared norm"}
LABELS = {
    "both": "between classes",
    "all": "all dimensions",
    "without_largest": f"without the {N_LARGEST} largest",
    "pre": "before the attention (pre)",
    "mid": "before the MLP (mid)",
}
PERMUTED = "permuted labels, 95%"


def plot(result: Result) -> dict[str, Figure]:
    """The notes' graphs, the same on logarithmic axes, and what they hide."""
    return {
        "profiles": plot_profiles(result, "profiles"),
        "profiles.log": plot_growth(result, "profiles"),
        "without_largest": plot_profiles(result, "without_largest"),
        "without_largest.log": plot_growth(result, "without_largest"),
        "permutation": plot_excess(result),
        "separation": plot_separation(result),
    }


def plot_profiles(result: Result, name: str) -> Figure:
    """The three graphs of the notes: cosine, mean and largest variance over depth."""
    table = result.tables[name]
    cosine = table[table["panel"] == "cosine"]
    lowest = cosine.loc[cosine["value"].idxmin()]
    return plots.profiles(
        table,
        title=f"The class means are least alike at a depth of {lowest['depth']:g} blocks, "
        f"with a cosine of {lowest['value']:.3f}",
        caption=caption(result, *notes(table, name)),
        y_labels=NOTES,
        labels=LABELS,
        null_label=PERMUTED,
    )


def plot_growth(result: Result, name: str) -> Figure:
    """The same with logarithmic variances, and the share of the squared norm that varies."""
    table = result.tables[name]
    rates = [growth(table, group) for group in CLASSES]
    faster = "faster than" if min(rates) > 0 else "slower than" if max(rates) < 0 else "about as"
    return plots.profiles(
        table,
        title=f"The variance grows {faster} the squared norm",
        caption=caption(
            result,
            *notes(table, name),
            "change of the variance over the mean squared norm per block: "
            + ", ".join(
                f"{rate:+.0%} ({group})" for rate, group in zip(rates, CLASSES, strict=True)
            ),
        ),
        y_labels=GROWTH,
        labels=LABELS,
        null_label=PERMUTED,
        log=("mean_variance", "max_variance", "share"),
    )


def growth(table: pd.DataFrame, group: str) -> float:
    """Growth per block of a class's share, from the slope of its logarithm."""
    rows = table[(table["panel"] == "share") & (table["group"] == group)].dropna(subset=["value"])
    return float(np.expm1(geometry.log_slope(rows["value"].to_numpy(), rows["depth"].to_numpy())))


def notes(table: pd.DataFrame, name: str = "") -> list[str]:
    """What the captions share: the dimensions left out, and the number of prompts."""
    first = table.iloc[0]
    left_out = f"without the {N_LARGEST} largest dimensions" if name == "without_largest" else ""
    return [left_out, f"n = {first['n_harmful']} harmful, {first['n_harmless']} harmless prompts"]


def plot_excess(result: Result) -> Figure:
    """Excess of 1 - cosine against its null."""
    table = result.tables["permutation"]
    beyond = {form: int(rows["p"].lt(SIGNIFICANCE).sum()) for form, rows in table.groupby("panel")}
    total = table["site"].nunique()
    return plots.profiles(
        table,
        title=f"The class means differ more than by chance at {beyond['all']} of {total} sites",
        caption=caption(
            result,
            *notes(table),
            f"{beyond['without_largest']} sites without the {N_LARGEST} largest dimensions",
            f"dotted: {SIGNIFICANCE:.0%} level over all sites",
        ),
        y_labels={
            "all": "Excess of 1 \N{MINUS SIGN} cosine,\nall dimensions",
            "without_largest": f"Excess of 1 \N{MINUS SIGN} cosine,\nwithout {N_LARGEST} largest",
        },
        labels=LABELS,
        null_label=PERMUTED,
        references={
            form: float(table.loc[table["panel"] == form, "threshold"].iloc[0]) for form in FORMS
        },
    )


def plot_separation(result: Result) -> Figure:
    """Cosine without the common mean and Fisher separation, with and without largest dimensions."""
    table = result.tables["separation"]
    every = table[table["group"] == "all"]
    rest, fisher = (every[every["panel"] == panel] for panel in ("rest_cosine", "fisher"))
    lowest, best = rest.loc[rest["value"].idxmin()], fisher.loc[fisher["value"].idxmax()]
    way = "opposite ways" if lowest["value"] < 0 else "the same way"
    return plots.profiles(
        table,
        title=f"Without their common mean the class means point {way}, "
        f"with a cosine down to {lowest['value']:.2f}",
        caption=caption(
            result,
            *notes(table),
            f"Fisher separation is largest at a depth of {best['depth']:g} blocks "
            f"({number(best['value'])})",
            "dotted: opposite means, no separation",
        ),
        y_labels={
            "rest_cosine": "Cosine without\ncommon mean",
            "fisher": "Fisher\nseparation",
        },
        labels=LABELS,
        null_label=PERMUTED,
        references={"rest_cosine": -1.0, "fisher": 0.0},
    )
