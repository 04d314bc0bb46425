"""The method of 12_chat_template; protocol.py has the question and the criteria."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd
from jaxtyping import Bool
from torch import Tensor

from experiments.lab.accuracy import accuracy_estimate
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.meter import Meter
from experiments.lab.results import Result
from experiments.lab.selection import Source

from . import estimates, measure
from .protocol import CLAIMS, STYLES, TAUGHT_STYLE, Config, refuses, works

Named = Mapping[str, Estimate]


def run(config: Config, lab: Lab) -> Result:
    """Compare styles where the model has a template; else tune it, and compare before and after."""
    lab.require_refusal("compares the ways in which models are asked, and teaches one to refuse")
    return styles(config, lab) if lab.model.info.has_template else tuning(config, lab)


def styles(config: Config, lab: Lab) -> Result:
    """12a to 12c: a direction from each style, used in the template and where the model refuses."""
    places = {style: measure.place_of(config, lab, style, style) for style in STYLES}
    found = [x for place in places.values() for x in estimates.answer_estimates(place, "train")]
    counts = {one.name: one for one in found}
    used = [style for style in STYLES if style == STYLES[0] or refuses(counts, style)]
    kept = measure.kept_dimensions(places.values())
    candidates, scores, chosen = used_in(config, [*places.values()], used, kept)
    save(lab, chosen[0])
    found.append(outliers(kept))
    found += estimates.effect_estimates(scores, candidates)
    found += estimates.comparisons(scores)
    named = {one.name: one for one in found}
    refusing, working = (
        [style for style in used if counts_in(named, style)] for counts_in in (refuses, works)
    )
    found += estimates.transfer_estimates(scores, candidates, refusing, working)
    return result_of([*found, accuracy_estimate(lab.model.info.name)], scores, candidates)


def tuning(config: Config, lab: Lab) -> Result:
    """12d: the direction of a base model, before and after it is taught to refuse."""
    skip, model = config.n_taught, measure.taught(config, lab)
    base = measure.place_of(config, lab, TAUGHT_STYLE, "base", skip)
    tuned = measure.place_of(config, lab, TAUGHT_STYLE, "tuned", skip, model)
    kept = measure.kept_dimensions([base, tuned])
    candidates, scores, (sources,) = used_in(config, [base, tuned], ["tuned"], kept)
    save(lab, sources)
    found = [*estimates.answer_estimates(base, "train"), *estimates.answer_estimates(tuned, "test")]
    found.append(outliers(kept))
    found += estimates.effect_estimates(scores, candidates)
    found.append(estimates.nats("kept.base", estimates.kept(scores, "tuned", "base")))
    for place in (base, tuned):
        told = estimates.told(measure.along(place, sources["tuned"]))
        found.append(Estimate.of(f"auroc.{place.name}", told))
    return result_of(found, scores, candidates)


def used_in(
    config: Config, places: Sequence[Meter], names: Sequence[str], kept: Bool[Tensor, " d_model"]
) -> tuple[pd.DataFrame, pd.DataFrame, list[dict[str, Source]]]:
    """Directions of every place, used in some: candidates, test scores, and what was chosen."""
    taken = {place.name: measure.sources(place, config, kept) for place in places}
    tables, scores, chosen = [], [], []
    for place in (one for one in places if one.name in names):
        table, best = measure.candidates(place, taken)
        tables.append(table)
        scores.append(measure.tested(config, place, best, kept))
        chosen.append(best)
    return pd.concat(tables, ignore_index=True), pd.concat(scores, ignore_index=True), chosen


def outliers(kept: Bool[Tensor, " d_model"]) -> Estimate:
    """How many dimensions are set aside."""
    return Estimate("outliers", float((~kept).sum()), n=len(kept), unit="dimensions")


def save(lab: Lab, sources: Mapping[str, Source]) -> None:
    """Leave the directions beside the result."""
    for name, source in sources.items():
        provenance = {"model": lab.model.info.name, "contrast": lab.contrast.name, "taken": name}
        lab.save_direction(f"refusal_{name}", replace(source.direction, provenance=provenance))


def result_of(found: Iterable[Estimate], scores: pd.DataFrame, candidates: pd.DataFrame) -> Result:
    """With NaN for what the verdicts ask for and this kind of model has not."""
    asked = [name for claim in CLAIMS for name in claim.estimates]
    named = {name: Estimate(name, float("nan")) for name in asked} | {x.name: x for x in found}
    drawn = {"refusing": table_of(named, "rate"), "effects": table_of(named, "effect"),
             "scores": scores, "candidates": candidates}  # fmt: skip
    drawn["effects"] = drawn["effects"].dropna(subset="value")
    text = of_tuning(named) if "auroc.tuned" in named else of_styles(named)
    return Result(tuple(named.values()), drawn, text)


def table_of(e: Named, kind: str) -> pd.DataFrame:
    """Rates by place (label) and class (group), or effects by where a direction is from and used.

    Columns: label, group, value, low, high, null_low, null_high, n.
    """
    limits = ("value", "low", "high", "null_low", "null_high", "n")
    rows = []
    for name, one in e.items():
        if name.startswith(f"{kind}."):
            parts = name.split(".")
            label, group = (parts[2], parts[1]) if kind == "rate" else (parts[1], parts[3])
            rows.append({"label": label, "group": group, **{x: getattr(one, x) for x in limits}})
    return pd.DataFrame(rows)


def of_styles(e: Named) -> str:
    """One paragraph that quotes the numbers."""
    parts = [
        f"{style}: {e[f'refused.{style}'].value:g} of {e[f'refused.{style}'].n} harmful train "
        f"prompts are refused{'' if refuses(e, style) else ' (too few, or as many harmless ones)'}"
        f"; its direction, used in the template, takes {e[f'effect.{style}.in.template']}, with a "
        f"KL of {e[f'kl.{style}.in.template']}"
        for style in STYLES
    ]
    return (
        f"{'. '.join(parts)}. Template minus bare: {e['better.none']}; newline minus half of the "
        f"template: {e['kept.newline']}. Another style's direction minus half of the own one, "
        f"worst of {e['transfer.pairs'].value:g} pairs: {e['transfer.worst']}. Set aside: "
        f"{e['outliers']}. Classifier accuracy {e['classifier.accuracy']}."
    )


def of_tuning(e: Named) -> str:
    """One paragraph that quotes the numbers."""
    before, after = e["refused.base"], e["refused.tuned"]
    return (
        f"The base refuses {before.value:g} of {before.n} harmful train prompts, the tuned model "
        f"{after.value:g} of {after.n} test prompts. There its own direction takes "
        f"{e['effect.tuned.in.tuned']} (KL {e['kl.tuned.in.tuned']}), the base's "
        f"{e['effect.base.in.tuned']} (KL {e['kl.base.in.tuned']}). Along the tuned model's the "
        f"base's states tell prompts apart with an AUROC of {e['auroc.base']}, its own with "
        f"{e['auroc.tuned']}. Set aside: {e['outliers']}."
    )
