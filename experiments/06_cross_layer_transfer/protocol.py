"""Does a refusal direction taken at one layer work at layers where it was not taken?

A source is a layer between a third and four fifths of the depth; its direction is the difference of
the class means of train prompts the model refuses and accepts, in the stream entering the layer, at
the last token. Effects are on test prompts, in nats of the refusal odds; the gap is the odds of
harmful prompts minus those of harmless ones, unedited. Intervals: bootstrap over prompts,
re-extractions of the directions and random halves of the layers together.

06a and 06b were shares of the gap, with a gate of 1 nat. After a quick run had shown a gap of 1.17
nats [.70, 1.62] on the 0.5B, less than ablation takes, they became differences in nats, and the
gate became 0: no ratio is left that a small gap could blow up.

Objections, and what was done:
- A last layer that writes refusal anew makes only sets with that layer work, so half of all random
  halves: these block support, each with its complement, redrawn in the bootstrap. A half may be too
  few layers for any direction, so they reject nothing.
- An edit that breaks the model lowers odds too. So do random directions in the same layers, which
  block support where the strongest takes as much. Those that break the model are no rivals.
- The strongest of many draws grows with their number: that errs against the claims.
- A source that hardly refuses when ablated has nothing to transfer: it has to take half of the gap
  everywhere. There all random directions count, which can only leave sources out, and the t limit
  pools their deviations from the families' means, since nine draws are few for a tail.
- Neighbouring layers hardly differ: both neighbours of a source are left out too, and single layers
  are a sixth of the depth away or more.
- Half of the source's effect at home mixes transfer with how potent the target is: 06c and 06d
  divide by what the target's own direction does, and random directions gate out idle targets.
- Odds saturate, so that any push would do: 06c adds half of the target's norm. What is added stays
  until the source's own layer reads it: only deeper targets tell.
- Layers differ in what any edit does there: 06e takes off what random directions do at each.
- Cosines and effects change with depth: 06e takes depth and its square out, and is silent where
  these leave too little. Layers are counted, not prompts; ranks need an excess beside them.
- A few dimensions that no layer touches make all layers alike: 06f must hold without them as well.
- With one component per 5 prompts, as first committed, the ratio fell with the number of prompts
  (.99, .96, .87 with 50, 96, 192 on the 0.5B): a fault. Their number is fixed instead.
- A step of two layers always looks like the identity: each of three distances decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE, SIGNIFICANCE, lacks_behaviour

MAX_LEFT = 0.5  # of the gap
MIN_TAKEN = 0.5  # of the gap, everywhere, for a source to count
MIN_SOURCES = 2
GATE_DRAWS = 3  # random directions per family that a source is held against
BREAKING = 1.0  # nats of KL, from which a random direction is no rival
FAR = 1 / 6  # of the depth
FAR_LAYERS = 2  # at least
DOSE = 0.5  # of the norm of the target's direction
MIN_RATIO = 0.5
MIN_OWN = 0.5  # nats
MAX_PARTIAL = -0.3
MIN_LAYERS = 16
MIN_EXCESS = 0.1  # of the mean fall
MIN_FALL = 0.1  # nats
MAX_BY_DEPTH = 0.8  # of the variance of the ranks of the cosine
DISTANCES = {"sixth": 1 / 6, "third": 1 / 3, "half": 1 / 2}  # of the depth
KINDS = ("all", "without")  # dimensions
MIN_LIKENESS = 0.8  # of the R^2 of a rotation
MIN_R2 = 0.2
N_LARGEST = 3
N_COMPONENTS = 10
OPERATORS = ("addition", "ablation")
SPACES = tuple(f"{kind}.{name}" for kind in KINDS for name in DISTANCES)

ABSENT = f"Untestable (behaviour absent) if {GATE}"
COUNTING = (
    f"A source counts if ablating its direction everywhere takes at least {MIN_TAKEN} of the gap "
    "on validation prompts (point estimate) and lowers the odds of harmful ones there by more than "
    f"the largest of {GATE_DRAWS} random directions of each family (isotropic, covariance-matched, "
    "label-permuted) and than a one-sided t prediction limit from the family that does most, its "
    "spread pooled from the deviations of all families' draws from their means (p < "
    f"{SIGNIFICANCE}, corrected for the number of sources). Untestable if fewer than {MIN_SOURCES} "
    "count."
)
RIVALS = (
    "Random directions do not count where they break the model (KL of the next token on harmless "
    f"test prompts above {BREAKING:g} nat, when added or ablated at the layers of 06a), and "
    "support is blocked if none is left."
)
SETS = (
    "Median over counting sources, in nats: (refusal odds of harmful test prompts, edited, minus "
    f"those of harmless ones, unedited) minus {MAX_LEFT} of the gap (that unedited). {{}} "
    "Supported if its 95% interval lies below 0, rejected if above, else inconclusive. Support is "
    "blocked unless the strongest of random directions of the three families at the same layers "
    f"leaves more, by an interval{{}} {RIVALS} {COUNTING} {ABSENT}, or unless the interval of the "
    "gap lies above 0."
)
SINGLE = (
    f"{{}} Ratio of the mean effect of counting sources at targets {FAR:.3f} of the depth or more "
    f"{{}} (at least {FAR_LAYERS} layers) to that of the targets' own directions. A target counts "
    "if some source is far enough, and its own effect is above that of every random direction "
    "there, by an interval. Supported if the 95% interval of the ratio lies above "
    f"{MIN_RATIO}, rejected if below, else inconclusive. Support is blocked unless it is above the "
    f"largest ratio of random directions at the same targets, by an interval. {RIVALS} Untestable "
    f"with fewer than {MIN_SOURCES} such targets, or unless the interval of the own effect lies "
    f"above {MIN_OWN} nats. {COUNTING} {ABSENT}."
)
DIVIDED = ("ratio", "margin", "own", "targets")
ANYWHERE = "ablation can be applied anywhere and need not to be applied on the layer where "
ANYWHERE += "it was extracted"

CLAIMS = (
    Claim(
        key="06a", notes=f"{ANYWHERE}; works when applied on a subset of layers, even if the "
        "subset does not include the layer",
        statement="Ablated at layers that leave out its own, a direction takes at least half of "
        "the gap between harmful and harmless prompts.",
        criterion=SETS.format(
            "Ablated at all layers but the source and its two neighbours.",
            ", and unless the interval of the same number lies below 0 for random halves of these "
            "layers and their complements (2 pairs or more per source, drawn for each, mean over "
            "them, resampled).",
        ),
        number="refusal odds left above half of the gap (wanted: below 0)",
        estimates=("excess.all_but", "excess.halves", "margin.all_but", "gap", "sources"),
    ),
    Claim(
        key="06b", notes="need not be consecutive ... range(8, num_layers, 2)",
        statement="Ablated at every second layer, its own left out, it takes at least half of it.",
        criterion=SETS.format(
            "Ablated at every second layer from a third of the depth on, of the parity that leaves "
            "the source out.", ".",
        ),
        number="refusal odds left above half of the gap (wanted: below 0)",
        estimates=("excess.second", "margin.second", "gap", "sources"),
    ),
    Claim(
        key="06c", notes=f"{ANYWHERE}; activations from all layers are on the same space",
        statement="Added at one far, deeper layer, a direction does at least half of what the "
        "layer's own does.",
        criterion=SINGLE.format(
            f"Added at one layer, at {DOSE} of the norm of that layer's own direction; rise of the "
            "refusal odds of harmless test prompts.", "deeper",
        ),
        number="effect at a far layer over that of the layer's own direction (added) "
        f"(wanted: above {MIN_RATIO})",
        estimates=(*(f"{x}.addition" for x in DIVIDED), "sources"),
    ),
    Claim(
        key="06d", notes=ANYWHERE,
        statement="Ablated at one far layer, a direction does at least half of what the layer's "
        "own does.",
        criterion=SINGLE.format(
            "Ablated at one layer's states; fall of the refusal odds of harmful test prompts.",
            "away",
        ),
        number="effect at a far layer over that of the layer's own direction (ablated) "
        f"(wanted: above {MIN_RATIO})",
        estimates=(*(f"{x}.ablation" for x in DIVIDED), "sources"),
    ),
    Claim(
        key="06e", notes="when applying on layers with low cosine similarity",
        statement="A direction does more at layers where the class means are less alike.",
        criterion="The direction of the source that does most on validation prompts, ablated at "
        "one layer, but not at the first, the source and its neighbours. The fall of the refusal "
        "odds of harmful test prompts, minus the mean fall by a random direction of each family "
        "there. Its rank correlation over layers with the cosine of the class means, depth and its "
        "square partialled out; interval over prompts and layers together (Fisher's z). And the "
        "excess: the mean fall at the half of the layers with lower cosine minus that at the "
        "others, both less what depth and its square predict, over the mean of all. Supported if "
        f"the 95% interval of the first lies below {MAX_PARTIAL} and that of the second above "
        f"{MIN_EXCESS}; rejected if the first lies above {MAX_PARTIAL}; else inconclusive. "
        f"Untestable with fewer than {MIN_LAYERS} layers, unless the interval of the mean fall "
        f"lies above {MIN_FALL} nats, or (cannot be told from depth) if depth and its square "
        f"explain more than {MAX_BY_DEPTH} of the ranks of the cosine. {COUNTING} {ABSENT}.",
        number="rank correlation of effect and cosine over layers, without depth "
        f"(wanted: below {MAX_PARTIAL})",
        estimates=("profile.partial", "profile.excess", "profile.fall", "profile.by_depth",
                   "sources"),
    ),
    Claim(
        key="06f", notes="activations from all layers are on the same space",
        statement="Layers share their axes: the identity maps one onto another, as far as a "
        "rotation can.",
        criterion="Held-out R^2 of the identity (centred, one scale of 0 or more, in the full "
        "space) over that of a rotation (Procrustes, one scale) of the source's "
        f"{N_COMPONENTS} leading principal components onto the target's {N_COMPONENTS}; both are "
        "scored in the latter; last token of the instruction. Ratio of means over pairs of layers, "
        f"{', '.join(f'{d:.3f}' for d in DISTANCES.values())} of the depth apart; 95% intervals by "
        f"halves of the prompts. Supported if all lie above {MIN_LIKENESS}, with all dimensions "
        f"and without the {N_LARGEST} of either layer that vary most; rejected if any of the six "
        "lies below; else inconclusive. Untestable unless the intervals of the R^2 "
        f"of the rotation lie above {MIN_R2} at every distance, with and without those.",
        number=f"R² of the identity over that of a rotation (wanted: above {MIN_LIKENESS})",
        estimates=tuple(f"{x}.{space}" for x in ("same_space", "rotation") for space in SPACES),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Directions at layers where they were not taken."""

    n_train: Several = 20  # prompts per class that directions are taken from, before filtering
    n_validation: Count = 8  # prompts per class that sources are chosen on
    n_test: Several = 5  # prompts per class that effects are measured on, and sources at most
    n_sources: Several = 3  # candidates, evenly spaced in depth
    n_targets: Several = 3  # single layers, evenly spaced in the deeper half
    n_halves: Several = 2  # random halves of the layers, each with its complement
    n_nulls: Count = 1  # random directions per family
    n_reextractions: CountOrZero = 1  # directions from resampled train prompts
    n_profile: CountOrZero = 4  # layers at which one direction is ablated alone; 0: all
    n_pairs: Count = 3  # pairs of layers at each distance
    n_resamples: Several = 10  # halves of the prompts on which layers are compared


