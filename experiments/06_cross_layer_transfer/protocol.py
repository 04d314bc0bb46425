# READ NOW, before anything else: RED_TEAM.md at the root of this worktree (from the lead)
"""Does a refusal direction taken at one layer work at layers where it was not taken?

A source is a layer between a third and four fifths of the depth; its direction is the difference of
the class means of train prompts the model refuses and accepts, in the stream entering the layer, at
the last token. A source counts if ablating its direction everywhere lowers the refusal odds of
validation prompts more than random directions do. Every effect is on test prompts, in nats of the
refusal odds. Intervals: bootstrap over prompts and re-extractions of the directions together.

What changed in the protocol: single-layer effects are pooled before they are divided; 06e has the
layer as its unit; 06f compares at fixed parts of the depth, and is not about neighbours.

Objections, and what was done:
- A last layer that writes refusal anew makes only sets with that layer work, so half of all random
  halves. Each half is measured with its complement, and the one that leaves more counts.
- An edit that breaks the model lowers odds too. So do random directions in the same layers, which
  block support where the strongest leaves no more; rates of generated answers stand beside.
- The strongest of many draws grows with their number: that errs against the claims, and every
  bootstrap draw takes it anew. Nothing else is a maximum, but over a half and its complement.
- Neighbouring layers hardly differ, so leaving out the source alone says little: both neighbours
  are left out too, and single layers are a sixth of the depth away or more.
- Half of the source's effect at home mixes transfer with how potent the target is: 06c and 06d
  divide by what the target's own direction does there, pooled over targets.
- What is added at a layer stays in the stream until the source's own layer reads it, so a deeper
  layer's direction works at shallower ones in any model: 06c asks of deeper targets only.
- Sources and targets that do nothing would make ratios of noise. Gates leave them out, by other
  prompts (sources) or against random directions (targets), before any transfer is looked at.
- Cosines fall with depth and effects change with it, and neighbours repeat one another: 06e takes
  depth and its square out, counts layers, not prompts, and asks for more than circular shifts give.
  It has no random directions: layers where any edit does more would count, and the figure says so.
- Ranks see differences of a thousandth: the fall has to differ by a part of its mean as well.
- A few dimensions that no layer touches make all layers alike: 06f must hold without them as well.
- With one component per 5 prompts, as first committed, the ratio fell with the number of prompts
  (.99, .96, .87 with 50, 96, 192 on the 0.5B model): a fault. Their number is fixed instead.
- Layers with nothing in common have no ratio: too little of it at any distance is no support.
- A step of two layers always looks like the identity: 06f weighs three distances alike, up to
  half of the depth, and a map with a negative scale is not taken for the identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE, SIGNIFICANCE, lacks_behaviour

MAX_LEFT = 0.5  # of the gap
MIN_GAP = 1.0  # nats
MIN_SOURCES = 2
GATE_DRAWS = 3  # random directions per family that a source is held against
FAR = 1 / 6  # of the depth
FAR_LAYERS = 2  # at least
MIN_RATIO = 0.5
MIN_OWN = 0.5  # nats
MAX_PARTIAL = -0.3
MIN_LAYERS = 20
MIN_EXCESS = 0.1  # of the mean fall
DISTANCES = (1 / 6, 1 / 3, 1 / 2)  # of the depth
MIN_LIKENESS = 0.8  # of the R^2 of a rotation
MIN_R2 = 0.2
N_LARGEST = 3
N_COMPONENTS = 10
OPERATORS = ("addition", "ablation")

ABSENT = f"Untestable (behaviour absent) if {GATE}."
COUNTING = (
    f"A source counts if ablating its direction everywhere beats {GATE_DRAWS} random directions of "
    "each family on harmful validation prompts (the largest of them, and a one-sided t prediction "
    f"limit, p < {SIGNIFICANCE}, corrected for the number of sources); untestable if fewer than "
    f"{MIN_SOURCES} do."
)
SETS = (
    "Median over sources of the share of the gap that ablation leaves: (refusal odds of harmful "
    "test prompts, edited, minus those of harmless ones) over (the same, unedited). {} Supported "
    f"if {{}} below {MAX_LEFT}, rejected if {{}} above, else inconclusive. "
    "Support is blocked unless the random direction (isotropic, covariance-matched, "
    "label-permuted) that leaves least at the same sets leaves more, by an interval. "
    f"{COUNTING} Untestable too unless the interval of the gap lies above {MIN_GAP:g} nat. {ABSENT}"
)
SINGLE = (
    "{} Ratio of the mean effect of sources at targets "
    f"{FAR:.3f} of the depth or more {{}} (at least {FAR_LAYERS} layers) to that of the targets' "
    "own directions; only targets count whose own effect is above that of every random direction "
    f"there, by an interval. Supported if its 95% interval lies above {MIN_RATIO}, rejected if "
    "below, else inconclusive. Support is blocked unless it is above the largest ratio of random "
    f"directions at the same targets, by an interval. Untestable with fewer than {MIN_SOURCES} "
    f"such targets, or unless the interval of the own effect lies above {MIN_OWN} nats. {COUNTING} "
    f"{ABSENT}"
)

CLAIMS = (
    Claim(
        key="06a",
        notes="ablation can be applied anywhere and need not to be applied on the layer where it "
        "was extracted; works when applied on a subset of layers, even if the subset does not "
        "include the layer",
        statement="Ablated at layers that leave out its own, a direction still ends refusal.",
        criterion=SETS.format(
            "Ablated (a) at all layers but the source and its two neighbours, (b) at a random half "
            "of those or at the other half, whichever leaves more, mean over halves.",
            "both 95% intervals lie", "either lies",
        ),
        estimates=("left.all_but", "left.halves", "margin.all_but", "margin.halves", "gap",
                   "sources"),
    ),
    Claim(
        key="06b",
        notes="need not be consecutive ... range(8, num_layers, 2)",
        statement="Ablated at every second layer, its own left out, it still ends refusal.",
        criterion=SETS.format(
            "Ablated at every second layer from a third of the depth on, of the parity that leaves "
            "the source out.", "its 95% interval lies", "it lies",
        ),
        estimates=("left.second", "margin.second", "gap", "sources"),
    ),
    Claim(
        key="06c",
        notes="ablation can be applied anywhere and need not to be applied on the layer where it "
        "was extracted; activations from all layers are on the same space",
        statement="Added at one far, deeper layer, a direction does as the layer's own does.",
        criterion=SINGLE.format(
            "Added at one layer, at the norm of its own direction; rise of the refusal odds of "
            "harmless test prompts.", "deeper",
        ),
        estimates=("ratio.addition", "margin.addition", "own.addition", "targets.addition",
                   "sources"),
    ),
    Claim(
        key="06d",
        notes="ablation can be applied anywhere and need not to be applied on the layer where it "
        "was extracted",
        statement="Ablated at one far layer, a direction does as the layer's own does.",
        criterion=SINGLE.format(
            "Ablated at one layer's states; fall of the refusal odds of harmful test prompts.",
            "away",
        ),
        estimates=("ratio.ablation", "margin.ablation", "own.ablation", "targets.ablation",
                   "sources"),
    ),
    Claim(
        key="06e",
        notes="when applying on layers with low cosine similarity",
        statement="A direction does more at layers where the class means are less alike.",
        criterion="The direction of the source that does most on validation prompts, ablated at "
        "one layer, for every layer but the first, the source and its neighbours. Rank correlation "
        "over layers of the fall of the refusal odds with the cosine of the class means, depth and "
        "its square partialled out; interval over prompts and layers together (Fisher's z). And "
        "the excess: the mean fall at the half of the layers with lower cosine minus that at the "
        "others, both less what depth and its square predict, over the mean of all. "
        f"Supported if the 95% interval of the first lies below {MAX_PARTIAL}, that of the second "
        f"above {MIN_EXCESS}, and circular shifts give the first in at most {SIGNIFICANCE} of the "
        f"cases; rejected if the first lies above {MAX_PARTIAL} or the second below {MIN_EXCESS}; "
        f"else inconclusive. Untestable with fewer than {MIN_LAYERS} layers, or unless the "
        "interval of the mean fall lies above 0. " + f"{COUNTING} {ABSENT}",
        estimates=("profile.partial", "profile.excess", "profile.fall", "sources"),
    ),
    Claim(
        key="06f",
        notes="activations from all layers are on the same space",
        statement="Layers share their axes: the identity maps one onto another, as far as a "
        "rotation can.",
        criterion="Held-out R^2 of the identity (centred, one scale of 0 or more) over that of a "
        f"rotation (Procrustes), both in the target's {N_COMPONENTS} leading principal "
        "components; last token of the instruction. Of means over pairs of layers "
        f"{DISTANCES[0]:.3f}, {DISTANCES[1]:.3f} and {DISTANCES[2]:.3f} of the depth apart; 95% "
        f"interval by halves of the prompts. Supported if it lies above {MIN_LIKENESS} with all "
        f"dimensions, and without the {N_LARGEST} of either layer that vary most; rejected if "
        "either lies below; else inconclusive. Untestable unless the interval of the R^2 of the "
        f"rotation lies above {MIN_R2} at every distance, with and without those.",
        estimates=("same_space.all", "same_space.without", "rotation.all", "rotation.without"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Directions at layers where they were not taken."""

    n_train: Several = 12  # prompts per class that directions are taken from, before filtering
    n_validation: Count = 4  # harmful prompts on which sources are held against random directions
    n_test: Several = 5  # prompts per class that effects are measured on
    n_sources: Several = 3  # candidates, evenly spaced in depth
    n_targets: Several = 3  # single layers, evenly spaced in depth
    n_halves: Count = 1  # random halves of the layers, each with its complement
    n_nulls: Count = 1  # random directions per family
    n_reextractions: CountOrZero = 1  # directions from resampled train prompts
    answer_tokens: Count = 8  # greedy tokens of each answer
    n_geometry: Annotated[int, Ge(25)] = 25  # prompts per class on which layers are compared
    n_pairs: Count = 3  # pairs of layers at each distance
    n_resamples: Several = 10  # halves of these prompts


