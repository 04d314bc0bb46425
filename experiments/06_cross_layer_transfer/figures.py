"""Figures of experiment 06, each drawn from the table of its name; titles quote the estimates."""

from matplotlib.figure import Figure

from experiments.lab.estimate import Estimate, number
from experiments.lab.results import Result
from interp import plots

NULL_LABEL = {"null": "null, 95th"}


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


def plot_addition(result: Result) -> Figure:
    """Effect of adding every source's direction at every target, at equal shares of the norm."""
    passing = result["sources_passing.addition"]
    return plot_matrix(
        result,
        "transfer_addition",
        f"Added at an equal share of the norm, {_count(passing)} directions keep half of their "
        "effect far from their layer",
    )


def plot_ablation(result: Result) -> Figure:
    """Effect of ablating every source's direction at every target."""
    passing = result["sources_passing.ablation"]
    return plot_matrix(
        result,
        "transfer_ablation",
        f"Ablated at one layer, {_count(passing)} directions keep half of their effect far from "
        "their layer",
    )


def plot_raw(result: Result) -> Figure:
    """Effect of adding every source's difference as it is."""
    table = result.tables["transfer_raw"]
    effects = table.loc[table["source"].astype(str) != "null", "effect"]
    return plot_matrix(
        result,
        "transfer_raw",
        f"Added raw, at the source's scale, effects range from {number(effects.min())} to "
        f"{number(effects.max())} nats",
    )


def _count(share: Estimate) -> str:
    return f"{round(share.value * share.n)} of {share.n}"


def plot_matrix(result: Result, name: str, finding: str) -> Figure:
    """Heat map of source by target, one panel per dose, the nulls' percentile as the last row."""
    table = result.tables[name].astype({"dose": str, "source": str, "target": str})
    doses = list(table["dose"].unique())
    return plots.matrix(
        table,
        row="source",
        column="target",
        value="effect",
        panel="dose" if len(doses) > 1 else None,
        title=f"{finding} (n = {int(table['n'].max())} prompts per cell)",
        x_label="Written at layer",
        y_label="Direction taken at layer",
        value_label="Effect on refusal (nats)",
        annotate=len(table) / len(doses) <= 120,
        labels={**{dose: f"{dose} of the layer's mean norm" for dose in doses}, **NULL_LABEL},
    )


def plot_transfer_sets(result: Result) -> Figure:
    """Heat map of sets of layers by source, one panel per operator, the nulls' as last column."""
    table = result.tables["transfer_sets"].astype({"source": str, "target": str})
    added, ablated = (result[f"set_effect.{o}.every_second"] for o in ("addition", "ablation"))
    return plots.matrix(
        table,
        row="target",
        column="source",
        value="effect",
        panel="operator",
        title="At every second layer without their source, directions shift refusal by "
        f"{number(added.value)} nats when added and {number(ablated.value)} when ablated "
        f"(median; n = {int(table['n'].max())} prompts per cell)",
        x_label="Direction taken at layer",
        y_label="Written at layers, source left out",
        value_label="Effect on refusal (nats)",
        annotate=len(table) <= 120,
        labels=NULL_LABEL,
    )


def plot_distance(result: Result) -> Figure:
    """Effect against the distance from the source, with the criterion and the null band."""
    table = result.tables["distance"]
    share = result["far_share_of_own.addition"]
    n_sources = result["sources_present.addition"].n
    finding = (
        f"At far layers an added direction keeps a share of {number(share.value)} of its own "
        f"effect (median of the {share.n} of {n_sources} sources above the null at home"
        if share.n
        else f"No added direction is above the null at home (0 of {n_sources} sources"
    )
    return plots.paired_profiles(
        table,
        y="value",
        x="distance",
        panel="operator",
        group=None,
        stream=None,
        title=f"{finding}; dotted: half of the own effect; n = {int(table['n'].max())} prompts)",
        panel_labels={"addition": "Addition (nats)", "ablation": "Ablation (nats)"},
        x_label="Layer written at minus layer taken at",
        references=dict(table.groupby("operator")["criterion"].first()),
    )


