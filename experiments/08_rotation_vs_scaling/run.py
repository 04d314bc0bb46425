"""The method of 08_rotation_vs_scaling; protocol.py has the question and the criteria."""

from collections.abc import Mapping
from dataclasses import replace

from experiments.lab import selection as selecting
from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour, not_found
from experiments.lab.sources import no_deeper, site_of, stream_sites
from experiments.lab.steps import answered, measured, text_kl

from . import estimates, measure, tables
from .protocol import MAX_SITE, PLANES, Config


def run(config: Config, lab: Lab) -> Result:
    """Choose the direction, measure every edit on the test prompts."""
    sites = selecting.candidate_sites(lab, config.n_sites or None)
    prompts = selecting.answering_prompts(lab, config.n_train, config.n_validation)
    selecting.directions_of(lab, stream_sites(lab), (-1,), prompts)  # one pass for all that follow
    selection = selecting.select_direction(lab, sites, None, config.n_validation, config.n_train)
    source = no_deeper(lab, selection, MAX_SITE)
    meter = measure.meter_for(config, lab)
    provenance = {"model": lab.model.info.name, "contrast": lab.contrast.name, "style": lab.style}
    lab.save_direction("refusal", replace(source.direction, provenance=provenance))
    planes = [*measure.fixed_plane_steps(config, lab, selection, source)]
    adding = [*measure.adding_steps(config, lab, source)]
    steps = [*planes, *adding, *measure.length_steps(config, lab, selection),
             *measure.own_plane_steps(config, source),
             *measure.competition_steps(config, lab, selection, source)]  # fmt: skip
    in_plane = [step for step in planes if step.family == "plane" and step.draw == 0]
    scores, text = measured(meter, steps), text_kl(meter, in_plane)
    answers = answered(meter, [step for step in adding if step.draw == 0])
    found = (
        *selecting.gate_estimates(selection.prompts), selecting.found_estimate(selection),
        Estimate("direction.depth", float(site_of(source).depth), unit="blocks"),
        estimates.gap_estimate(scores), *estimates.length_estimates(scores),
        *estimates.adding_estimates(scores, answers), *estimates.reach_estimates(scores, text),
        *estimates.plane_estimates(scores), *estimates.competition_estimates(scores),
    )  # fmt: skip
    drawn = tables.drawn(scores) | {"prompts": scores, "text": text, "answers": answers}
    return Result(found, drawn, observation({one.name: one for one in found}))


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    opening = "No direction found: none beats random ones. " if not_found(e) else ""
    if lacks_behaviour(e):
        refused = f"{number(e['train.refused'].value)} of {e['train.refused'].n}"
        opening = f"Behaviour absent: {refused} harmful train prompts are refused. "
    leads = ", ".join(str(e[f"plane.margin.{name}"]) for name in PLANES)
    return (
        f"{opening}Rescaling states changes the refusal odds by {e['length.rescaled']}, "
        f"{e['length.ratio.isotropic']} of what isotropic turns of the same chord do, "
        f"{e['length.ratio.covariance_matched']} of others, {e['length.ratio.gap']} of the gap "
        f"between the classes ({e['gap']}). Adding and the same turn differ by "
        f"{e['adding.difference']}. Adding reaches {e['reach.share']} of what the turn in a plane "
        f"does ({e['reach.range']}), whose first harmonic ({e['plane.amplitude']}) explains "
        f"{e['plane.r2']} and is ahead of random planes' by {leads}. Other features take "
        f"{e['competition.cost']} of the gap; longer states are spared {e['competition.kept']}."
    )
