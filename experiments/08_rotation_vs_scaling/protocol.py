"""Is a feature an angle in a plane, of which scaling along one line is only a proxy?

RMSNorm discards the length of the state it reads, so the research notes conclude that a feature
varies by rotation in a plane, and that scaling a direction is a proxy that reaches half of it.
Operators with one dose (`operators`) are swept on validation prompts; for each family of
operators, target and damage limit the best settings are chosen there and measured on test prompts.
Two targets: *bypass*, the fall of the openings score on harmful prompts, and *induce*, its rise on
harmless ones, both in nats; reach is their sum. Damage is the KL(base || edited) per token of
ordinary text and, for bypass, also that of the next token after harmless prompts; inducing refusal
is meant to change that token, so it does not count against it.

Differences from the protocol. Every write is to the residual stream, so at all norm inputs repeated
doses accumulate: scales are 1 + d with d on the log grid of both signs, and added vectors are
measured in the site's own distance between class means. Families are compared as mixtures of
settings (`frontier`): with 8 angles, whether the best one falls just within a limit would
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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, MinLen, MultipleOf

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, Except, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE, SIGNIFICANCE, lacks_behaviour, not_found
from interp.errors import ExperimentError

LOW_CAP, HIGH_CAP = 0.1, 0.5  # nats of KL, on text and where it counts on harmless prompts
CAPS = (LOW_CAP, HIGH_CAP)
MATCHED_KL = 0.1  # nats, on text alone
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

CURVE = "rotate_to@norms"  # the variant of question (d), in random planes too
QUICK_VARIANTS = ("add@norms", "scale@norms", CURVE)
FULL_VARIANTS = (
    *QUICK_VARIANTS, "rotate_by@norms",
    "add@opposite", "scale@opposite", "rotate_to@opposite", "rotate_by@opposite",
    "adaptive_scale@norms", "adaptive_rotate_to@norms", "interpolate@opposite",
    "add@source", "scale@source", "rotate_to@source",
)  # fmt: skip

EvenCount = Annotated[int, Ge(4), MultipleOf(2)]
Rescaling = Annotated[float, Gt(0), Except(1)]
Factors = Annotated[tuple[Rescaling, ...], MinLen(1)]


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Rotation in a plane against scaling along a line."""

    variants: tuple[str, ...] = QUICK_VARIANTS  # operator@place, of operators.py
    n_doses: EvenCount = 8  # per variant; angles are 360 degrees / n_doses apart
    n_train: Several = 48  # prompts per class that the directions come from
    n_validation: Several = 10  # prompts per class that the sweep runs on
    n_test: Several = 10  # prompts per class that the chosen settings are measured on
    n_text: Count = 4  # Wikipedia leads for the KL, as many again for the test
    text_tokens: Several = 24  # tokens of each lead
    n_random_b2: Count = 1  # planes with the true b1 and a random b2
    n_isotropic: CountOrZero = 1  # fully random planes, isotropic
    n_covariance: CountOrZero = 1  # fully random planes, drawn from the activations' covariance
    n_random_angles: Annotated[int, Ge(4)] = 4  # angles of a random plane; must divide n_doses
    n_magnitude_angles: Several = 2  # in-plane angles at which the whole state is rescaled
    magnitude_factors: Factors = (0.5, 2.0)  # of the whole state's length
    n_random_moves: Count = 2  # random moves as long as the rescaling, per factor
    n_angle_answers: CountOrZero = 0  # angles at which the test prompts are also answered

    def __post_init__(self) -> None:
        super().__post_init__()
        # Those that scale where the means have opposite signs may have no site in a model.
        scaling = [v for v in self.variants if v.endswith(("scale@norms", "scale@source"))]
        if CURVE not in self.variants or not scaling:
            raise ExperimentError(
                f"The variants must hold {CURVE} and scale@norms or scale@source; got "
                f"{', '.join(self.variants)}."
            )
        if self.n_doses % self.n_random_angles:
            raise ExperimentError(
                "Random planes are compared at the true plane's own angles: n_random_angles must "
                f"divide n_doses; got {self.n_random_angles} and {self.n_doses}."
            )
        if self.n_isotropic + self.n_covariance < 1:
            raise ExperimentError("The null of random planes needs n_isotropic or n_covariance.")


MINUTES = {"smoke": 0.1, "quick": 1.7, "full": 69}

PRESETS: dict[str, Config] = {
    "smoke": Config(
        n_doses=4, n_train=12, n_validation=4, n_test=4, n_text=2, text_tokens=12,
        n_angle_answers=2,
    ),
    "quick": Config(),
    "full": Config(
        seed=1, variants=FULL_VARIANTS, n_doses=36, n_train=400, n_validation=32, n_test=32,
        n_text=12, text_tokens=48, n_random_b2=6, n_isotropic=10, n_covariance=10,
        n_random_angles=12, n_magnitude_angles=12, n_random_moves=20, n_angle_answers=8,
    ),
}  # fmt: skip


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
