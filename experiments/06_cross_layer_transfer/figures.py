"""Figures of experiment 06, each drawn from the table of its name."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.estimate import Estimate, number
from experiments.lab.results import Result, caption
from interp import plots

REACHED = "grey: random directions reach as much (95%)"


def plot(result: Result) -> dict[str, Figure]:
    """Every figure whose table the result has."""
    drawing = {
        "transfer_addition": plot_addition,
        "transfer_ablation": plot_ablation,
        "transfer_raw": plot_raw,
        "transfer_sets": plot_transfer_sets,
        "distance": plot_distance,
        "effect_cosine": plot_cosine_effect,
        "cosines": plot_cosines,
        "sets": plot_sets,
        "alignment": plot_alignment,
        "generated": plot_generated,
    }
    return {name: draw(result) for name, draw in drawing.items() if name in result.tables}


def count(share: Estimate) -> str:
    """A share of sources as a count."""
    return f"{round(share.value * share.n)} of {share.n}"


def plot_addition(result: Result) -> Figure:
    """Effect of adding every source's direction at every target, at equal shares of the norm."""
    passing = count(result["sources_passing.addition"])
    title = f"Added far from its layer, the direction of {passing} layers keeps half its effect"
    return plot_matrix(result, "transfer_addition", title)


def plot_ablation(result: Result) -> Figure:
    """Effect of ablating every source's direction at every target."""
    passing = count(result["sources_passing.ablation"])
    title = f"Ablated at one far layer, the direction of {passing} layers keeps half its effect"
    return plot_matrix(result, "transfer_ablation", title)


def plot_raw(result: Result) -> Figure:
    """Effect of adding every source's difference as it is."""
    effects = effects_of(result.tables["transfer_raw"])["value"]
    title = f"Added as long as they are, directions move refusal by up to {number(effects.max())}"
    return plot_matrix(result, "transfer_raw", f"{title} nats")


def effects_of(table: pd.DataFrame, by: Sequence[str] = ("dose", "target")) -> pd.DataFrame:
    """The true directions' cells, those that the null reaches marked."""
    table = table.astype({"source": str, "target": str, "dose": str})
    is_null = table["source"] == "null"
    null = table[is_null].set_index(list(by))["effect"].rename("null")
    cells = table[~is_null].join(null, on=list(by))
    return cells.assign(reached=cells["effect"] <= cells["null"], value=cells["effect"])


def plot_matrix(result: Result, name: str, title: str) -> Figure:
    """Heat map of source by target, one panel per dose."""
    table = effects_of(result.tables[name])
    doses = list(table["dose"].unique())
    if len(doses) > 1:
        table = table.assign(panel=table["dose"])
    return plots.matrix(
        table.rename(columns={"source": "row", "target": "column"}),
        title=title,
        caption=caption(result, f"n = {int(table['n'].max())} prompts per cell", REACHED),
        x_label="Written at layer",
        y_label="Direction taken at layer",
        value_label="Effect on refusal (nats)",
        annotate=len(table) / len(doses) <= 120,
        labels={dose: f"{dose} of the layer's mean norm" for dose in doses},
    )


def plot_transfer_sets(result: Result) -> Figure:
    """Heat map of sets of layers by source, one panel per operator, sets grouped by kind."""
    table = effects_of(result.tables["transfer_sets"], ("operator", "target"))
    most = table[table["operator"] == "ablation"]["value"].max()
    return plots.matrix(
        table.sort_values("kind", kind="stable").rename(
            columns={"target": "row", "source": "column", "operator": "panel", "kind": "section"}
        ),
        title=f"Ablated in layers that leave out its own, a direction still moves refusal by up to "
        f"{number(most)} nats",
        caption=caption(result, f"n = {int(table['n'].max())} prompts per cell", REACHED),
        x_label="Direction taken at layer",
        y_label="Written at layers, source left out",
        value_label="Effect on refusal (nats)",
        annotate=len(table) <= 120,
    )


def plot_distance(result: Result) -> Figure:
    """Effect against the distance from the source, with the criterion and the null band."""
    table = result.tables["distance"]
    share = result["far_share_of_own.addition"]
    title = f"Far from its layer an added direction keeps {share.value:.0%} of its own effect"
    return plots.profiles(
        table.rename(columns={"distance": "depth", "operator": "panel"}),
        title=title if share.n else "No added direction is above the null at its own layer",
        caption=caption(
            result,
            f"n = {int(table['n'].max())} prompts",
            f"median of the {share.n} of {result['sources_present.addition'].n} sources above the "
            "null at home",
            "dotted: half of the own effect",
        ),
        y_labels={"addition": "Addition (nats)", "ablation": "Ablation (nats)"},
        x_label="Layer written at minus layer taken at",
        references=dict(table.groupby("operator")["criterion"].first()),
    )


