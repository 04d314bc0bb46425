"""Figures of experiment 05, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from experiments.lab.rules import MAX_KL
from interp import plots
from interp.plots.style import NULL_GREY

LABELS = {
    "harmful": "harmful prompts",
    "harmless": "harmless tasks",
    "base": "unedited",
    "orthogonalised": "out of the weights",
    "observed": "refusal direction",
    "isotropic": "random, isotropic",
    "covariance_matched": "random, covariance-matched",
    "label_permuted": "random, label-permuted",
    "add": "add the difference (rise on harmless)",
    "remove": "ablate it (fall on harmful)",
}
DECLINE = "Share of answers that decline"


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    drawing = (plot_selection, plot_rates, plot_nulls, plot_dose_response)
    return {draw.__name__.removeprefix("plot_"): draw(result) for draw in drawing}


def plot_selection(result: Result) -> Figure:
    """Refusal odds under every candidate over depth, coloured by the constraint it fails."""
    table = result.tables["selection"]
    chosen = table[table.status == "chosen"].iloc[0]
    figure = plots.points(
        table.rename(columns={"depth": "x", "bypass": "y", "status": "group"}),
        title=f"Of {len(table)} candidates the direction of {chosen.site} is taken",
        caption=caption(result, "dotted: unedited; grey: 95% of random directions"),
        reference=float(chosen.base_bypass), x_label="Depth the candidate is from (blocks)",
        y_label="Refusal log odds of harmful\nprompts, ablated (nats)",
    )  # fmt: skip
    figure.axes[0].axhspan(chosen.null_low, chosen.null_high, color=NULL_GREY, alpha=0.35, zorder=0)
    return figure


def plot_rates(result: Result) -> Figure:
    """Refusal rates with intervals."""
    table = result.tables["rates"].rename(columns={"condition": "group"})
    rates = table.set_index(["label", "group"])["value"]
    harmful, harmless = rates["harmful"], rates["harmless"]
    first, second, x_label, labels = "Harmful prompts refused", "harmless tasks", DECLINE, LABELS
    if result.run is not None and result.run.behaviour != "refusal":
        first, second, x_label = "Shown where it should be", "elsewhere", "Share of answers with it"
        labels = LABELS | {"harmful": f"prompts for {result.run.behaviour}", "harmless": "others"}
    note = "Wilson 95%; random: the draw that brings most"
    return plots.intervals(
        table, x_label=x_label, labels=labels,
        title=f"{first}: {harmful['base']:.0%}, {harmful['ablated']:.0%} without the direction; "
        f"{second}: {harmless['base']:.0%}, {harmless['added']:.0%} with it",
        caption=caption(result, f"n = {table.n.min()} test prompts per class", note),
    )  # fmt: skip


def plot_nulls(result: Result) -> Figure:
    """Ablating the direction beside ablating random ones."""
    table = result.tables["nulls"]
    effect, largest = table.value[0], table.value[1:].max()
    further = "further than any" if effect > largest else "no further than a"
    return plots.strip(
        table, title=f"Ablating the direction lowers refusal odds {further} random one",
        caption=caption(result, f"n = {table.n[0]} harmful test prompts"),
        x_label="Fall of the refusal log odds (nats)", labels=LABELS,
    )  # fmt: skip


def plot_dose_response(result: Result) -> Figure:
    """Change of the refusal odds against damage on ordinary text."""
    table = result.tables["dose_response"].rename(columns={"operator": "group"})
    last = table[table.dose == 1.0].set_index("group")[["effect", "damage"]]
    remove, add = (" for ".join(map(number, last.loc[way])) for way in ("remove", "add"))
    return plots.doses(
        table,
        title="Nats of refusal odds for nats of damage to text:\n"
        f"{remove} ablated, {add} added",
        caption=caption(result, f"n = {table.n[0]} test prompts per point",
                        "numbers: shares of the coefficient"),
        caps=(MAX_KL,), x_label="KL on Wikipedia leads (nats per token)",
        y_label="Wanted change of the\nrefusal log odds (nats)", labels=LABELS,
    )  # fmt: skip
