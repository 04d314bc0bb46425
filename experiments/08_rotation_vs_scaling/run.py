"""The method of 08_rotation_vs_scaling; protocol.py has the question and the criteria."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import asin, pi

import numpy as np
import torch
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from experiments.lab.results import Result
from experiments.lab.rules import lacks_behaviour, not_found
from experiments.lab.selection import Selection, class_activations, directions_of, select_direction
from interp.errors import ExperimentError
from interp.interventions import Interpolate, Intervention, Placement, RotateTo, compose
from interp.planes import (
    Plane,
    ScaleState,
    covariance_planes,
    isotropic_planes,
    random_second_axis,
    steering_plane,
)
from interp.sites import all_sites

from .estimates import all_estimates
from .measure import PLANE_VARIANT, Measurements, PlaneKey
from .meter import Measured, Meter
from .operators import Frame, Variant, doses, opposite_sites, parse_all, placements
from .protocol import CAPS, MATCHED_KL, Config, verdicts
from .reach import FAMILIES, Point, choose, points_of
from .tables import tables


@dataclass(frozen=True, eq=False)
class Setup:
    """What every part of the experiment works with."""

    config: Config
    lab: Lab
    frame: Frame
    variants: tuple[Variant, ...]
    pooled: Float[torch.Tensor, "sample d_model"]  # train activations at the direction's site
    validation: Meter
    test: Meter
    selection: Selection


def prepare(config: Config, lab: Lab) -> Setup:
    """The direction, its plane, where edits go, and the prompts of both splits."""
    check(config)
    selection = select_direction(lab, n_prompts=config.n_validation, n_train=config.n_train)
    direction = selection.direction
    site, position = direction.site, direction.position
    if site is None or position is None:
        raise ExperimentError("The selected direction has no site; a steering plane needs one.")
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    candidates = directions_of(lab, sites, (position,), selection.prompts)
    positive, negative = (
        part[:, :, 0] for part in class_activations(lab, sites, (position,), selection.prompts)
    )
    means = [dict(zip(sites, part.double().mean(0), strict=True)) for part in (positive, negative)]
    units = torch.stack([found.unit for found in candidates.values()])
    plane = steering_plane(direction.unit, units, torch.stack(list(means[1].values())))
    places = {
        "norms": tuple(sites),
        "opposite": opposite_sites(plane, *means),
        "source": (site,),
    }
    variants = tuple(v for v in parse_all(config.variants) if places[v.place])
    return Setup(
        config,
        lab,
        Frame(plane, places, *means),
        variants,
        torch.cat([selection.positive, selection.negative]),
        *meters(config, lab, selection.prompts.validation),
        selection=selection,
    )


def check(config: Config) -> None:
    """Raise ExperimentError for settings that do not fit together."""
    variants = parse_all(config.variants)
    if PLANE_VARIANT not in variants or "scaling" not in {v.family for v in variants}:
        raise ExperimentError(
            f"The variants must hold {PLANE_VARIANT} and one that scales, scale@norms say; got "
            f"{', '.join(config.variants)}."
        )
    if config.n_doses % config.n_random_angles:
        raise ExperimentError(
            "Random planes are compared at the true plane's own angles: n_random_angles must "
            f"divide n_doses; got {config.n_random_angles} and {config.n_doses}."
        )
    if config.n_isotropic + config.n_covariance < 1:
        raise ExperimentError("The null of fully random planes needs n_isotropic or n_covariance.")


def meters(
    config: Config, lab: Lab, prompts: tuple[tuple[str, ...], tuple[str, ...]]
) -> tuple[Meter, Meter]:
    """Validation (the given prompts) and test: other prompts and text, equally many per class."""
    n_text = config.n_text
    n = min(config.n_validation, *(len(part) for part in prompts))
    harmful, harmless = lab.harmful_test.texts, lab.harmless_test.texts
    n_test = min(config.n_test, len(harmful), len(harmless))
    if min(n, n_test) < 2 or len(lab.text) < 2 * n_text:
        raise ExperimentError(
            f"Too little data: {n} validation and {n_test} test prompts per class, {len(lab.text)} "
            f"texts; expected 2 or more of each class and {2 * n_text} texts."
        )
    drawn = [
        tuple(texts[i] for i in np.sort(lab.rng(f"08.{name}").permutation(len(texts))[:size]))
        for name, texts, size in (
            ("harmful", harmful, n_test),
            ("harmless", harmless, n_test),
            ("text", lab.text, 2 * n_text),
        )
    ]
    texts = [Passages(lab.model, drawn[2][half::2], config.text_tokens) for half in (0, 1)]
    return (
        Meter(lab, "validation", prompts[0][:n], prompts[1][:n], texts[0]),
        Meter(lab, "test", drawn[0], drawn[1], texts[1]),
    )


def sweep(setup: Setup) -> dict[Point, Measured]:
    """Every variant at every dose, on validation prompts."""
    points = [(v, dose) for v in setup.variants for dose in doses(v, setup.config.n_doses)]
    return measure_points(setup, setup.validation, points, "sweeping operators")


def measure_points(
    setup: Setup, meter: Meter, points: Sequence[Point], description: str
) -> dict[Point, Measured]:
    """The given points on the meter's split."""
    return {
        (variant, dose): meter.measure(
            f"{variant}/{dose:g}", placements(variant, dose, setup.frame)
        )
        for variant, dose in setup.lab.progress(points, description, len(points))
    }


