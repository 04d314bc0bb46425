"""Figures of experiment 05, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from experiments.lab.rules import MAX_KL
from interp import plots
from interp.plots.style import NULL_GREY

FAMILIES = {
    "observed": "refusal direction",
    "isotropic": "isotropic",
    "covariance_matched": "covariance-matched",
    "label_permuted": "label-permuted",
}
CONDITIONS = {"base": "unedited", "ablated": "ablated", "added": "added"}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure whose table the result has."""
    drawing = {
        "selection": plot_selection,
        "rates": plot_rates,
        "dose_response": plot_doses,
        "nulls_ablation": plot_ablation_nulls,
        "nulls_addition": plot_addition_nulls,
    }
    return {name: draw(result) for name, draw in drawing.items() if name in result.tables}


def plot_selection(result: Result) -> Figure:
    """Refusal score of every candidate over depth, coloured by the constraint it fails."""
    table = result.tables["selection"]
    chosen = table[table.status == "chosen"].iloc[0]
    figure = plots.points(
        table.rename(columns={"depth": "x", "bypass": "y", "status": "group"}),
        title=f"Of {len(table)} candidates the direction of {chosen.site} is taken",
        caption=caption(
            result,
            f"validation prompts, n = {result['coefficient'].n} per class",
            f"ablating it takes their score from {number(chosen.base_bypass)} (dotted) to "
            f"{number(chosen.bypass)} nats",
            "grey: 95% of random directions",
        ),
        reference=float(table.base_bypass.iloc[0]),
        x_label="Depth the candidate is from (blocks)",
        y_label="Refusal score of harmful\nprompts, ablated (nats)",
    )
    low, high = table.null_low.iloc[0], table.null_high.iloc[0]
    figure.axes[0].axhspan(low, high, color=NULL_GREY, alpha=0.35, zorder=0)
    return figure


def plot_rates(result: Result) -> Figure:
    """Refusal rates with intervals."""
    table = result.tables["rates"]
    base, ablated = (result[f"refusal_rate.harmful.{c}"] for c in ("base", "ablated"))
    plain, added = (result[f"refusal_rate.harmless.{c}"] for c in ("base", "added"))
    without = table.null_low.isna().all()
    return plots.intervals(
        table.rename(columns={"condition": "group"}),
        title=(
            f"Ablated, refusals of harmful prompts go from {base.value:.0%} to {ablated.value:.0%};"
            f" added, those of harmless ones from {plain.value:.0%} to {added.value:.0%}"
        ),
        caption=caption(
            result,
            f"test prompts, n = {base.n} harmful, {plain.n} harmless",
            f"{number(result['coefficient'].value)} times the difference is added",
            f"classifier accuracy {number(result['classifier.accuracy'].value)}",
            "no random direction answered" if without else "grey: random directions, 95%",
        ),
        x_label="Share of answers that decline (Wilson 95%)",
        null_label="random directions",
        labels=CONDITIONS,
    )


def plot_doses(result: Result) -> Figure:
    """Effect against damage on ordinary text."""
    table = result.tables["dose_response"]
    real = table[~table["null"].astype(bool)]
    harmless = real[real.damage <= MAX_KL]
    most = harmless.effect.max() if len(harmless) else 0.0
    return plots.doses(
        table.rename(columns={"operator": "group"}),
        title=f"Within a KL of {MAX_KL} on text, the direction moves refusal by up to "
        f"{number(most)} nats",
        caption=caption(
            result,
            f"n = {int(table.n.iloc[0])} test prompts per point",
            "numbers: times the difference added, share of the component removed",
            "grey: random directions",
        ),
        caps=(MAX_KL,),
        x_label="KL on Wikipedia leads (nats per token)",
        y_label="Wanted change of the\nrefusal score (nats)",
        labels={
            "add": "add the difference (rise on harmless)",
            "remove": "remove the component (fall on harmful)",
        },
    )


def plot_ablation_nulls(result: Result) -> Figure:
    """Ablating the direction beside ablating random ones."""
    return plot_nulls(result, "ablation", "Ablating")


def plot_addition_nulls(result: Result) -> Figure:
    """Adding the direction beside adding random ones."""
    return plot_nulls(result, "addition", "Adding")


def plot_nulls(result: Result, edit: str, doing: str) -> Figure:
    """The effect of the direction above those of random directions."""
    effect, largest = result[f"effect.{edit}"], result[f"effect.{edit}.largest_null"]
    more = effect.value > largest.value
    return plots.strip(
        result.tables[f"nulls_{edit}"].rename(columns={"effect": "value"}),
        title=f"{doing} the direction moves refusal "
        f"{'further than any' if more else 'no further than a'} random one",
        caption=caption(
            result,
            f"{'harmful' if edit == 'ablation' else 'harmless'} test prompts, n = {effect.n}",
            f"{number(effect.value)} nats, the strongest isotropic or covariance-matched of "
            f"{largest.n} {number(largest.value)}",
        ),
        x_label=f"Effect of {edit} on the refusal score (nats)",
        labels=FAMILIES,
    )
