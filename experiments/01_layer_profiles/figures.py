"""Figures of experiment 01, each drawn from the table of its name."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.results import Result
from interp import geometry, plots

from .measure import FORMS
from .protocol import CLASSES, N_LARGEST, SIGNIFICANCE

PANELS = {
    "cosine": "Cosine of\nclass means",
    "mean_variance": "Mean variance\nover features",
    "max_variance": "Largest variance\nof a feature",
    "share": "Variance / mean\nsquared norm",
}
LABELS = {
    "both": "between classes",
    "all": "all dimensions",
    "without_largest": f"without the {N_LARGEST} largest",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure of the result."""
    found = result.tables
    return {
        "profiles": plot_profiles(found["profiles"], ""),
        "without_largest": plot_profiles(
            found["without_largest"], f"Without the {N_LARGEST} largest dimensions. "
        ),
        "permutation": plot_excess(found["permutation"]),
        "separation": plot_separation(found["separation"]),
    }


def plot_profiles(table: pd.DataFrame, prefix: str) -> Figure:
    """Cosine, mean variance, largest variance and share over depth."""
    cosine = table.loc[table["panel"] == "cosine"]
    lowest = cosine.loc[cosine["value"].idxmin()]
    title = (
        f"{prefix}The cosine of the class means is smallest at {lowest['site']} "
        f"({lowest['value']:.3f}), and the share of the squared norm that varies changes by "
        f"{growth(table, 'share')} per block {sizes(table)}"
    )
    return plots.paired_profiles(
        table,
        title=title,
        panel_labels=PANELS,
        group="group",
        labels=LABELS,
        null_label="permuted labels, 95%",
        log_panels=("mean_variance", "max_variance", "share"),
    )


def growth(table: pd.DataFrame, panel: str) -> str:
    """Growth of a panel's values per block in each class, from the slope of their logarithm."""
    rates = []
    for name in CLASSES:
        is_wanted = (table["panel"] == panel) & (table["group"] == name)
        rows = table.loc[is_wanted].dropna(subset=["value"])
        slope = geometry.log_slope(rows["value"].to_numpy(), rows["depth"].to_numpy())
        rates.append(f"{np.expm1(slope):+.0%} ({name})")
    return " and ".join(rates)


def sizes(table: pd.DataFrame) -> str:
    """The number of prompts, as titles have it."""
    first = table.iloc[0]
    return f"(n = {first['n_harmful']} harmful + {first['n_harmless']} harmless)"


def plot_excess(table: pd.DataFrame) -> Figure:
    """Excess of 1 - cosine against its null."""
    beyond = {name: rows["p"].lt(SIGNIFICANCE).sum() for name, rows in table.groupby("panel")}
    total = table["site"].nunique()
    title = (
        f"1 - cosine exceeds permuted labels at {beyond['all']} of {total} sites, and at "
        f"{beyond['without_largest']} without the {N_LARGEST} largest dimensions; the dotted line "
        f"is the 5% level over all sites {sizes(table)}"
    )
    return plots.paired_profiles(
        table,
        title=title,
        panel_labels={
            "all": "Excess of 1 - cosine,\nall dimensions",
            "without_largest": f"Excess of 1 - cosine,\nwithout {N_LARGEST} largest",
        },
        group=None,
        null_label="permuted labels, 95%",
        references={
            form: float(table.loc[table["panel"] == form, "threshold"].iloc[0]) for form in FORMS
        },
    )


def plot_separation(table: pd.DataFrame) -> Figure:
    """Cosine without the common mean and Fisher separation, with and without largest dimensions."""
    every = table.loc[table["group"] == "all"]
    rest, fisher = (every.loc[every["panel"] == panel] for panel in ("rest_cosine", "fisher"))
    lowest, best = rest.loc[rest["value"].idxmin()], fisher.loc[fisher["value"].idxmax()]
    title = (
        f"Without their common mean the class means reach a cosine of {lowest['value']:.2f} at "
        f"{lowest['site']}; Fisher separation peaks at {best['site']} ({best['value']:.2g}) "
        f"{sizes(table)}"
    )
    return plots.paired_profiles(
        table,
        title=title,
        panel_labels={
            "rest_cosine": "Cosine without\ncommon mean",
            "fisher": "Fisher\nseparation",
        },
        group="group",
        labels=LABELS,
        null_label="permuted labels, 95%",
        references={"rest_cosine": -1.0, "fisher": 0.0},
    )
