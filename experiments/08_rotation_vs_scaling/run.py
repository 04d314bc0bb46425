"""The method of 08_rotation_vs_scaling; protocol.py has the question and the criteria."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.meter import Meter
from experiments.lab.passages import Passages
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour, not_found
from experiments.lab.selection import Selection, class_activations, directions_of, select_direction
from interp.errors import ExperimentError
from interp.planes import steering_plane
from interp.sites import all_sites

from .estimates import all_estimates
from .measure import BOTH, magnitude_edits, measure, plane_edits, refusals
from .operators import FAMILIES, Frame, doses, opposite_sites, parse_all, placements
from .protocol import CAPS, MATCHED_KL, Config, verdicts
from .reach import Measurements, choose
from .tables import tables


def run(config: Config, lab: Lab) -> Result:
    """Sweep on validation, choose, measure on test, compare with random planes."""
    variants = parse_all(config.variants)
    selection = select_direction(lab, n_prompts=config.n_validation, n_train=config.n_train)
    frame = steering_frame(lab, selection)
    validation, test = meters(config, lab, selection.prompts.validation)
    skipped = [str(variant) for variant in variants if not frame.places[variant.place]]
    edits = {
        (variant, dose): placements(variant, dose, frame)
        for variant in variants
        if frame.places[variant.place]
        for dose in doses(variant, config.n_doses)
    }
    sweep = measure(validation, edits, "sweeping operators")
    choices = choose(sweep)
    chosen = sorted({point for shares in choices.values() for point in shares})
    planes = plane_edits(config, lab, frame, selection)
    magnitude = magnitude_edits(config, lab, frame)
    found = Measurements(
        base=test.scores(BOTH).openings.reshape(2, -1),
        sweep=sweep,
        planes=measure(validation, planes, "turning random planes"),
        choices=choices,
        test=measure(test, {point: edits[point] for point in chosen}, "testing what was chosen"),
        magnitude=measure(test, magnitude, "rescaling states", damage=False),
        refused=refusals(config, test, frame),
        selection=selection,
    )
    estimates = all_estimates(found, config.seed)
    observation = observe(estimates, skipped)
    return Result(tuple(estimates.values()), tables(found, config.seed), observation)


def steering_frame(lab: Lab, selection: Selection) -> Frame:
    """The plane of the selected direction, and where edits go."""
    site, position = selection.direction.site, selection.direction.position
    if site is None or position is None:
        raise ExperimentError("The selected direction has no site; a steering plane needs one.")
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    candidates = directions_of(lab, sites, (position,), selection.prompts)
    positive, negative = (
        dict(zip(sites, part[:, :, 0].double().mean(0), strict=True))
        for part in class_activations(lab, sites, (position,), selection.prompts)
    )
    units = torch.stack([candidate.unit for candidate in candidates.values()])
    plane = steering_plane(selection.direction.unit, units, torch.stack([*negative.values()]))
    opposite = opposite_sites(plane, positive, negative)
    places = {"norms": tuple(sites), "opposite": opposite, "source": (site,)}
    return Frame(plane, places, positive, negative)


def meters(
    config: Config, lab: Lab, prompts: tuple[tuple[str, ...], tuple[str, ...]]
) -> tuple[Meter, Meter]:
    """Validation (the given prompts) and test: other prompts and text, equally many per class."""
    harmful, harmless, texts = lab.harmful_test.texts, lab.harmless_test.texts, lab.text
    n = min(config.n_validation, *map(len, prompts))
    n_test = min(config.n_test, len(harmful), len(harmless))
    if min(n, n_test) < 2 or len(texts) < 2 * config.n_text:
        raise ExperimentError(
            f"Too little data: {n} validation and {n_test} test prompts per class, {len(texts)} "
            f"texts; expected 2 or more of each class and {2 * config.n_text} texts."
        )

    def drawn(name: str, items: Sequence[str], size: int) -> tuple[str, ...]:
        rows = lab.rng(f"08.{name}").permutation(len(items))[:size]
        return tuple(items[int(row)] for row in np.sort(rows))

    text = drawn("text", texts, 2 * config.n_text)
    tested = drawn("harmful", harmful, n_test) + drawn("harmless", harmless, n_test)
    splits = {"validation": prompts[0][:n] + prompts[1][:n], "test": tested}
    first, second = (
        Meter(lab, {BOTH: both}, Passages(lab.model, text[half::2], config.text_tokens), name=name)
        for half, (name, both) in enumerate(splits.items())
    )
    return first, second


def observe(estimates: Mapping[str, Estimate], skipped: Sequence[str]) -> str:
    """The answers with their numbers, in one paragraph."""
    e, given = estimates, verdicts(estimates)
    margins = " and ".join(
        f"{e[f'reach.scaling.cap_{cap:g}']} against rotation's {e[f'reach.rotation.cap_{cap:g}']} "
        f"within a KL of {cap:g}"
        for cap in CAPS
    )
    opening = ""
    if lacks_behaviour(e):
        opening = (
            f"Behaviour absent: {e['train.refused'].value:.0f} of {e['train.refused'].n} harmful "
            "train prompts are refused. "
        )
    elif not_found(e):
        opening = f"No direction found: random ones do as much (p = {e['selection.p']}). "
    note = f" Not run, for want of sites: {', '.join(skipped)}." if skipped else ""
    return (
        f"{opening}"
        f"(a) {given['08a']}: rescaling the state changes the score by a share of "
        f"{e['magnitude.share']} of what the angle does ({e['magnitude.angle_effect']}). "
        f"(b) {given['08b']}: scaling reaches {margins}. "
        f"(c) {given['08c']}: at a KL of {MATCHED_KL} on text rotation leads by "
        f"{e['matched.lead']}{below_matched_kl(e)}. (d) {given['08d']}: R squared of the first "
        f"harmonic {e['angle.r_squared']}, amplitude {e['angle.amplitude']}, along b2 "
        f"{e['angle.amplitude_along_b2']}.{note}"
    )


def below_matched_kl(estimates: Mapping[str, Estimate]) -> str:
    """The families that question (c) compares at less than its KL; empty if there are none."""
    damage = {family: estimates.get(f"matched.damage.{family}") for family in FAMILIES}
    below = [f"{family} {e}" for family, e in damage.items() if e and e.value < MATCHED_KL]
    return f" (short of that KL: {', '.join(below)})" if below else ""