def random_planes(setup: Setup) -> dict[PlaneKey, Plane]:
    """Random planes by family and number, each family with a seed of its own."""
    config, true = setup.config, setup.frame.plane
    seeds = setup.lab.rng("08.planes").integers(2**31, size=3).tolist()
    drawn = [
        *random_second_axis(true, config.n_random_b2, seeds[0]),
        *isotropic_planes(true, config.n_isotropic, seeds[1]),
        *covariance_planes(true, setup.pooled, config.n_covariance, seeds[2]),
    ]
    numbers: dict[str, int] = {}
    keyed: dict[PlaneKey, Plane] = {}
    for plane in drawn:
        number = numbers.get(plane.family, 0)
        numbers[plane.family] = number + 1
        keyed[plane.family, number] = plane
    return keyed


def sweep_random_planes(setup: Setup) -> dict[PlaneKey, dict[float, Measured]]:
    """The absolute rotation at all norm inputs in every random plane, on validation prompts."""
    angles = doses(PLANE_VARIANT, setup.config.n_random_angles)
    found: dict[PlaneKey, dict[float, Measured]] = {}
    planes = random_planes(setup)
    pairs = [(key, angle) for key in planes for angle in angles]
    for key, angle in setup.lab.progress(pairs, "turning random planes", len(pairs)):
        frame = Frame(planes[key], setup.frame.places, setup.frame.positive, setup.frame.negative)
        edit = placements(PLANE_VARIANT, angle, frame)
        found.setdefault(key, {})[angle] = setup.validation.measure(
            f"plane.{key[0]}.{key[1]}/{angle:g}", edit
        )
    return found


def random_move(unit: Float[torch.Tensor, " d_model"], factor: float) -> Interpolate:
    """A turn towards `unit` as long as rescaling by `factor` is: chord |factor - 1| of |h|.

    The angle is 2 asin(|factor - 1| / 2); the slerp's share assumes a right angle between the state
    and `unit`, which random vectors have to within 1/sqrt(d_model).
    """
    chord = min(abs(factor - 1.0), 2.0)
    return Interpolate(unit, 2 * asin(chord / 2) / (pi / 2))


def measure_magnitude(setup: Setup) -> dict[tuple[str, float], Measured]:
    """Rescaled states at in-plane angles, and random moves, at the direction's own site (test).

    Keys: (angle or `random.N`, factor). Factor 1 is the rotation alone.
    """
    config, plane = setup.config, setup.frame.plane
    turns = {f"{a:g}": RotateTo(plane.b1, plane.b2, a) for a in magnitude_angles(config)}
    factors = (1.0, *config.magnitude_factors)
    edits: dict[tuple[str, float], Intervention] = {
        (name, factor): compose(turn, ScaleState(factor))
        for name, turn in turns.items()
        for factor in factors
    }
    rng = setup.lab.rng("08.moves")
    units = rng.standard_normal((config.n_random_moves, len(plane.b1)))
    for number, unit in enumerate(torch.from_numpy(units).float()):
        for factor in config.magnitude_factors:
            edits[f"random.{number}", factor] = random_move(unit / unit.norm(), factor)
    sites = setup.frame.places["source"]
    tracked = setup.lab.progress(edits.items(), "rescaling states", len(edits))
    return {
        key: setup.test.measure(
            f"magnitude.{key[0]}/{key[1]:g}", [Placement(edit, sites)], with_text=False
        )
        for key, edit in tracked
    }


def magnitude_angles(config: Config) -> list[float]:
    """In-plane angles of question (a), evenly spread over the turn."""
    return [
        float(a) for a in np.arange(config.n_magnitude_angles) * 360 / config.n_magnitude_angles
    ]


def run(config: Config, lab: Lab) -> Result:
    """Sweep on validation, choose, measure on test, compare with random planes."""
    setup = prepare(config, lab)
    swept = sweep(setup)
    base = setup.validation.base()
    chosen = choose(swept, base, CAPS)
    matched = choose(swept, base, (MATCHED_KL,), text_only=True)
    points = points_of(chosen, matched)
    found = Measurements(
        base_validation=base,
        base_test=setup.test.base(),
        sweep=swept,
        planes=sweep_random_planes(setup),
        chosen=chosen,
        matched=matched,
        test=measure_points(setup, setup.test, points, "testing the chosen settings"),
        magnitude=measure_magnitude(setup),
        selection=setup.selection,
    )
    estimates = all_estimates(found, config.seed)
    return Result(
        tuple(estimates.values()),
        tables(found, MATCHED_KL, config.seed),
        observe(estimates, setup),
    )


def observe(estimates: Mapping[str, Estimate], setup: Setup) -> str:
    """The answers with their numbers, in one paragraph."""
    given = verdicts(estimates)
    e = estimates
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
    skipped = [v for v in setup.config.variants if Variant.parse(v) not in setup.variants]
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
