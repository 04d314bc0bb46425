"""Is a feature an angle or a length?

A norm discards the length of the state that it reads; what is left of it is the race with what
later layers write. In a state's own plane, span(u, h - (h.u)u) for the direction u (chosen as in
05), adding c u or scaling h's part along u is a turn once the length is divided out, to an angle of
0 to 180 degrees from u. Edits are written at one site, at every token. Refusal odds: log odds of
any refusal opening, in nats, on AdvBench and harmless tasks (one prompt per near-duplicate
cluster). Intervals: bootstrap over pairs of prompts and, in full, re-extractions of u.

Objections, and what was done:
- An attention sink (the first token's state, many times longer than others) breaks any model when
  it is turned, and does nothing when rescaled: no edit touches such states.
- A random turn breaks the model, next to which anything is small: 08a asks for a small share of two
  kinds of turns, one as states differ from each other, and of the gap between the classes.
- At the last site length is nothing by algebra: sites are fixed, or at most three quarters deep.
- Small doses change no length, so that 08b could not fail: they are shares of the state's length.
  Those that break the model have a range of 13 nats, a tenth of which is much: the smaller gap of
  the classes counts. The protocol's margin had been halved for the range; when the gap replaced it
  (a quick run had shown .10 [.06, .24] of it), it became .1 again, and other seeds decide.
- In its own plane the other half of the turn reverses the whole state, which breaks any model: it
  is shown, and 08c is decided in the notes' fixed plane, where text survives. There a cosine of the
  angle has all of its range in the half that adding reaches, a sine half of it: rejection by a
  share of 1 means that the direction is the plane's axis of refusal, so that adding lacks nothing.
- Prompts are the same at all angles: no noise between them asks for an adjusted R^2, and the share
  of a smooth curve's variance in its first harmonic is the same for any even grid of 8 or more.
- A turn in a plane that holds more of the state moves more: random planes get the same length.
- Some b2 is the best of a few by chance: its plane has to be ahead by a tenth, at the same four
  angles. A plane that is not ahead blocks support of 08d and rejects nothing.
- The first harmonic explains .81 of a step at 90 degrees: the protocol's .8 was raised to .85.
- Doubling a state halves what is added to it after the norm: where later layers do not compensate,
  08e is nearly algebra. Rejection means that they do, or write the refusal anew. Where a longer
  state alone has no gap left, it has none to lose: the loss is counted from the larger gap. An
  overdose, which leaves no gap to keep, is no test.
- 08c is not registered: in a planted model that refuses at either sign of the axis, 3 of 60 draws
  come near a half by chance. Neither the limit on the KL (there all of the turn is usable) nor the
  fit of two harmonics keeps them out; asking for a first harmonic is 08d, and not what is claimed.
- A third axis (a sphere in place of the circle) is left out: it takes as many passes again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, MultipleOf

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE, SIGNIFICANCE, lacks_behaviour, not_found

SINK = 5.0  # median lengths of a state
FACTORS = (0.5, 2.0)  # of the whole state
DEPTHS = (0.25, 0.5, 0.75)
TURNS = ("isotropic", "covariance_matched")
MAX_SHARE = 0.25
MIN_TURNED = 0.25  # nats
MAX_SITE = 0.75  # of the depth
DOSES = (-1.0, -0.5, 0.5, 1.0)  # of the median length of a state
MAX_DIFFERENCE = 0.1
MIN_RANGE = 1.0  # nats
HALF = (0.35, 0.65)
MAX_TEXT_KL = 1.0  # nats per token
MIN_R2 = 0.85
MIN_AMPLITUDE = 0.5  # nats
LEAD = 1.1
PLANES = ("isotropic", "covariance", "random_b2")
QUARTERS = (0.0, 90.0, 180.0, 270.0)  # degrees
LONGER = 2.0
COMPETITOR = 0.5  # of the median length of a state
MIN_KEPT = 0.25  # of the loss
COST = (0.05, 0.8)  # of the gap

SPARED = f"No edit touches states longer than {SINK:g} median lengths. "
ABSENT = f"{SPARED}Untestable (behaviour absent) if {GATE}."
MISSING = (
    f"{ABSENT} Untestable too (no direction found) if the direction does not beat random ones on "
    f"validation prompts (p < {SIGNIFICANCE}, corrected for the number of candidates)."
)
SITE = f"the direction's site (the selected one, or {MAX_SITE} of the depth if that is less)"
PLANE = (
    "Plane of the direction and the first component of all layers' directions; the state's part in "
    f"it is turned to evenly spaced angles at {SITE}. "
)

CLAIMS = (
    Claim(
        key="08a", notes="the magnitude ... is not important for varying the effect",
        statement="A state may be made shorter or longer: refusal changes little beside what "
        "turns of the same size do, and beside the gap between the classes.",
        criterion=f"At {DEPTHS} of the depth (pre) every state is multiplied by {FACTORS}, or "
        "turned towards a random direction so that it moves as far: isotropic, and drawn from the "
        "covariance of the states (1 draw each in quick, 4 in full). Mean absolute change of the "
        "refusal odds by rescaling, over both factors, the sites and the test prompts of both "
        "classes, over that by either turn, and over the gap (mean odds of harmful minus harmless "
        f"prompts). Supported if the 95% intervals of all three ratios lie below {MAX_SHARE}, "
        "rejected if any lies above, else inconclusive. Untestable if the interval of either "
        f"turn's change is not above {MIN_TURNED} nats, or that of the gap not above "
        f"{MIN_RANGE:g} nat. {ABSENT}",
        number=f"change by rescaling over the gap between the classes (wanted: below {MAX_SHARE})",
        estimates=(*(f"length.ratio.{name}" for name in ("gap", *TURNS)),
                   *(f"length.turned.{turn}" for turn in TURNS), "gap"),
    ),
    Claim(
        key="08b", notes="scaling the magnitude is just a proxy for rotating",
        statement="Adding the direction does what turning states by the same angle does.",
        criterion=f"{DOSES} times the median length of a state are added along the direction at "
        f"{SITE}; in the other version every state then gets its old length back. Mean absolute "
        "difference of the refusal odds, over doses and the test prompts of both classes, over the "
        "smaller of the range of the mean odds over these doses and none, and the gap between the "
        f"classes. Supported if its 95% interval lies below {MAX_DIFFERENCE}, rejected if above, "
        "else inconclusive. Untestable if the interval of the range or of the gap is not above "
        f"{MIN_RANGE:g} nat. {MISSING}",
        number="difference between adding and turning over the gap between the classes "
        f"(wanted: below {MAX_DIFFERENCE})",
        estimates=("adding.difference", "adding.range", "gap"),
    ),
    Claim(
        key="08c", notes="it can only mimic half of the rotation",
        statement="Adding and scaling reach about half of the refusal that the full turn reaches.",
        criterion=f"{PLANE}The mean refusal odds of both classes are fitted with the first two "
        "harmonics. Share: range of the fit from 0 to 180 degrees from the direction, the half "
        "where states lie, and where adding and scaling keep them, over that of the full turn, "
        f"both where the KL on text is at most {MAX_TEXT_KL:g} nat per token (its square root "
        f"interpolated). Supported if the 95% interval of the share lies within {HALF}, rejected "
        "if outside, else inconclusive. Untestable if the interval of the full turn's range is "
        f"not above {MIN_RANGE:g} nat. {MISSING}",
        number="range that adding reaches over that of the full turn "
        f"(wanted: {HALF[0]} to {HALF[1]})",
        estimates=("reach.share", "reach.range"),
    ),
    Claim(
        key="08d",
        notes="the feature varies its effect from a rotation on a 2D plane (could be higher "
        "dimension)",
        statement="Refusal is close to a cosine of the angle, in this plane.",
        criterion=f"{PLANE}First harmonic of the mean refusal odds of both classes: supported if "
        f"the 95% intervals of its R^2 lie above {MIN_R2}, of its amplitude above {MIN_AMPLITUDE} "
        f"nats, and of its amplitude minus {LEAD} times that of the strongest random plane, both "
        f"at {QUARTERS} degrees, above 0, for isotropic planes, such from the covariance of the "
        "states, and those of the direction and a random axis (1 each in quick, 4 in full; turned "
        "with the same length). Rejected if R^2 or amplitude lies below, else inconclusive. "
        f"{MISSING}",
        number=f"share of the variance over angles that a cosine explains (wanted: above {MIN_R2})",
        estimates=("plane.r2", "plane.amplitude", *(f"plane.margin.{name}" for name in PLANES)),
    ),
    Claim(
        key="08e", notes='magnitude "is for competing with other features in superposition"',
        statement="A longer state keeps its refusal better when other features are added later.",
        criterion="Other behaviours' directions (2 in quick, 4 in full; of both signs, orthogonal "
        f"to refusal's, {COMPETITOR} times as long as the median state) are added halfway between "
        f"{SITE} and the end. Loss: what this takes from the gap (mean refusal odds of harmful "
        f"minus harmless test prompts); for states multiplied by {LONGER:g} at the direction's "
        "site it is counted from the larger of both gaps. Share of the loss that longer states are "
        f"spared: supported if its 95% interval lies above {MIN_KEPT}, rejected if below, else "
        f"inconclusive. Untestable if the interval of the gap is not above {MIN_RANGE:g} nat, or "
        f"that of the loss over the gap not above {COST[0]} or above {COST[1]}. {MISSING}",
        number=f"share of the loss that longer states are spared (wanted: above {MIN_KEPT})",
        estimates=("competition.kept", "competition.cost", "gap"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Is a feature an angle or a length?"""

    n_sites: CountOrZero = 3  # candidate sites, evenly spaced, stream pre; 0: all, pre and mid
    n_train: Several = 20  # prompts per class the directions come from, before filtering
    n_validation: Count = 8  # prompts per class for the selection
    n_test: Several = 8  # test prompts per class
    n_angles: Annotated[int, Ge(8), MultipleOf(4)] = 8  # of the full turn
    n_turns: Count = 1  # random directions per family, for 08a
    n_planes: Count = 1  # random planes per family
    n_others: Count = 2  # behaviours that compete
    n_reextractions: CountOrZero = 0  # directions from resampled train prompts
    n_answered: CountOrZero = 0  # of the test prompts, per class, that are answered too (08b)
    n_text: Several = 2  # Wikipedia leads, their first 32 tokens


