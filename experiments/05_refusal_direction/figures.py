"""Figures of experiment 05, each drawn from the table of its name; titles quote the estimates."""

from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result
from experiments.lab.rules import MAX_KL
from interp import plots
from interp.plots.style import NULL_GREY


def plot(result: Result) -> dict[str, Figure]:
    """Every figure of the result."""
    return {
        "selection": plot_selection(result),
        "rates": plot_rates(result),
        "dose_response": plot_dose(result),
        "nulls_ablation": plot_nulls(result, "ablation", "harmful", "falls"),
        "nulls_addition": plot_nulls(result, "addition", "harmless", "rises"),
    }


def plot_selection(result: Result) -> Figure:
    """Bypass score of every candidate over depth, coloured by the constraint it fails."""
    table = result.tables["selection"]
    chosen = table[table.status == "chosen"].iloc[0]
    figure = plots.scatter(
        table,
        x="depth",
        y="bypass",
        group="status",
        reference=float(table.base_bypass.iloc[0]),
        title=(
            f"Ablating the direction of {chosen.site}, position {chosen.position}, takes the "
            f"refusal score from {number(chosen.base_bypass)} to {number(chosen.bypass)} nats "
            f"({len(table)} candidates, n = {result['coefficient'].n} validation prompts; dotted: "
            "unedited, grey: 95% of random directions)"
        ),
        x_label="Depth the candidate is from (blocks)",
        y_label="Refusal score on harmful\nprompts, ablated (nats)",
    )
    figure.axes[0].axhspan(
        table.null_low.iloc[0], table.null_high.iloc[0], color=NULL_GREY, alpha=0.35, zorder=0
    )
    return figure


def plot_rates(result: Result) -> Figure:
    """Refusal rates with intervals."""
    base, ablated = (result[f"refusal_rate.harmful.{c}"] for c in ("base", "ablated"))
    plain, added = (result[f"refusal_rate.harmless.{c}"] for c in ("base", "added"))
    table = result.tables["rates"]
    without = "" if table.null_low.notna().any() else "; no random direction answered"
    return plots.rates(
        table,
        label="label",
        condition="condition",
        title=(
            f"Refusal of harmful prompts {base.value:.2f} to {ablated.value:.2f} when ablated "
            f"(n = {base.n}); of harmless ones {plain.value:.2f} to {added.value:.2f} when "
            f"{number(result['coefficient'].value)}x is added (n = {plain.n}); classifier accuracy "
            f"{number(result['classifier.accuracy'].value)}{without}"
        ),
        x_label="Share of answers that decline (Wilson 95%)",
        null_label="random directions",
    )


def plot_dose(result: Result) -> Figure:
    """Effect against damage on ordinary text."""
    table = result.tables["dose_response"]
    return plots.dose_response(
        table,
        damage="damage",
        effect="effect",
        group="operator",
        dose="dose",
        base=0.0,
        caps=(MAX_KL,),
        title=(
            "Refusal moved against damage to ordinary text, by dose "
            f"(n = {int(table.n.iloc[0])} test prompts per point; random directions in grey)"
        ),
        x_label="KL on Wikipedia leads (nats per token)",
        y_label="Wanted change of the\nrefusal score (nats)",
        labels={
            "add": "add c times the difference (rise on harmless)",
            "remove": "remove the component (fall on harmful)",
        },
    )


def plot_nulls(result: Result, edit: str, kind: str, moves: str) -> Figure:
    """The effect of the direction above those of random directions."""
    effect, largest = result[f"effect.{edit}"], result[f"effect.{edit}.largest_null"]
    return plots.null_strip(
        result.tables[f"nulls_{edit}"],
        value="effect",
        family="family",
        title=(
            f"On {kind} prompts the refusal score {moves} by {number(effect.value)} nats; of "
            f"{largest.n} isotropic and covariance-matched directions the strongest moves it by "
            f"{number(largest.value)} (n = {effect.n} prompts)"
        ),
        x_label=f"Effect of {edit} on the openings score (nats)",
        labels={
            "observed": "refusal direction",
            "isotropic": "isotropic",
            "covariance_matched": "covariance-matched",
            "label_permuted": "label-permuted",
        },
    )
