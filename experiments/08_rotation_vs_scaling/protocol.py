"""Is a feature an angle or a length?

A norm discards the length of the state that it reads; what is left of it is the race with what
later layers write. In a state's own plane, span(u, h - (h.u)u) for the direction u (chosen as in
05), adding c u or scaling h's part along u is a turn once the length is divided out, to an angle of
0 to 180 degrees from u; scaling by s >= 0 stays on one side of 90, and s < 0 is a reflection, a
turn too. Edits are written at one site, at every token. Refusal odds: log odds of any refusal
opening, in nats, on AdvBench and harmless tasks (one prompt per near-duplicate cluster). Intervals:
bootstrap over pairs of a harmful and a harmless prompt and, in full, re-extractions of u.

Objections, and what was done:
- A random turn breaks the model, next to which anything is small. So 08a asks for a small share of
  two kinds of turns: isotropic, and as states differ from each other, which breaks less.
- At the last site length is nothing by algebra: the sites are fixed, and that one is a control.
- Small doses change no length, so that 08b could not fail: they are shares of the state's length,
  and the protocol's margin of .1 became .05: a feature that only later layers write comes to .09.
- The other half of the turn destroys text, so that 08c is decided by the damage: that is what the
  notes deny. Without the limit it is shown. KL on text, since an induced refusal costs none there.
- The same prompts are at all angles: no noise between them asks for an adjusted R^2, and the share
  of a smooth curve's variance in its first harmonic is the same for any even grid of 8 or more.
- A turn in a plane that holds more of the state moves more: random planes get the same length.
- Some b2 is the best of a few by chance: its plane has to be ahead by a tenth, at the same angles
  (at four of them a planted line was ahead: third harmonics alias). A plane that is not ahead
  blocks support of 08d and rejects nothing.
- The first harmonic explains .81 of a step at 90 degrees: the protocol's .8 was raised to .85.
- Where a longer state alone has no gap left, it has none to lose: in 08e its loss is counted from
  the larger of both gaps, so that neither this nor a larger gap without competition is a gain.
- A third axis (a sphere in place of the circle) is left out: it takes as many passes again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE, SIGNIFICANCE, lacks_behaviour, not_found

FACTORS = (0.5, 2.0)  # of the whole state
DEPTHS = (0.25, 0.5, 0.75)
TURNS = ("isotropic", "covariance_matched")
MAX_SHARE = 0.25
MIN_TURNED = 0.25  # nats
DOSES = (-1.0, -0.5, 0.5, 1.0)  # of the mean length of a state
MAX_DIFFERENCE = 0.05
MIN_RANGE = 1.0  # nats
HALF = (0.35, 0.65)
MAX_TEXT_KL = 1.0  # nats per token
MIN_R2 = 0.85
MIN_AMPLITUDE = 0.5  # nats
LEAD = 1.1
PLANES = ("isotropic", "covariance", "random_b2")
LONGER = 2.0
MIN_KEPT = 0.1
MIN_COST = 0.2

ABSENT = f"Untestable (behaviour absent) if {GATE}."
MISSING = (
    f"{ABSENT} Untestable too (no direction found) if the direction does not beat random ones on "
    f"validation prompts (p < {SIGNIFICANCE}, corrected for the number of candidates)."
)

CLAIMS = (
    Claim(
        key="08a", notes="the magnitude ... is not important for varying the effect",
        statement="A state may be made shorter or longer: refusal changes little beside what "
        "turns of the same size do.",
        criterion=f"At {DEPTHS} of the depth (pre) every state is multiplied by {FACTORS}, or "
        "turned towards a random direction so that it moves as far: isotropic, and drawn from the "
        "covariance of the states (1 draw each in quick, 4 in full). Ratio of the mean absolute "
        "changes of the refusal odds, over both factors, the sites and the test prompts of both "
        f"classes. Supported if the 95% intervals of both ratios lie below {MAX_SHARE}, rejected "
        "if either lies above, else inconclusive. Untestable if the interval of either "
        f"denominator is not above {MIN_TURNED} nats. {ABSENT}",
        estimates=(*(f"length.ratio.{turn}" for turn in TURNS),
                   *(f"length.turned.{turn}" for turn in TURNS)),
    ),
    Claim(
        key="08b", notes="scaling the magnitude is just a proxy for rotating",
        statement="Adding the direction does what turning states by the same angle does.",
        criterion=f"{DOSES} times the mean length of a state are added along the direction at its "
        "site; in the other version every state then gets its old length back. Mean absolute "
        "difference of the refusal odds, over doses and the test prompts of both classes, over the "
        "range of the mean odds over these doses and none. Supported if its 95% interval lies "
        f"below {MAX_DIFFERENCE}, rejected if above, else inconclusive. Untestable if the interval "
        f"of the range is not above {MIN_RANGE:g} nat. {MISSING}",
        estimates=("adding.difference", "adding.range"),
    ),
    Claim(
        key="08c", notes="it can only mimic half of the rotation",
        statement="Adding and scaling reach about half of the refusal that the full turn reaches.",
        criterion="States are turned to evenly spaced angles from the direction, each in its own "
        "plane; the mean refusal odds of both classes are fitted with the first two harmonics. "
        "Share: range of the fit from 0 to 180 degrees, where adding and scaling get, over that "
        f"of the full turn, both where the KL on text is at most {MAX_TEXT_KL:g} nat per token "
        "(its square root interpolated). Supported if the 95% interval of the share lies within "
        f"{HALF}, rejected if outside, else inconclusive. Untestable if the interval of the full "
        f"turn's range is not above {MIN_RANGE:g} nat. {MISSING}",
        estimates=("reach.share", "reach.range"),
    ),
    Claim(
        key="08d",
        notes="the feature varies its effect from a rotation on a 2D plane (could be higher "
        "dimension)",
        statement="Refusal is a smooth function of the angle in one plane, and of this plane.",
        criterion="Plane of the direction and the first component of all layers' directions; the "
        "state's part in it is turned to evenly spaced angles. First harmonic of the mean refusal "
        f"odds of both classes: supported if the 95% intervals of its R^2 lie above {MIN_R2}, of "
        f"its amplitude above {MIN_AMPLITUDE} nats, and of its amplitude minus {LEAD} times that "
        "of the strongest random plane above 0, for isotropic planes, such from the covariance of "
        "the states, and those of the direction and a random axis (1 each in quick, 4 in full; at "
        "the same angles, turned with the same length). Rejected if R^2 or amplitude lies below, "
        f"else inconclusive. {MISSING}",
        estimates=("plane.r2", "plane.amplitude", *(f"plane.margin.{name}" for name in PLANES)),
    ),
    Claim(
        key="08e", notes='magnitude "is for competing with other features in superposition"',
        statement="A longer state keeps its refusal better when other features are added later.",
        criterion="Other behaviours' directions (2 in quick, 4 in full; of both signs, orthogonal "
        "to refusal's, as long as the mean state) are added halfway between the direction's site "
        f"and the end. Gap: mean refusal odds of harmful minus harmless test prompts. Loss: what "
        f"this takes from the gap; for states multiplied by {LONGER:g} at the direction's site it "
        "is counted from the larger of both gaps. Loss minus loss of the longer states, over the "
        f"gap: supported if its 95% interval lies above {MIN_KEPT}, rejected if below, else "
        f"inconclusive. Untestable if the interval of the gap is not above {MIN_RANGE:g} nat or "
        f"that of the loss over the gap not above {MIN_COST}. {ABSENT}",
        estimates=("competition.kept", "competition.gap", "competition.cost"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Is a feature an angle or a length?"""

    n_sites: CountOrZero = 3  # candidate sites, evenly spaced, stream pre; 0: all, pre and mid
    n_train: Several = 20  # prompts per class the directions come from, before filtering
    n_validation: Count = 5  # prompts per class for the selection
    n_test: Several = 6  # test prompts per class
    n_length: Several = 3  # of them, per class, for 08a
    n_angles: Annotated[int, Ge(8)] = 8  # of the full turn
    n_turns: Count = 1  # random directions per family, for 08a
    n_planes: Count = 1  # random planes per family
    n_others: Count = 2  # behaviours that compete
    n_reextractions: CountOrZero = 0  # directions from resampled train prompts
    n_answered: CountOrZero = 0  # of the test prompts, per class, that are answered too (08b)
    n_text: Several = 2  # Wikipedia leads, their first 32 tokens


