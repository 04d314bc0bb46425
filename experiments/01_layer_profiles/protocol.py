"""The notes' graphs over layers: do the classes part and spread, and are the streams separate?

They show, at `pre` and `mid` of every layer, the cosine of the class means and, per class, the mean
and the largest variance of a feature over prompts, at the last token. Under a chat template that is
the same token in every prompt, so its cosine starts at 1 and its variance at 0 by construction:
everything is measured at the last token of the instruction as well.

What decides leaves out the three dimensions that hold most of the norm: they are alike in every
prompt and set the scale of a raw cosine. The raw graphs are shown and their estimates reported.

Intervals. Cosines: -+ 1.96 bootstrap standard errors over prompts, since resampling biases
1 - cosine; differences: both errors in squares. Slopes: percentiles. Streams: Wilson, over layers.

Seen before these criteria were set, full, last token, raw: falls of .018 and .087 (the two Qwen
models), .009 and .002 (smollm2, gemma3); slopes of the share over all layers .11 to .22 per block.
Not seen: the other position, controls, halves, streams, and anything without those dimensions.

Objections, and what was done:
- Any two topics part with depth: the most parted of five pairs counts, 0 if it comes together.
- Prompts differ at the instruction's last token by their last character: only those count that end
  in the commonest one, where two thirds of both classes do.
- A layer whose streams are not resolved counted as "not separate", so few prompts gave
  "rejected": unresolved layers now count against both verdicts. Overshoot is not separation: a gap
  to the curve of `pre`, of one sign and a set size, is.
- One site at an end outweighs a margin on a least-squares slope: Theil-Sen without both end blocks,
  and the margin is on the change over a half, whatever the number of layers.
- Length and form of prompts may differ between classes: not cured; the twins of 03 are matched.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

N_LARGEST = 3  # dimensions left out, those that hold most of the norm
SMALLEST_SHARE = 1e-10  # of the squared norm that is no rounding: else the token is one everywhere
CLASSES = {"harmful": "positive", "harmless": "negative"}  # and their side of the contrast set
POSITIONS = ("last", "last_instruction")
CONTROLS = ("topics", "untrained")
HALVES = ("first", "second")

LEAST_FALL = 0.005  # of the cosine
LEAST_GROWTH = 0.1  # nats over half of the depth
LEAST_GAP = 0.02  # nats
MOST_LAYERS = 0.5

WITHOUT = f"without the {N_LARGEST} dimensions that hold most of the norm"

CLAIMS = (
    Claim(
        key="01a",
        notes="the clusters are far apart",
        statement=(
            "Harmful and harmless prompts part with depth, more than any of five pairs of harmless "
            "topics, and more than without training."
        ),
        criterion=(
            f"At the last token and at the last token of the instruction, {WITHOUT}. Excess = (1 - "
            "cosine of the class means) minus its mean over permuted labels; fall = mean excess "
            "over the deeper half of the sites minus that over the shallower half. A position "
            f"agrees if the largest excess over all sites has p < {SIGNIFICANCE} by the maximum "
            "statistic, and the 95% intervals of the fall, of the fall minus the largest one of "
            "five pairs of harmless topics, and of the fall minus that under random weights (each "
            f"control at least 0) all lie above {LEAST_FALL}; it disagrees if any of them lies "
            f"below {LEAST_FALL}. Supported if both agree, rejected if both disagree, else "
            "inconclusive."
        ),
        number="fall of the cosine with depth, beyond that of the most parted topics (last token) "
        f"(wanted: above {LEAST_FALL})",
        estimates=tuple(
            f"{position}.fall{over}"
            for position in POSITIONS
            for over in (*(f".over_{control}" for control in CONTROLS), "")
        ),
    ),
    Claim(
        key="01b",
        notes="the mean variance and the maximal variance grow over the layers",
        statement="The states of each class spread with depth, faster than their norm grows.",
        criterion=(
            f"At the last token of the instruction, {WITHOUT}. Change of ln(mean variance / mean "
            "squared norm) over each half of the depth: Theil-Sen slope over its sites times its "
            "blocks, without the first and the last block and where that share exceeds "
            f"{SMALLEST_SHARE}. Supported if the 95% intervals of both halves and classes lie "
            f"above {LEAST_GROWTH} nats, rejected if any lies below, else inconclusive."
        ),
        number="change of ln(variance / squared norm) over the deeper half (harmful prompts) "
        f"(wanted: above {LEAST_GROWTH})",
        estimates=tuple(f"growth.{name}.{half}" for half in HALVES[::-1] for name in CLASSES),
    ),
    Claim(
        key="01c",
        notes="the growth of pre and mid streams are separated",
        statement="The variance at mid lies off the curve of that at pre, to one side.",
        criterion=(
            f"At the last token, {WITHOUT}. Gap of a layer: ln of the mean variance at mid minus "
            "the mean of that at the pre before and after it, averaged over both classes. A layer "
            f"is apart if the 95% interval of its gap over prompts lies beyond {LEAST_GAP} nats "
            "on the side where more layers do; it is not apart if that interval lies short of it. "
            "Supported if the 95% interval of the share of layers that are apart lies above "
            f"{MOST_LAYERS}; rejected if that of the share that are apart or unresolved lies below "
            "it; else inconclusive. Untestable in a model without mid."
        ),
        number="share of layers at which mid lies off the curve of pre "
        f"(wanted: above {MOST_LAYERS})",
        estimates=("streams.apart", "streams.perhaps"),
    ),
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Cosine of the class means and variance over layers."""

    n_prompts: Several | None = 48  # per class, from the whole contrast set; None: all of them
    n_permutations: Count = 200  # of the labels, shared by all sites
    n_resamples: Several = 300  # bootstrap draws over prompts


MINUTES = {"smoke": 0.1, "quick": 1.5, "full": 5}

PRESETS = {
    "smoke": Config(n_prompts=24, n_permutations=100, n_resamples=100),
    "quick": Config(),
    "full": Config(n_prompts=None, n_permutations=500, n_resamples=500),
}


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    growths = [estimates[name] for name in CLAIMS[1].estimates]
    apart, perhaps = (estimates[name] for name in CLAIMS[2].estimates)
    at = [parting(estimates, position) for position in POSITIONS]
    return {
        "01a": decide(set(at) == {"supported"}, set(at) == {"rejected"}),
        "01b": decide(
            all(growth.above(LEAST_GROWTH) for growth in growths),
            any(growth.below(LEAST_GROWTH) for growth in growths),
        ),
        "01c": decide(apart.above(MOST_LAYERS), perhaps.below(MOST_LAYERS))
        if apart.n
        else "untestable",
    }


def parting(estimates: Mapping[str, Estimate], position: str) -> Verdict:
    """What 01a's criterion says at one position."""
    falls = [estimates[name] for name in CLAIMS[0].estimates if name.startswith(f"{position}.")]
    p = estimates[f"{position}.excess"].p
    beyond_chance = p is not None and p < SIGNIFICANCE
    return decide(
        beyond_chance and all(fall.above(LEAST_FALL) for fall in falls),
        any(fall.below(LEAST_FALL) for fall in falls),
    )
