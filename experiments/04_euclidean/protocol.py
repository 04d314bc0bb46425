"""Is the space of activations Euclidean, and in which meaning of the word?

With the ambient L2 distance every sample is flat by construction, so three metrics are tested: the
geodesics of the states themselves, the metric that the model's output induces, and behaviour.

Objections and answers. 04a. (1) Statistics of geodesics read noise, clusters and dimension as
curvature: what counts is the *excess* over the sample's own flat control. (2) A control that is
fitted closely absorbs curvature: it rotates clusters apart only where gaps separate them, and what
is planted is never given controls of its own. (3) A few components flatten a hyperbolic sample
(its excess is 0 in 3 of them): there are N_COMPONENTS, not 2 to 5, and surfaces are bent. (4) Noise
hides curvature: support needs planted surfaces to be seen in the data's noise. (5) In a curved
sample that noise holds part of the curvature: rejection needs power with the surface alone. (6)
Classes or depths bent opposite ways cancel in a mean: each third and class has to be flat. The
negative-eigenvalue share follows noise and is only shown; delta_rel (sd .05 to .1) is left out.
04b, 04c. (1) Metrics that order nothing are alike: one has to order, and for support L2. (2) All
metrics find segments to the other class longer: only segments from one base to one class at one
share are compared, in 04c prompts of one class. (3) Where KL / t^2 still changes no metric is
induced: such steps do not count. (4) One margin decides both ways, so more data turns nothing over.

Limits. Curvature of two-dimensional surfaces among the leading components can be found, that of
spaces of many dimensions cannot. A closed loop is flat and reads as a sphere. Clusters far apart
are untestable, since no curvature can be seen across their gaps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated

from annotated_types import MinLen

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, ExperimentConfig, Several, Share
from experiments.lab.estimate import Estimate
from experiments.lab.rules import MIN_PAIRS, SIGNIFICANCE

CLASSES = {"harmful": "positive", "harmless": "negative"}  # and their side of the contrast set
THIRDS = ("first", "middle", "last")
PLACES = tuple(f"{third}.{name}" for third, name in product(THIRDS, CLASSES))
RIVALS = ("whitened", "causal")

N_COMPONENTS = 8
NEIGHBOURS = 12
RADII = {"sphere": 0.67, "hyperbolic": 0.4}  # in root mean square lengths of the bent components
MOST_CLUSTERS, SMALLEST_CLUSTER, SILHOUETTE = 8, 10, 0.5  # of the flat control
CURVED = 0.03  # excess of the triangle defect
POWER = 0.8

MARGIN = 0.05  # Spearman
ORDERS = 0.1  # Spearman
CONVERGED = 0.25
ENOUGH = 0.5
NOTES = "how to check if the activation space is Euclidean given a set of vectors"

NON_INFERIOR = (
    f"Supported if L2's 95% interval lies above {ORDERS:g} and for both rivals the interval of "
    f"(rival - L2) lies below {MARGIN:g}; rejected if for any rival it lies above {MARGIN:g}; both "
    f"with p < {SIGNIFICANCE} against {MARGIN:g}, by Holm over the rivals; else inconclusive. "
    f"Untestable if no metric's interval lies above {ORDERS:g}, or "
)

CLAIMS = (
    Claim(
        key="04a",
        notes=NOTES,
        statement="The geodesics of last-token states are those of a flat space.",
        criterion=(
            f"Graph of {NEIGHBOURS} nearest neighbours on {N_COMPONENTS} leading components; "
            "excess = triangle defect minus its mean over the sample's flat controls (mean + Q "
            f"X_c, within each of Ward's clusters if 2 to {MOST_CLUSTERS} of {SMALLEST_CLUSTER} "
            f"states or more have a mean silhouette of {SILHOUETTE:g}), averaged over the sites of "
            "each third of the depth and class. Supported if in all six the 95% interval "
            f"(delete-half jackknife) lies within -+{CURVED:g}, and in all six at least "
            f"{POWER:.0%} of the planted draws of either shape lie beyond it by that interval: "
            f"flat controls with their 2 leading components on a sphere (radius "
            f"{RADII['sphere']:g} root mean square lengths) or a hyperbolic plane "
            f"({RADII['hyperbolic']:g}). Rejected if in any the interval lies beyond -+{CURVED:g}, "
            f"p < {SIGNIFICANCE} by Holm over the six, where the same surfaces without the other "
            "components have that power. Else untestable if either power is lacking, inconclusive "
            "if not."
        ),
        estimates=tuple(
            f"{name}.{place}" for name in ("excess", "power", "power_bare") for place in PLACES
        ),
    ),
    Claim(
        key="04b",
        notes=NOTES,
        statement=(
            "L2 distance orders changes of the model's output as well as whitened or "
            "unembedding-weighted distance does."
        ),
        criterion=(
            "Spearman of segment length with output KL over the targets of one class from one base "
            "prompt at one share of the segment, averaged over classes, bases, sites and shares; "
            f"bootstrap over bases and targets at once. {NON_INFERIOR}if fewer than {ENOUGH:.0%} "
            "of the steps count: one counts if halving it changes KL / t^2 by at most "
            f"{CONVERGED:.0%} in the upper quartile of the segments."
        ),
        estimates=(
            "output.lead.whitened", "output.lead.causal", "output.spearman.l2", "output.converged",
        ),
    ),
    Claim(
        key="04c",
        notes=NOTES,
        statement="L2 projections predict refusal as well as whitened or weighted ones do.",
        criterion=(
            "Spearman of the projection on the train mean difference with the refusal odds of test "
            "prompts, within each class, averaged over classes and sites; bootstrap over prompts. "
            f"{NON_INFERIOR}if fewer than {MIN_PAIRS} harmful test prompts are refused, or they "
            "are not refused more often than harmless ones (Fisher's exact test, p < "
            f"{SIGNIFICANCE})."
        ),
        estimates=(
            "behaviour.lead.whitened", "behaviour.lead.causal", "behaviour.spearman.l2",
            "behaviour.refused",
        ),
    ),
)  # fmt: skip

Steps = Annotated[tuple[Share, ...], MinLen(2)]


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Is activation space Euclidean?"""

    n_prompts: Several = 120  # per class, states of one sample
    n_sites: Count | None = 2  # per third of the depth; None is every one
    n_flat: Several = 16  # draws of the flat control
    n_planted: Several = 10  # draws of each planted surface
    n_halves: Several = 30  # random halves, for the intervals
    n_metric_sites: Count = 2  # sites at which (b) and (c) are measured
    n_bases: Several = 8  # test prompts whose state is moved, half of each class
    n_targets: Several = 12  # test prompts whose state it is moved towards, half of each class
    n_train: Several = 80  # train prompts per class, for covariances and mean differences
    n_test: Count = 20  # test prompts per class that refusal is scored on
    steps: Steps = (0.1, 0.2)  # shares of a segment, each the double of the one before
    n_resamples: Several = 300  # bootstrap resamples