MINUTES = {"smoke": 0.1, "quick": 1, "full": 14}
PRESETS = {
    "smoke": Config(n_train=12, n_validation=3, n_test=4, n_sources=2, n_targets=2,
                    answer_tokens=3, n_geometry=25, n_pairs=1, n_resamples=2),
    "quick": Config(),
    "full": Config(n_train=96, n_validation=10, n_test=24, n_sources=6, n_targets=7, n_halves=2,
                   n_nulls=3, n_reextractions=2, answer_tokens=24, n_geometry=96, n_pairs=6,
                   n_resamples=40),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e = estimates
    none = lacks_behaviour(e) or e["sources"].value < MIN_SOURCES
    flat = none or not e["gap"].above(MIN_GAP)
    found: dict[str, Verdict] = {
        "06a": "untestable" if flat else ended(e, "all_but", "halves"),
        "06b": "untestable" if flat else ended(e, "second"),
    }
    for key, operator in zip(("06c", "06d"), OPERATORS, strict=True):
        few = e[f"targets.{operator}"].value < MIN_SOURCES or none
        weak = few or not e[f"own.{operator}"].above(MIN_OWN)
        found[key] = "untestable" if weak else as_own(e, operator)
    partial, excess = e["profile.partial"], e["profile.excess"]
    silent = none or partial.n < MIN_LAYERS or not e["profile.fall"].above(0)
    aligned = partial.p is not None and partial.p <= SIGNIFICANCE
    follows = decide(
        partial.below(MAX_PARTIAL) and excess.above(MIN_EXCESS) and aligned,
        partial.above(MAX_PARTIAL) or excess.below(MIN_EXCESS),
    )
    found["06e"] = "untestable" if silent else follows
    return {**found, "06f": same_space(e)}


def ended(estimates: Mapping[str, Estimate], *sets: str) -> Verdict:
    """Whether ablation at some kinds of sets ends refusal."""
    left, margins = ([estimates[f"{name}.{x}"] for x in sets] for name in ("left", "margin"))
    beyond = all(margin.above(0) for margin in margins)
    gone = all(share.below(MAX_LEFT) for share in left)
    return decide(gone and beyond, any(share.above(MAX_LEFT) for share in left))


def as_own(estimates: Mapping[str, Estimate], operator: str) -> Verdict:
    """Whether directions of other layers do as a layer's own does."""
    ratio, margin = (estimates[f"{name}.{operator}"] for name in ("ratio", "margin"))
    return decide(ratio.above(MIN_RATIO) and margin.above(0), ratio.below(MIN_RATIO))


def same_space(estimates: Mapping[str, Estimate]) -> Verdict:
    """Whether the identity does as a rotation does, also without the largest dimensions."""
    kinds = "all", "without"
    if not all(estimates[f"rotation.{kind}"].above(MIN_R2) for kind in kinds):
        return "untestable"
    found = [estimates[f"same_space.{kind}"] for kind in kinds]
    alike = all(ratio.above(MIN_LIKENESS) for ratio in found)
    return decide(alike, any(ratio.below(MIN_LIKENESS) for ratio in found))