MINUTES = {"smoke": 0.1, "quick": 0.8, "full": 13}
PRESETS = {
    "smoke": Config(n_train=12, n_validation=3, n_test=4, n_sources=2, n_targets=2,
                    n_pairs=1, n_resamples=2),
    # Prompts as in 05, whose answers serve here too; 06e needs all layers, and is untestable here.
    "quick": Config(n_train=24, n_validation=7),
    "full": Config(n_train=96, n_validation=10, n_test=24, n_sources=6, n_targets=6, n_halves=2,
                   n_nulls=3, n_reextractions=2, n_profile=0, n_pairs=6,
                   n_resamples=40),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e = estimates
    none = lacks_behaviour(e) or e["sources"].value < MIN_SOURCES
    flat = none or not e["gap"].above(0)
    found: dict[str, Verdict] = {}
    for key, name in (("06a", "all_but"), ("06b", "second")):
        excess, others = e[f"excess.{name}"], key == "06b" or e["excess.halves"].below(0)
        taken = excess.below(0) and others and e[f"margin.{name}"].above(0)
        found[key] = "untestable" if flat else decide(taken, excess.above(0))
    for key, name in zip(("06c", "06d"), OPERATORS, strict=True):
        few = (
            none or e[f"targets.{name}"].value < MIN_SOURCES or not e[f"own.{name}"].above(MIN_OWN)
        )
        ratio, margin = e[f"ratio.{name}"], e[f"margin.{name}"]
        as_own = decide(ratio.above(MIN_RATIO) and margin.above(0), ratio.below(MIN_RATIO))
        found[key] = "untestable" if few else as_own
    return {**found, "06e": "untestable" if none else follows(e), "06f": same_space(e)}


def follows(estimates: Mapping[str, Estimate]) -> Verdict:
    """Whether the effect of a direction follows the cosine of the class means."""
    names = "partial", "excess", "fall", "by_depth"
    partial, excess, fall, by_depth = (estimates[f"profile.{name}"] for name in names)
    told = by_depth.value <= MAX_BY_DEPTH  # which NaN is not
    if not (told and partial.n >= MIN_LAYERS and fall.above(MIN_FALL)):
        return "untestable"
    holds = partial.below(MAX_PARTIAL) and excess.above(MIN_EXCESS)
    return decide(holds, partial.above(MAX_PARTIAL))


def same_space(estimates: Mapping[str, Estimate]) -> Verdict:
    """Whether the identity does as a rotation does, at every distance."""
    if not all(estimates[f"rotation.{space}"].above(MIN_R2) for space in SPACES):
        return "untestable"
    found = [estimates[f"same_space.{space}"] for space in SPACES]
    alike = all(ratio.above(MIN_LIKENESS) for ratio in found)
    return decide(alike, any(ratio.below(MIN_LIKENESS) for ratio in found))