MINUTES = {"smoke": 0.1, "quick": 1, "full": 12}

PRESETS: dict[str, Config] = {
    "smoke": Config(
        n_prompts=28, n_sites=1, n_flat=3, n_planted=2, n_halves=3, n_bases=4, n_targets=4,
        n_train=12, n_test=6, n_resamples=20,
    ),
    "quick": Config(),
    "full": Config(
        n_prompts=150, n_sites=None, n_flat=30, n_planted=20, n_halves=40, n_metric_sites=4,
        n_bases=24, n_targets=24, n_train=150, n_test=100, steps=(0.05, 0.1, 0.2),
        n_resamples=1000,
    ),
}  # fmt: skip


def significant(estimate: Estimate) -> bool:
    """Whether the estimate differs from its margin after correction."""
    return estimate.p is not None and estimate.p < SIGNIFICANCE


def flatness(estimates: Mapping[str, Estimate]) -> Verdict:
    """04a, from the excess and the power of every third and class."""
    excess = {place: estimates[f"excess.{place}"] for place in PLACES}
    powered = [estimates[f"power.{place}"].value >= POWER for place in PLACES]
    able = {place: estimates[f"power_bare.{place}"].value >= POWER for place in PLACES}
    if any(
        able[place] and significant(one) and (one.above(CURVED) or one.below(-CURVED))
        for place, one in excess.items()
    ):
        return "rejected"
    if all(one.above(-CURVED) and one.below(CURVED) for one in excess.values()) and all(powered):
        return "supported"
    return "inconclusive" if all(powered) and all(able.values()) else "untestable"


def non_inferiority(estimates: Mapping[str, Estimate], meaning: str) -> Verdict:
    """04b and 04c, from L2's correlation and the rivals' leads over it."""
    names = ("l2", *RIVALS)
    orders = [estimates[f"{meaning}.spearman.{name}"].above(ORDERS) for name in names]
    if not any(orders):
        return "untestable"
    leads = [estimates[f"{meaning}.lead.{name}"] for name in RIVALS]
    as_well = all(lead.below(MARGIN) and significant(lead) for lead in leads)
    ahead = any(lead.above(MARGIN) and significant(lead) for lead in leads)
    return decide(orders[0] and as_well, ahead)


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    refused = estimates["behaviour.refused"]
    behaves = refused.value >= MIN_PAIRS and significant(refused)
    converged = estimates["output.converged"].value >= ENOUGH
    return {
        "04a": flatness(estimates),
        "04b": non_inferiority(estimates, "output") if converged else "untestable",
        "04c": non_inferiority(estimates, "behaviour") if behaves else "untestable",
    }
