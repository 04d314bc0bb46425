"""Do layers untangle the classes, and do they move prompts apart by aligning them differently?

States of harmful and harmless prompts from the first `mid` on, at the last token of the
instruction, a full stop in all: of the contrast set, and of twins, which differ in the request
alone. A *change* is the mean over the last third of the depth minus that over the first. Controls:
the same architecture with random weights; labels flipped within random pairs.

03a. A ridge classifier and the nearest neighbour learn from the same 8 prompts per class, over many
draws; twins stay together. Classes are *tangled* where the linear rule lags behind.
03b, 03c. With equal norms distance over norm and the cosine are one number, since |a - b|^2 =
(|a| - |b|)^2 + 2 |a| |b| (1 - cos); to correlate them over layers would be arithmetic. Hence an
exact decomposition: mean squared distance over mean squared norm = *lengths* + *turning*. And its
logarithm grows because distances grow or because norms shrink.

Objections, and answers. (1) Errors fall when classes part, tangled or not. - Hence the lag: it must
be there first, and close. (2) It closes when the nearest neighbour gets worse. - What is left of it
is taken against the better of that rule's errors, first and last. (3) A linear rule always ahead
gets further ahead. - Only a positive lag counts. (4) The nearest of 8 misses tangles in many
dimensions. - Hence without a lag 03a is untestable, not rejected. (5) Mixing tokens spreads
states. - Random weights mix too. (6) The cosine falls when a common mean shrinks. - Then distances
must not grow; where they do, what is a prompt's own outgrows the common part, which is the claim.
(7) Few dimensions hold most of the norm. - Shown without the 3 largest; does not decide.

Intervals: random halves of the pairs without replacement, since resampled duplicates are each
other's neighbours; the same for sites and controls. They do not hold the draw of random weights.
Intrinsic dimension is reported. Seen on real models before this was written: nothing.

Noted after the first runs (quick, smollm2-135m and qwen2.5-coder-0.5b), and left as it was. Errors
of twins are least, and distances of the 0.5B largest, in the middle third, which is reported: the
last third misses what the middle ones do. On nearly parallel states (cosine .99) a growth of
distance over norm of .16 is a fall of the cosine of .035, so 03c is there stricter than 03b.

Changed after the full runs: the lag is asked for first. 03a used to be rejected where nothing was
tangled and the error did not fall either, on two of four models; all four are untestable now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

SETS = ("contrast", "twins")
N_SHOTS = 8  # prompts per class that a rule learns from
N_LARGEST = 3  # dimensions left out, those that hold most of the norm
MIN_PAIRS = 20  # a half then has prompts to test on

LEAST_ERROR = 0.05  # of the prompts
LEAST_GROWTH = 0.1  # of distance over norm; orthogonal states of one norm have 1.41
LEAST_FALL = 0.05  # of the cosine


def margins(least: float, *names: str) -> dict[str, float]:
    """A margin for estimates of both sets."""
    return {f"{of}.{name}": least for name in names for of in SETS}


LAGS = margins(LEAST_ERROR, "lag.at_first")
FALLS = margins(LEAST_ERROR, "linear.fall", "linear.fall.over_untrained")
CLOSINGS = margins(LEAST_ERROR, "lag.closing", "lag.closing.over_untrained")
GROWTHS = margins(LEAST_GROWTH, "distance.growth", "distance.growth.over_untrained")
CAUSES = (
    margins(LEAST_FALL, "cosine.fall", "cosine.fall.over_untrained")
    | margins(LEAST_GROWTH, "distance.growth")
    | margins(0.0, "turning.over_lengths", "moving.over_shrinking")
)
CHANGE = (
    "Last token of the instruction, contrast set and twins. Change: last third of the depth minus "
    "first third."
)

CLAIMS = (
    Claim(
        key="03a",
        notes='layers "expand and untangle"',
        statement="Classes that a linear rule cannot yet tell apart become linearly separable.",
        criterion=(
            f"{CHANGE} Errors of a linear rule and of the nearest neighbour, learnt from {N_SHOTS} "
            "prompts per class. Lag: linear minus nearest in the first third. Closing: the lag, "
            "where positive, minus what is left, where positive: linear error in the last third "
            "minus the smaller of the nearest neighbour's errors in both thirds. Supported if in "
            "both sets the 95% intervals of the lag, of the fall of the linear error, of the "
            "closing, and of fall and closing minus those under random weights all lie above "
            f"{LEAST_ERROR}, and the fall has p < {SIGNIFICANCE} against permuted labels. "
            f"Untestable if one of a lag lies below {LEAST_ERROR}: nothing was tangled. Else "
            f"rejected if one of a fall or of a closing lies below {LEAST_ERROR}, else "
            "inconclusive."
        ),
        number="error by which a linear rule lags behind the nearest neighbour at first "
        f"(wanted: above {LEAST_ERROR})",
        estimates=(*LAGS, *FALLS, *CLOSINGS),
    ),
    Claim(
        key="03b",
        notes='layers "expand and untangle"',
        statement="Prompts of one class move apart with depth, relative to their norm.",
        criterion=(
            f"{CHANGE} Mean distance of two prompts of a class over their mean norm, averaged over "
            "classes. Supported if in both sets the 95% intervals of its change, and of its change "
            f"minus that under random weights, lie above {LEAST_GROWTH}, rejected if any lies "
            "below, else inconclusive."
        ),
        number="growth of the distances between prompts, over their norm "
        f"(wanted: above {LEAST_GROWTH})",
        estimates=tuple(GROWTHS),
    ),
    Claim(
        key="03c",
        notes=(
            "different samples would be aligned in different directions, hence they move further "
            "away"
        ),
        statement="The distances grow because prompts of one class point in different directions.",
        criterion=(
            f"{CHANGE} Within a class. Supported if in both sets the 95% intervals lie above "
            f"{LEAST_FALL} for the fall of the mean cosine of two prompts, and for that fall minus "
            f"the one under random weights; above {LEAST_GROWTH} for the growth of distance over "
            "norm; above 0 for what turning minus lengths adds to the mean squared distance over "
            "the mean squared norm; and above 0 for the change of ln(mean squared distance) plus "
            "that of ln(mean squared norm): distances grow by more than norms shrink. Rejected if "
            "any lies below, else inconclusive."
        ),
        number=f"fall of the cosine between prompts of one class (wanted: above {LEAST_FALL})",
        estimates=tuple(CAUSES),
    ),
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Separability, distances and cosines over layers."""

    n_pairs: Annotated[int, Ge(MIN_PAIRS)] | None = 40  # of prompts, per set; None: all
    n_halves: Several = 60  # random halves of the pairs
    n_draws: Count = 10  # of the prompts to learn from, in every half
    n_permutations: Count = 99  # of the labels, n_draws each
    n_gaussians: Several = 5  # Gaussian states that dimensions are compared with
    n_dimensions: Count = 5  # sites at which dimensions are estimated


MINUTES = {"smoke": 0.1, "quick": 0.7, "full": 6}

PRESETS = {
    "smoke": Config(n_pairs=20, n_halves=20, n_draws=2, n_permutations=39, n_dimensions=2),
    "quick": Config(),
    "full": Config(n_pairs=None, n_halves=300, n_draws=20, n_permutations=199, n_gaussians=20),
}


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    tangled = not any(estimates[name].below(least) for name, least in LAGS.items())
    untangled = beyond(estimates, FALLS | CLOSINGS | LAGS) if tangled else "untestable"
    p = [estimates[f"{of}.linear.fall"].p for of in SETS]
    if untangled == "supported" and any(one is None or one >= SIGNIFICANCE for one in p):
        untangled = "inconclusive"
    return {
        "03a": untangled,
        "03b": beyond(estimates, GROWTHS),
        "03c": beyond(estimates, CAUSES),
    }


def beyond(estimates: Mapping[str, Estimate], least: Mapping[str, float]) -> Verdict:
    """Supported if every interval lies above its margin, rejected if one lies below."""
    return decide(
        all(estimates[name].above(margin) for name, margin in least.items()),
        any(estimates[name].below(margin) for name, margin in least.items()),
    )
