"""Figures of experiment 08, each drawn from the table of its name."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.results import Result
from interp import plots
from interp.planes import first_harmonic

from .protocol import CAPS, MATCHED_KL


def plot(result: Result) -> dict[str, Figure]:
    """Every figure of the result."""
    found = result.tables
    return {
        "angle_curve": plot_angles(found["angle_curve"]),
        "dose_bypass": plot_doses(found["dose_bypass"], "bypass", CAPS),
        "dose_induce": plot_doses(found["dose_induce"], "induce", CAPS),
        "matched": plot_matched(found["matched"], MATCHED_KL),
        "magnitude": plot_magnitude(found["magnitude"]),
    }


def plot_angles(table: pd.DataFrame) -> Figure:
    """Change of refusal around the plane, with random planes in grey."""
    rows = table[table["group"].isin(["harmful", "harmless"])]
    pooled = rows.pivot(index="angle", columns="group", values="value").mean(axis=1)
    fit = first_harmonic(np.asarray(pooled.index, dtype=np.float64), np.asarray(pooled))
    n_planes = table.loc[table["null"], "group"].nunique() // 2
    return plots.angle_curve(
        table,
        angle="angle",
        value="value",
        group="group",
        base=0.0,
        y_label="Change of refusal score (nats)",
        x_label="Angle in the plane (degrees; 0 is the refusal direction)",
        title=(
            f"Refusal peaks at {fit.peak_degrees:.0f}° and follows one cosine with "
            f"R² = {fit.r_squared:.2f} (n = {table['n'].iloc[0]} + {table['n'].iloc[0]} prompts, "
            f"{n_planes} random planes)"
        ),
    )


def plot_doses(table: pd.DataFrame, target: str, caps: Sequence[float]) -> Figure:
    """Effect against KL on text for every operator; random planes are grey points.

    Operators written at several places have a panel per place.
    """
    within = table.loc[~table["null"] & (table["damage"] <= caps[-1])]
    best = within.sort_values("effect")["variant"].tolist()
    most = f"{best[-1]} does most" if best else "no operator"
    what = "Less refusal of harmful" if target == "bypass" else "More refusal of harmless"
    named = table["variant"].str.split("@", expand=True)
    places = {
        "norms": "Written at every norm's input",
        "opposite": "Written where the class means have opposite signs",
        "source": "Written at the direction's own site",
    }
    several = named.loc[~table["null"], 1].nunique() > 1
    return plots.dose_response(
        table.assign(operator=named[0], place=named[1]) if several else table,
        damage="text_kl",
        effect="effect",
        group="operator" if several else "variant",
        panel="place" if several else None,
        labels=places,
        null_label="random planes",
        dose="dose",
        caps=caps,
        base=0.0,
        x_label="KL on Wikipedia text (nats per token)",
        y_label=f"{what} prompts (nats)",
        title=(
            f"{what} prompts: {most} within a KL of {caps[-1]} "
            f"(n = {table['n'].iloc[0]} prompts per point)"
        ),
    )


def plot_matched(table: pd.DataFrame, kl: float) -> Figure:
    """Effect of each family at matched damage, or at less where it does not reach that."""
    total = table[table["target"] == "reach"].set_index("family")["value"]
    return plots.rates(
        table,
        label="target",
        condition="family",
        limits=None,
        null_label="random planes, any damage",
        labels={
            "bypass": "less refusal of harmful", "induce": "more refusal of harmless",
            "reach": "both (reach)",
        },
        x_label=f"Change of refusal score at a KL of at most {kl} on text (nats)",
        title=(
            f"Within a KL of {kl} on text {total.idxmax()} moves refusal furthest "
            f"(n = {table['n'].iloc[0]} test prompts per class)"
        ),
    )  # fmt: skip


def plot_magnitude(table: pd.DataFrame) -> Figure:
    """Change of the score when the whole state is rescaled at one site."""
    moved = table[table["factor"] != 1.0]
    degrees = moved["angle"].str.removesuffix(" degrees").astype(float)
    return plots.paired_profiles(
        moved.assign(degrees=degrees, factor=moved["factor"].astype(str)),
        x="degrees",
        y="value",
        panel="factor",
        panel_labels={
            str(f): f"Change (nats),\nstate times {f:g}" for f in moved["factor"].unique()
        },
        group=None,
        stream=None,
        null_label="random moves of the same length",
        x_label="In-plane angle of the state that is rescaled (degrees)",
        title=(
            f"Rescaling the state moves refusal by {moved['value'].mean():.2f} nats, equally long "
            f"random moves by {moved[['null_low', 'null_high']].mean().mean():.2f} "
            f"(n = {table['n'].iloc[0]} test prompts)"
        ),
    )