def plot_cosine_effect(result: Result) -> Figure:
    """Effect against the cosine with the target layer's own direction."""
    table = result.tables["effect_cosine"]
    term = result.by_name().get("qap.addition.cosine")
    finding = "The added effect against the cosine with the layer's own direction"
    if term is not None and term.p is not None:
        follows = "follows" if term.p < 0.05 else "does not follow"
        finding = (
            f"Beyond distance and depth, the added effect {follows} the cosine with the layer's "
            f"own direction (QAP coefficient {number(term.value)}, p = {number(term.p)})"
        )
    return plots.scatter(
        table,
        x="cosine",
        y="effect",
        group="group",
        reference=0.0,
        title=f"{finding}; n = {int(table['n'].max())} prompts in each of {len(table)} cells",
        x_label="Cosine with the direction of the layer written at",
        y_label="Rise of the openings score (nats)",
        labels={"null": "random directions"},
    )


def plot_cosines(result: Result) -> Figure:
    """Cosines between the layers' directions beside those of one permutation of the labels."""
    table = result.tables["cosines"]
    table = table[table["draw"] < 1].astype({"draw": str})
    found = result.by_name().get("cosine.far")
    text = "" if found is None else f": far apart {number(found.value)} (median)"
    return plots.matrix(
        table,
        row="first",
        column="second",
        value="cosine",
        panel="draw",
        title=f"Cosines between the layers' directions{text}, beside one permutation of the labels "
        f"(n = {table['first'].nunique()} layers)",
        x_label="Layer",
        y_label="Layer",
        value_label="Cosine",
        limits=(-1.0, 1.0),
        annotate=table["first"].nunique() <= 10,
        labels={"-1": "true labels", "0": "permuted labels"},
    )


def plot_sets(result: Result) -> Figure:
    """Sets of layers that leave the source out, against random directions in the same sets."""
    table = result.tables["sets"]
    best = result["set_effect.ablation.all_but_source"]
    return plots.rates(
        table,
        label="layers",
        condition="operator",
        limits=None,
        title="Without its source layer: ablated at all others a direction lowers the score by "
        f"{number(best.value)} nats (median over sources, n = {int(table['n'].max())} prompts)",
        x_label="Effect on refusal (nats)",
    )


def plot_alignment(result: Result) -> Figure:
    """How alike two layers' activations are by their distance, against both kinds of noise."""
    table = result.tables["alignment"]
    near, overall = result["alignment.procrustes.neighbours"], result["alignment.procrustes.all"]
    return plots.paired_profiles(
        table,
        y="value",
        x="distance",
        panel="measure",
        group="data",
        stream=None,
        title="An orthogonal map explains a share of "
        f"{number(near.value)} of the next measured layer, {number(overall.value)} of any "
        f"(median, range; n = {int(table['n'].max())} prompts)",
        panel_labels={"cka": "Debiased CKA", "procrustes": "Procrustes R²,\nheld out"},
        x_label="Distance between layers",
        null_label="samples shuffled, 95%",
    )


def plot_generated(result: Result) -> Figure:
    """Change of the refusal rate of generated answers against the effect on the openings score."""
    table = result.tables["generated"]
    found = [result.by_name().get(f"generated.{name}") for name in ("addition", "ablation")]
    rho = ", ".join(f"{e.name.split('.')[1]} {number(e.value)}" for e in found if e is not None)
    return plots.scatter(
        table,
        x="effect",
        y="change",
        group="group",
        reference=0.0,
        title=f"Rank correlation of the openings score with generated refusals: {rho or 'none'} "
        f"(n = {int(table['n'].max())} prompts in each of {len(table)} cells)",
        x_label="Effect on the openings score (nats)",
        y_label="Change of the refusal rate",
        labels={"null": "random directions"},
    )