MINUTES = {"smoke": 0.1, "quick": 1, "full": 14}
PRESETS = {
    "smoke": Config(n_sites=2, n_train=12, n_validation=3, n_test=4, n_length=2, n_others=1,
                    n_reextractions=1, n_answered=2),
    "quick": Config(),
    "full": Config(n_sites=8, n_train=64, n_validation=10, n_test=24, n_length=16, n_angles=12,
                   n_turns=4, n_planes=4, n_others=4, n_reextractions=4, n_answered=24,
                   n_text=8),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e, (low, high) = estimates, HALF
    ratios = [e[f"length.ratio.{turn}"] for turn in TURNS]
    difference, share, kept = e["adding.difference"], e["reach.share"], e["competition.kept"]
    r2, amplitude = e["plane.r2"], e["plane.amplitude"]
    ahead = all(e[f"plane.margin.{name}"].above(0) for name in PLANES)
    smooth = r2.above(MIN_R2) and amplitude.above(MIN_AMPLITUDE) and ahead
    sides = {
        "08a": (all(r.below(MAX_SHARE) for r in ratios), any(r.above(MAX_SHARE) for r in ratios)),
        "08b": (difference.below(MAX_DIFFERENCE), difference.above(MAX_DIFFERENCE)),
        "08c": (share.above(low) and share.below(high), share.below(low) or share.above(high)),
        "08d": (smooth, r2.below(MIN_R2) or amplitude.below(MIN_AMPLITUDE)),
        "08e": (kept.above(MIN_KEPT), kept.below(MIN_KEPT)),
    }
    gap, cost = e["competition.gap"].above(MIN_RANGE), e["competition.cost"].above(MIN_COST)
    found = {
        "08a": all(e[f"length.turned.{turn}"].above(MIN_TURNED) for turn in TURNS),
        "08b": e["adding.range"].above(MIN_RANGE) and not not_found(e),
        "08c": e["reach.range"].above(MIN_RANGE) and not not_found(e),
        "08d": not not_found(e),
        "08e": gap and cost,
    }
    testable = {key: gate and not lacks_behaviour(e) for key, gate in found.items()}
    return {key: decide(*sides[key]) if testable[key] else "untestable" for key in sides}