def plot_cosine_effect(result: Result) -> Figure:
    """Effect against the cosine with the target layer's own direction."""
    table = result.tables["effect_cosine"]
    term = result.by_name().get("qap.addition.cosine")
    follows = term is not None and term.p is not None and term.p < 0.05
    return plots.points(
        table.rename(columns={"cosine": "x", "effect": "y"}),
        title=f"What a direction does at a layer {'follows' if follows else 'does not follow'} its "
        "cosine with the layer's own",
        caption=caption(
            result,
            f"added, n = {int(table['n'].max())} prompts in each of {len(table)} cells",
            f"QAP regression with distance and depth: {term}, p = {number(term.p)}" if term else "",
        ),
        reference=0.0,
        x_label="Cosine with the direction of the layer written at",
        y_label="Rise of the refusal score (nats)",
        labels={"null": "random directions"},
    )


def plot_cosines(result: Result) -> Figure:
    """Cosines between the layers' directions beside those of one permutation of the labels."""
    table = result.tables["cosines"]
    table = table[table["draw"] < 1].astype({"draw": str})
    found = result.by_name().get("cosine.far")
    text = "" if found is None else f"; far apart their cosine is {number(found.value)}"
    n_layers = table["first"].nunique()
    return plots.matrix(
        table.rename(
            columns={"first": "row", "second": "column", "cosine": "value", "draw": "panel"}
        ),
        title=f"Directions of neighbouring layers are alike{text}",
        caption=caption(result, f"{n_layers} layers", "far apart: the median"),
        x_label="Layer",
        y_label="Layer",
        value_label="Cosine",
        limits=(-1.0, 1.0),
        annotate=n_layers <= 10,
        labels={"-1": "true labels", "0": "permuted labels"},
    )


def plot_sets(result: Result) -> Figure:
    """Sets of layers that leave the source out, against random directions in the same sets."""
    table = result.tables["sets"]
    best = result["set_effect.ablation.all_but_source"]
    return plots.intervals(
        table.rename(columns={"layers": "label", "operator": "group"}),
        limits=None,
        title=f"Ablated at all layers but its own, a direction lowers the score by "
        f"{number(best.value)} nats",
        caption=caption(
            result,
            f"median over sources, n = {int(table['n'].max())} prompts",
            "grey: random directions, 95%",
        ),
        x_label="Effect on refusal (nats)",
        null_label="random directions",
    )


def plot_alignment(result: Result) -> Figure:
    """How alike two layers' activations are by their distance, against both kinds of noise."""
    table = result.tables["alignment"]
    near, overall = result["alignment.procrustes.neighbours"], result["alignment.procrustes.all"]
    return plots.profiles(
        table.rename(columns={"distance": "depth", "measure": "panel", "data": "group"}),
        title=f"A rotation maps {near.value:.0%} of a layer onto the next one measured, "
        f"{overall.value:.0%} onto any",
        caption=caption(
            result, f"median and range over pairs, n = {int(table['n'].max())} prompts"
        ),
        y_labels={"cka": "Debiased CKA", "procrustes": "Procrustes R²,\nheld out"},
        x_label="Distance between layers",
        null_label="samples shuffled, 95%",
    )


def plot_generated(result: Result) -> Figure:
    """Change of the refusal rate of generated answers against the effect on the score."""
    table = result.tables["generated"]
    found = [result.by_name().get(f"generated.{name}") for name in ("addition", "ablation")]
    rho = " and ".join(
        f"{number(e.value)} ({e.name.split('.')[1]})" for e in found if e is not None
    )
    return plots.points(
        table.rename(columns={"effect": "x", "change": "y"}),
        title="The refusal score against what answers really do",
        caption=caption(
            result,
            f"n = {int(table['n'].max())} prompts in each of {len(table)} cells",
            f"rank correlation {rho or 'not measured'}",
        ),
        reference=0.0,
        x_label="Effect on the refusal score (nats)",
        y_label="Change of the refusal rate",
        labels={"null": "random directions"},
    )
