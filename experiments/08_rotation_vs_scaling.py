"""Is a feature an angle in a plane, of which scaling along one line is only a proxy?

RMSNorm discards the length of the state it reads, so the research notes conclude that a feature
varies by rotation in a plane, and that scaling a direction is a proxy that reaches half of it.
Operators with one dose (`interp.operators`) are swept on validation prompts; for each family of
operators, target and damage limit the best settings are chosen there and measured on test prompts.
Two targets: *bypass*, the fall of the openings score on harmful prompts, and *induce*, its rise on
harmless ones, both in nats; reach is their sum. Damage is the KL(base || edited) per token of
ordinary text and, for bypass, also that of the next token after harmless prompts; inducing refusal
is meant to change that token, so it does not count against it.

Differences from the protocol. Every write is to the residual stream, so at all norm inputs repeated
doses accumulate: scales are 1 + d with d on the log grid of both signs, and added vectors are
measured in the site's own distance between class means. Families are compared as mixtures of
settings (`interp.frontier`): with 8 angles, whether the best one falls just within a limit would
decide. KL on text is therefore measured at every swept setting. Where no setting chosen for a
family has the KL of (c), the family is compared at less; `matched.damage` says at how much. Random
planes are also covariance-matched: an isotropic plane holds almost nothing of the state. "Reaches
half" is tested as a difference, scaling - rotation / 2, which has no denominator that may vanish.
Question (d) makes no choice, so its curve is that of the sweep, on validation prompts.

Three things were changed after quick runs on qwen2.5-coder-0.5b with seed 0 had been seen: a gate
on the separation of the classes was dropped (it would have said "behaviour absent"), families
became mixtures of settings, and (c) limits the KL on text alone. (c) was "no" before and after;
(b) had been open. The full preset is the confirmation: it draws splits and nulls with seed 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import asin, pi
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, MinLen, MultipleOf
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments import rotation_plots
from experiments.claims import Claim, Verdict, decide
from experiments.config import Count, CountOrZero, Except, ExperimentConfig, Several
from experiments.lab import Lab
from experiments.passages import Passages
from experiments.reach import FAMILIES, Point, choose, points_of
from experiments.results import Estimate, Result
from experiments.rotation_estimates import CAPS, HIGH_CAP, LOW_CAP, MATCHED_KL, all_estimates
from experiments.rotation_measurements import PLANE_VARIANT, Measurements, PlaneKey
from experiments.rotation_meter import Measured, Meter
from experiments.rotation_tables import tables
from experiments.rules import GATE, SIGNIFICANCE, lacks_behaviour, not_found
from experiments.selection import Selection, class_activations, directions_of, select_direction
from interp.errors import ExperimentError
from interp.interventions import Interpolate, Intervention, Placement, RotateTo, compose
from interp.operators import Frame, Variant, doses, opposite_sites, parse_all, placements
from interp.planes import (
    Plane,
    ScaleState,
    covariance_planes,
    isotropic_planes,
    random_second_axis,
    steering_plane,
)
from interp.sites import all_sites

SMALL_SHARE = 0.25
MIN_ANGLE_EFFECT = 0.5
MIN_R_SQUARED = 0.8

ABSENT = (
    f"Untestable (behaviour absent) if {GATE}; untestable (no direction found) if the selected "
    f"direction does not beat random ones on validation prompts (p < {SIGNIFICANCE}, corrected for "
    "the candidates)."
)
CLAIMS = (
    Claim(
        key="08a",
        notes="the magnitude ... is not important for varying the effect",
        statement="Rescaling a state changes refusal far less than turning it does.",
        criterion=(
            "Rescaling the whole state at the direction's site, at equal angle, changes the "
            f"refusal score (openings, nats) by less than {SMALL_SHARE} of what the angle changes: "
            "supported if the 95% interval of the share is below, rejected if above; inconclusive "
            f"if the angle changes the score by less than {MIN_ANGLE_EFFECT} nats. {ABSENT}"
        ),
        estimates=("magnitude.share", "magnitude.angle_effect"),
    ),
    Claim(
        key="08b",
        notes="it can only mimic half of the rotation",
        statement="Scaling reaches at least half of what rotating reaches.",
        criterion=(
            "Reach (fall on harmful plus rise on harmless prompts, of the mixture of settings that "
            "does best on validation) of scaling minus half of rotation's, within a KL of "
            f"{LOW_CAP} and of {HIGH_CAP}: supported if both 95% intervals are at 0 or above, "
            "rejected if one is below; inconclusive where rotation's own reach is not above 0. "
            f"{ABSENT}"
        ),
        estimates=tuple(f"reach.margin.cap_{cap:g}" for cap in CAPS),
    ),
    Claim(
        key="08c",
        notes="scaling the magnitude is just a proxy for rotating",
        statement="Rotating moves refusal further than scaling or adding at equal damage.",
        criterion=(
            f"Reach of rotation at a KL of {MATCHED_KL} on ordinary text minus that of scaling or "
            "adding, whichever does better on validation: supported if the 95% interval is above "
            f"0, rejected if it is below. {ABSENT}"
        ),
        estimates=("matched.lead",),
    ),
    Claim(
        key="08d",
        notes="the feature varies its effect from a rotation on a 2D plane",
        statement="Refusal is a smooth function of the angle, and of this plane.",
        criterion=(
            "R squared of the first harmonic of the curve of the angle is at least "
            f"{MIN_R_SQUARED}, its amplitude is above the 97.5th percentile of fully random "
            "planes, and its part along b2 above that of planes with a random b2: supported if all "
            f"three 95% intervals are, rejected if one is below. {ABSENT}"
        ),
        estimates=("angle.r_squared", "angle.amplitude", "angle.amplitude_along_b2"),
    ),
)

QUICK_VARIANTS = ("add@norms", "scale@norms", "rotate_to@norms")
FULL_VARIANTS = (
    *QUICK_VARIANTS,
    "rotate_by@norms",
    "add@opposite",
    "scale@opposite",
    "rotate_to@opposite",
    "rotate_by@opposite",
    "adaptive_scale@norms",
    "adaptive_rotate_to@norms",
    "interpolate@opposite",
    "add@source",
    "scale@source",
    "rotate_to@source",
)

EvenCount = Annotated[int, Ge(4), MultipleOf(2)]
Rescaling = Annotated[float, Gt(0), Except(1)]
Factors = Annotated[tuple[Rescaling, ...], MinLen(1)]


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Rotation in a plane against scaling along a line."""

    variants: tuple[str, ...] = QUICK_VARIANTS  # operator@place; must hold rotate_to@norms
    n_doses: EvenCount = 8  # per variant; angles are 360 degrees / n_doses apart
    n_train: Several = 72  # prompts per class that the directions come from
    n_validation: Several = 12  # prompts per class that the sweep runs on
    n_test: Several = 16  # prompts per class that the chosen settings are measured on
    n_text: Count = 8  # Wikipedia leads for the KL, as many again for the test
    text_tokens: Several = 24  # tokens of each lead
    n_random_b2: Count = 2  # planes with the true b1 and a random b2
    n_isotropic: CountOrZero = 1  # fully random planes, isotropic
    n_covariance: CountOrZero = 2  # fully random planes, drawn from the activations' covariance
    n_random_angles: Annotated[int, Ge(4)] = 4  # angles of a random plane; must divide n_doses
    n_magnitude_angles: Several = 2  # in-plane angles at which the whole state is rescaled
    magnitude_factors: Factors = (0.5, 2.0)  # of the whole state's length
    n_random_moves: Count = 2  # random moves as long as the rescaling, per factor


