"""The notes' graphs over layers: do the classes part and spread, and are the streams separate?

They show, at `pre` and `mid` of every layer, the cosine of the class means and, per class, the mean
and the largest variance of a feature over prompts. The notes take the last token. Under a chat
template that is the same token in every prompt, so its cosine starts at 1 and its variance at 0 by
construction; hence everything is measured at the last token of the instruction as well.

What the raw graphs hide. (1) Two sample means are never parallel: permuted labels give 1 - cosine
above 0, and more of it in late layers. Tested is the *excess* over their mean. (2) Any two topics
may part with depth, and so may an untrained model's states: the fall of the cosine has to exceed
that of two harmless topics (sky and home) and that of the same prompts in the same architecture
with random weights. (3) Norms grow, and variance with them: the *share*, mean variance over mean
squared norm, must grow. (4) One common offset, and few dimensions, hold most of the norm: shown
without the common mean, and without the three largest dimensions; this does not decide.

Intervals. Cosines: -+ 1.96 bootstrap standard errors over prompts within each class, since
resampling biases 1 - cosine upwards; of a difference of falls, both errors added in squares.
Slopes: percentile bootstrap. Streams: Wilson, with layers as the unit.

Seen before these criteria were set, full, last token: falls of .018 and .087 (the two Qwen models),
.009 and .002 (smollm2, gemma3); slopes of the share over all layers .11 to .22 per block. Not seen:
the other position, topics, random weights, halves, streams.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

N_LARGEST = 3  # dimensions left out, those that hold most of the norm
# Below this share of the squared norm the variance is rounding: the token is the same everywhere.
SMALLEST_SHARE = 1e-10
CLASSES = {"harmful": "positive", "harmless": "negative"}  # and their side of the contrast set
POSITIONS = ("last", "last_instruction")
CONTROLS = ("topics", "untrained")
HALVES = ("first", "second")

LEAST_FALL = 0.005  # of the cosine
LEAST_SLOPE = 0.01  # per block
LEAST_OUTSIDE = 0.5  # of the layers

CLAIMS = (
    Claim(
        key="01a",
        notes="the clusters are far apart",
        statement=(
            "Harmful and harmless prompts part with depth, more than two harmless topics do, and "
            "more than without training."
        ),
        criterion=(
            "At the last token and at the last token of the instruction. Excess = (1 - cosine of "
            "the class means) minus its mean over permuted labels; fall = mean excess over the "
            "deeper half of the sites minus that over the shallower half. Supported if at both "
            "positions the largest excess over all sites has p < "
            f"{SIGNIFICANCE} by the maximum statistic, and the 95% intervals of the fall, of the "
            "fall minus that of two harmless topics, and of the fall minus that under random "
            f"weights all lie above {LEAST_FALL}. Rejected if any of these intervals lies below "
            f"{LEAST_FALL}. Else inconclusive."
        ),
        estimates=(
            "last_instruction.fall",
            "last_instruction.fall.over_topics",
            "last_instruction.fall.over_untrained",
            "last.fall",
            "last.fall.over_topics",
            "last.fall.over_untrained",
        ),
    ),
    Claim(
        key="01b",
        notes="the mean variance and the maximal variance grow over the layers",
        statement="The states of each class spread with depth, faster than their norm grows.",
        criterion=(
            "At the last token of the instruction. Slope over depth, per block, of ln(mean "
            "variance / mean squared norm), in each half of the sites (where that share exceeds "
            f"{SMALLEST_SHARE}) and each class. Supported if all four 95% intervals lie above "
            f"{LEAST_SLOPE}, rejected if any lies below, else inconclusive."
        ),
        estimates=tuple(f"slope.{name}.{half}" for name in CLASSES for half in HALVES),
    ),
    Claim(
        key="01c",
        notes="the growth of pre and mid streams are separated",
        statement="The variance at mid does not lie on the curve of that at pre.",
        criterion=(
            "At the last token. A layer counts as above if its mean variance at mid (geometric "
            "mean of both classes) exceeds that at the pre before and at the pre after it, by the "
            "95% interval over prompts; as below likewise. Share of the layers on the commoner "
            f"side: supported if its 95% interval lies above {LEAST_OUTSIDE}, rejected if it lies "
            "below, else inconclusive. Untestable in a model without mid."
        ),
        estimates=("streams.outside",),
    ),
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Cosine of the class means and variance over layers."""

    n_prompts: Several | None = 48  # per class, from the whole contrast set; None: all of them
    n_permutations: Count = 200  # of the labels, shared by all sites
    n_resamples: Several = 300  # bootstrap draws over prompts


MINUTES = {"smoke": 0.1, "quick": 1, "full": 5}

PRESETS = {
    "smoke": Config(n_prompts=24, n_permutations=100, n_resamples=100),
    "quick": Config(),
    "full": Config(n_prompts=None, n_permutations=2000, n_resamples=2000),
}


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    falls = [estimates[name] for name in CLAIMS[0].estimates]
    slopes = [estimates[name] for name in CLAIMS[1].estimates]
    p = [estimates[f"{position}.excess"].p for position in POSITIONS]
    beyond_chance = all(one is not None and one < SIGNIFICANCE for one in p)
    outside = estimates["streams.outside"]
    return {
        "01a": decide(
            beyond_chance and all(fall.above(LEAST_FALL) for fall in falls),
            any(fall.below(LEAST_FALL) for fall in falls),
        ),
        "01b": decide(
            all(slope.above(LEAST_SLOPE) for slope in slopes),
            any(slope.below(LEAST_SLOPE) for slope in slopes),
        ),
        "01c": decide(outside.above(LEAST_OUTSIDE), outside.below(LEAST_OUTSIDE))
        if outside.n
        else "untestable",
    }
