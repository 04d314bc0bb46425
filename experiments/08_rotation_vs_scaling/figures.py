"""Figures of experiment 08, each drawn from the table of its name (up to a dot)."""

import numpy as np
from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from interp import plots
from interp.planes import first_harmonic

from .protocol import CAPS, MATCHED_KL

OPERATORS = {
    "add": "adding",
    "scale": "scaling",
    "rotate_to": "turning to an angle",
    "rotate_by": "turning by an angle",
    "adaptive_scale": "scaling where positive",
    "adaptive_rotate_to": "turning where positive",
    "interpolate": "interpolating",
}
PLACES = {
    "norms": "Written at every norm's input",
    "opposite": "Written where the class means have opposite signs",
    "source": "Written at the direction's own site",
}
TARGETS = {
    "bypass": "less refusal of harmful",
    "induce": "more refusal of harmless",
    "reach": "both (reach)",
}


def plot(result: Result) -> dict[str, Figure]:
    """The curve of the angle, effect against damage, equal damage, and the rescaled state."""
    found = {
        "angle_curve": plot_angles(result),
        "angle_curve.polar": plot_angles(result, polar=True),
        "dose_bypass": plot_doses(result, "bypass"),
        "dose_induce": plot_doses(result, "induce"),
        "matched": plot_matched(result),
        "magnitude": plot_magnitude(result),
    }
    if "angle_rates" in result.tables:
        found["angle_rates"] = plot_rates(result)
    return found


def plot_angles(result: Result, polar: bool = False) -> Figure:
    """Change of refusal around the plane, with random planes in grey."""
    table = result.tables["angle_curve"]
    rows = table[table["group"].isin(["harmful", "harmless"])]
    pooled = rows.pivot(index="angle", columns="group", values="value").mean(axis=1)
    fit = first_harmonic(np.asarray(pooled.index, dtype=np.float64), np.asarray(pooled))
    n, n_planes = table["n"].iloc[0], table.loc[table["null"], "group"].nunique() // 2
    title = f"Refusal peaks at {fit.peak_degrees:.0f} degrees from the direction"
    notes = (
        f"n = {n} + {n} prompts",
        f"R² of one cosine {fit.r_squared:.2f}",
        f"grey: {n_planes} random planes",
        "dotted: the unedited model",
    )
    if polar:
        return plots.polar(table, title=title, caption=caption(result, "radius: nats", *notes))
    return plots.angles(
        table,
        title=title,
        caption=caption(result, *notes),
        y_label="Change of refusal score (nats)",
        x_label="Angle in the plane (degrees; 0 is the refusal direction)",
    )


def plot_doses(result: Result, target: str) -> Figure:
    """Effect against KL on text for every operator; random planes are grey points.

    Operators written at several places have a panel per place.
    """
    table = result.tables[f"dose_{target}"]
    named = table["variant"].str.split("@", expand=True)
    table = table.assign(group=named[0], place=named[1], damage=table["text_kl"])
    real = table[~table["null"]]
    within = real[real["damage"] <= CAPS[-1]].sort_values("effect")
    best = OPERATORS.get(str(within["group"].iloc[-1])) if len(within) else None
    what = "less refusal of harmful" if target == "bypass" else "more refusal of harmless"
    moves = "lowers" if target == "bypass" else "raises"
    if len(set(real["place"])) > 1:
        table = table.assign(panel=table["place"])
    return plots.doses(
        table,
        title=f"Within a KL of {CAPS[-1]}, {best or 'nothing'} {moves} {what[5:]} prompts most",
        caption=caption(
            result,
            f"n = {table['n'].iloc[0]} prompts per point",
            "dotted: limits of damage",
            "numbers: doses of the ends",
            "grey: random planes",
        ),
        labels={**OPERATORS, **PLACES},
        null_label="random planes",
        caps=CAPS,
        x_label="KL on Wikipedia text (nats per token)",
        y_label=f"{what[:1].upper()}{what[1:]}\nprompts (nats)",
    )


def plot_matched(result: Result) -> Figure:
    """Effect of each family at matched damage."""
    table = result.tables["matched"]
    total = table[table["target"] == "reach"].set_index("family")["value"]
    return plots.intervals(
        table.rename(columns={"target": "label", "family": "group"}),
        limits=None,
        title=f"At a KL of up to {MATCHED_KL} on text, {total.idxmax()} moves refusal furthest",
        caption=caption(
            result,
            f"n = {table['n'].iloc[0]} test prompts per class",
            "grey: random planes at any damage",
        ),
        x_label="Change of refusal score (nats)",
        null_label="random planes",
        labels=TARGETS,
    )


def plot_magnitude(result: Result) -> Figure:
    """Change of the score when the whole state is rescaled at one site."""
    table = result.tables["magnitude"]
    moved = table[table["factor"] != 1.0]
    random = moved[["null_low", "null_high"]].mean().mean()
    degrees = moved["angle"].str.removesuffix(" degrees").astype(float)
    less = moved["value"].mean() < random
    return plots.profiles(
        moved.assign(depth=degrees, panel=moved["factor"].astype(str)),
        title=f"Rescaling a state moves refusal {'less' if less else 'no less'} than turning it by "
        "as much",
        caption=caption(
            result,
            f"n = {table['n'].iloc[0]} test prompts",
            f"on average {number(moved['value'].mean())} nats, random moves of the same length "
            f"{number(random)} (grey)",
        ),
        y_labels={str(f): f"Change (nats),\nstate times {f:g}" for f in moved["factor"].unique()},
        null_label="random moves of the same length",
        x_label="In-plane angle of the state that is rescaled (degrees)",
    )


def plot_rates(result: Result) -> Figure:
    """Refusal rates of generated answers around the plane."""
    table = result.tables["angle_rates"]
    rates = [
        f"{name} prompts {number(rows['base'].iloc[0])}" for name, rows in table.groupby("group")
    ]
    return plots.polar(
        table,
        limits=(0.0, 1.0),
        title="Where in the plane answers refuse",
        caption=caption(
            result,
            f"radius: refusal rate, n = {table['n'].iloc[0]} test prompts per class",
            f"unedited: {', '.join(rates)}",
        ),
    )