MINUTES = {"smoke": 0.1, "quick": 0.7, "full": 16}
PRESETS = {
    "smoke": Config(n_sites=2, n_train=12, n_validation=3, n_test=4, n_others=1,
                    n_reextractions=1, n_answered=2),
    "quick": Config(n_train=24, n_validation=7, n_test=6),  # prompts as in 05, whose answers serve
    "full": Config(n_sites=8, n_train=64, n_validation=10, n_test=24, n_angles=12, n_turns=4,
                   n_planes=4, n_others=4, n_reextractions=4, n_answered=24, n_text=8),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e, (low, high) = estimates, HALF
    ratios = [e[f"length.ratio.{name}"] for name in (*TURNS, "gap")]
    difference, share, kept = e["adding.difference"], e["reach.share"], e["competition.kept"]
    r2, amplitude, cost = e["plane.r2"], e["plane.amplitude"], e["competition.cost"]
    ahead = all(e[f"plane.margin.{name}"].above(0) for name in PLANES)
    cosine = r2.above(MIN_R2) and amplitude.above(MIN_AMPLITUDE) and ahead
    sides = {
        "08a": (all(r.below(MAX_SHARE) for r in ratios), any(r.above(MAX_SHARE) for r in ratios)),
        "08b": (difference.below(MAX_DIFFERENCE), difference.above(MAX_DIFFERENCE)),
        "08c": (share.above(low) and share.below(high), share.below(low) or share.above(high)),
        "08d": (cosine, r2.below(MIN_R2) or amplitude.below(MIN_AMPLITUDE)),
        "08e": (kept.above(MIN_KEPT), kept.below(MIN_KEPT)),
    }
    gap, found = e["gap"].above(MIN_RANGE), not not_found(e)
    gates = {
        "08a": gap and all(e[f"length.turned.{turn}"].above(MIN_TURNED) for turn in TURNS),
        "08b": found and gap and e["adding.range"].above(MIN_RANGE),
        "08c": found and e["reach.range"].above(MIN_RANGE),
        "08d": found,
        "08e": found and gap and cost.above(COST[0]) and not cost.above(COST[1]),
    }
    testable = {key: gate and not lacks_behaviour(e) for key, gate in gates.items()}
    return {key: decide(*sides[key]) if testable[key] else "untestable" for key in sides}
