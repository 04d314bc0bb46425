"""The method of 12_chat_template; protocol.py has the question and the criteria."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd

from experiments.lab.accuracy import accuracy_estimate
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.selection import Source

from . import estimates, measure, tables
from .protocol import CHANCE, CLAIMS, STYLES, TAUGHT_STYLE, Config, refuses


def run(config: Config, lab: Lab) -> Result:
    """Compare styles where the model has a template; else tune it, and compare before and after."""
    return styles(config, lab) if lab.model.info.has_template else tuning(config, lab)


def styles(config: Config, lab: Lab) -> Result:
    """12a to 12c: a direction from each style, used in the template and where the model refuses."""
    places = {style: measure.place_of(config, lab, style, style) for style in STYLES}
    found = [x for place in places.values() for x in estimates.answer_estimates(place, "train")]
    parts = [measure.as_table(place, measure.unedited(place)) for place in places.values()]
    found += [estimates.gap_estimate(pd.concat(parts), style) for style in STYLES]
    named = {one.name: one for one in found}
    used = [style for style in STYLES if style == STYLES[0] or refuses(named, style)]
    taken = {style: measure.sources(place, config) for style, place in places.items()}
    candidates = {style: measure.candidates(places[style], taken) for style in used}
    chosen = {style: measure.chosen(candidates[style], taken) for style in used}
    for style in used:
        parts.append(
            measure.as_table(places[style], measure.effects(config, places[style], chosen[style]))
        )
    scores = pd.concat(parts, ignore_index=True)
    at = {style: estimates.Resampled(scores, style) for style in used}
    found += [x for style in used for x in estimates.effect_estimates(style, at[style])]
    found += estimates.comparisons(at[STYLES[0]])
    found += estimates.accuracy_estimates(sources_of(chosen[STYLES[0]]))
    found += estimates.transfer_estimates(at, *pairing(completed(found), used))
    save(lab, sources_of(chosen[STYLES[0]]))
    named = completed([*found, accuracy_estimate(lab.model.info.name)])
    drawn = {"refusing": tables.refusing_table(named), "effects": tables.effects_table(named)}
    drawn |= tables.plain(scores, candidates.values())
    return Result(tuple(named.values()), drawn, of_styles(named))


def pairing(e: Mapping[str, Estimate], used: Iterable[str]) -> tuple[list[str], list[str]]:
    """The styles that count in 12c: to use a direction in, and to take one from."""
    counting = [x for x in used if refuses(e, x) and e[f"margin.{x}.in.{x}"].above(0)]
    return counting, [x for x in STYLES if e[f"accuracy.{x}"].above(CHANCE)]


def tuning(config: Config, lab: Lab) -> Result:
    """12d: the direction of a base model, before and after it is taught to refuse."""
    skip, model = config.n_taught, measure.taught(config, lab)
    base = measure.place_of(config, lab, TAUGHT_STYLE, "base", skip=skip)
    tuned = measure.place_of(config, lab, TAUGHT_STYLE, "tuned", skip=skip, model=model)
    taken = {place.name: measure.sources(place, config) for place in (base, tuned)}
    candidates = measure.candidates(tuned, taken)
    chosen = measure.chosen(candidates, taken)
    own = chosen["tuned"].source
    parts = [
        measure.as_table(place, [
            *measure.unedited(place), *measure.rises(place, chosen),
            *measure.along(config, place, "tuned", own),
        ])
        for place in (base, tuned)
    ]  # fmt: skip
    parts += [measure.as_table(tuned, measure.effects(config, tuned, chosen))]
    scores = pd.concat(parts, ignore_index=True)
    found = [*estimates.answer_estimates(base, "train"), *estimates.answer_estimates(tuned, "test")]
    found += [estimates.gap_estimate(scores, place) for place in ("base", "tuned")]
    found += [
        *estimates.tuning_estimates(scores),
        *estimates.accuracy_estimates(sources_of(chosen)),
    ]
    save(lab, sources_of(chosen))
    named = completed(found)
    drawn = {"tuning": tables.tuning_table(named), **tables.plain(scores, [candidates])}
    return Result(tuple(named.values()), drawn, of_tuning(named))


def sources_of(chosen: Mapping[str, measure.Chosen]) -> dict[str, Source]:
    """By where they are taken."""
    return {name: which.source for name, which in chosen.items()}


def save(lab: Lab, sources: Mapping[str, Source]) -> None:
    """Leave the directions beside the result."""
    for name, source in sources.items():
        provenance = {"model": lab.model.info.name, "contrast": lab.contrast.name, "taken": name}
        lab.save_direction(f"refusal_{name}", replace(source.direction, provenance=provenance))


def completed(found: Iterable[Estimate]) -> dict[str, Estimate]:
    """By name, with what the verdicts ask for and this kind of model has not, as NaN."""
    asked = [name for claim in CLAIMS for name in claim.estimates]
    return {name: Estimate(name, float("nan")) for name in asked} | {x.name: x for x in found}


def of_styles(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    parts = [
        f"{style}: {e[f'refused.{style}'].value:g} of {e[f'refused.{style}'].n} harmful train "
        f"prompts are refused{'' if refuses(e, style) else ' (too few, or as many harmless ones)'}"
        f", gap {e[f'gap.{style}']}; its direction, used in the template, takes "
        f"{e[f'effect.{style}.in.template']}"
        for style in STYLES
    ]
    return (
        f"{'. '.join(parts)}. Template minus bare: {e['better.none']}; newline minus half of the "
        f"template: {e['kept.newline']}. Another style's direction minus half of the own one, "
        f"worst of {e['transfer.pairs'].value:g} pairs: {e['transfer.worst']}. Classifier accuracy "
        f"{e['classifier.accuracy']}."
    )


def of_tuning(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    before, after = e["refused.base"], e["refused.tuned"]
    return (
        f"The base refuses {before.value:g} of {before.n} harmful train prompts, the tuned model "
        f"{after.value:g} of {after.n} test prompts. There its own direction takes "
        f"{e['tuned.effect']}, the base's {e['tuned.base_effect']}. Along the tuned model's the "
        f"base's states tell prompts apart with an AUROC of {e['auroc.base']}, its own with "
        f"{e['auroc.tuned']}; added in the base it brings {e['base.rise.tuned']}, the base's own "
        f"{e['base.rise.base']}. The nearest class mean tells {e['accuracy.base']} of the prompts "
        f"apart before, {e['accuracy.tuned']} after."
    )