MINUTES = {"smoke": 0.1, "quick": 1.5, "full": 69}
PRESETS: dict[str, Config] = {
    "smoke": Config(n_doses=4, n_train=12, n_validation=4, n_test=4, n_text=2, text_tokens=12),
    "quick": Config(),
    "full": Config(
        seed=1,
        variants=FULL_VARIANTS,
        n_doses=36,
        n_train=400,
        n_validation=32,
        n_test=32,
        n_text=12,
        text_tokens=48,
        n_random_b2=6,
        n_isotropic=10,
        n_covariance=10,
        n_random_angles=12,
        n_magnitude_angles=12,
        n_random_moves=20,
    ),
}


# ------------------------------------------------------------------------------------ measurement


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
    if config.n_random_angles < 4 or config.n_doses % config.n_random_angles:
        raise ExperimentError(
            "Random planes are compared at the true plane's own angles: n_random_angles must be 4 "
            f"or more and divide n_doses; got {config.n_random_angles} and {config.n_doses}."
        )
    if min(config.n_random_b2, config.n_isotropic + config.n_covariance, config.n_random_moves) < 1:
        raise ExperimentError("Each null needs a draw: random b2, fully random planes, and moves.")
    if config.n_magnitude_angles < 2:
        raise ExperimentError("The effect of the angle needs n_magnitude_angles of 2 or more.")


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


# ---------------------------------------------------------------------------------------- verdict


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    if lacks_behaviour(estimates) or not_found(estimates):
        return dict.fromkeys((claim.key for claim in CLAIMS), "untestable")
    share, lead = estimates["magnitude.share"], estimates["matched.lead"]
    turns = estimates["magnitude.angle_effect"].at_least(MIN_ANGLE_EFFECT)
    margins = [estimates[f"reach.margin.cap_{cap:g}"] for cap in CAPS]
    rotates = [estimates[f"reach.rotation.cap_{cap:g}"].above(0) for cap in CAPS]
    half = [m.at_least(0) and acts for m, acts in zip(margins, rotates, strict=True)]
    less = [m.below(0) and acts for m, acts in zip(margins, rotates, strict=True)]
    amplitudes = [estimates[f"angle.amplitude{part}"] for part in ("", "_along_b2")]
    bounds = [(e, e.null_high) for e in amplitudes if e.null_high is not None]
    parts = [(estimates["angle.r_squared"], MIN_R_SQUARED), *bounds]
    smooth = len(parts) == 3 and all(e.at_least(limit) for e, limit in parts)
    return {
        "08a": decide(turns and share.below(SMALL_SHARE), turns and share.at_least(SMALL_SHARE)),
        "08b": decide(all(half), any(less)),
        "08c": decide(lead.above(0), lead.below(0)),
        "08d": decide(smooth, any(e.below(limit) for e, limit in parts)),
    }


# -------------------------------------------------------------------------------------------- run


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


def plot(result: Result) -> dict[str, Figure]:
    """The curve of the angle, effect against damage, equal damage, and the rescaled state."""
    return rotation_plots.plot_all(result, CAPS, MATCHED_KL)
