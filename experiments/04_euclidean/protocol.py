"""Is the space of activations Euclidean, and in which meaning of the word?

With the ambient L2 distance every sample is flat by construction, so three metrics are tested.
(a) The manifold of last-token states, through geodesics of its k-nearest-neighbour graph: is it
flat, where a sphere and a hyperbolic space of stated radii would have been seen? (b) The metric
that the model's output induces: does L2 distance order the KL of the next token along straight
segments as well as whitened and unembedding-weighted distances do? (c) Behaviour: does the L2
projection on a mean difference predict the refusal score as well as the other inner products do?

Planted spaces bend the part of a flat mixture that holds 90% of the variance, by the exponential
map, and keep the rest as noise. Only estimators with power vote for flatness, and TwoNN never,
being a dimension. As each cell errs with probability .05 at most, half of them do so with
probability .1 at most, however dependent the layers are (Markov's inequality).

What limits (a): its flat mixture, radii and rule were developed on states of qwen2.5-coder-0.5b, so
for that model it is exploratory. Of the flat controls tried, k-means clusters put none of the four
cells looked at outside, a Gaussian mixture at one scale 2 of 3, towards negative curvature, and the
mixture at two scales kept here none: whether the space counts as hyperbolic depends on whether
small groups of like prompts are granted to a flat space (`interp.curvature.nulls`). The control
also absorbs part of a planted negative curvature, so power against hyperbolic space is low.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import MinLen

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, ExperimentConfig, Several, Share
from experiments.lab.estimate import Estimate

CLASSES = {"harmful": "positive", "harmless": "negative"}  # and their side of the contrast set
SHAPES = ("sphere", "hyperbolic")
RIVALS = ("whitened", "causal")

ALPHA = 0.05
POWER = 0.8
MOVED = 0.05
SPHERE_RADIUS = 2 / 3
HYPERBOLIC_RADIUS = 0.4
BENT_SHARE = 0.9
MAJORITY = 0.5
STRAY = 0.1
MARGIN = 0.05
CONVERGED = 0.25
LEAST_PROMPTS = 30
FLATNESS: Mapping[str, Any] = {  # as settings of `interp.curvature.flatness`
    "sheet_variance": BENT_SHARE, "sphere_radius": SPHERE_RADIUS,
    "hyperbolic_radius": HYPERBOLIC_RADIUS, "alpha": ALPHA, "power": POWER, "moved": MOVED,
}  # fmt: skip
NOTES = "how to check if the activation space is Euclidean given a set of vectors"

CLAIMS = (
    Claim(
        key="04a",
        notes=NOTES,
        statement="The manifold of last-token states is flat by its own geodesics.",
        criterion=(
            "Geodesics are shortest paths in the graph of 10 nearest neighbours; the flat mixture "
            "has the Gaussian clusters of least BIC (at most 8, on 5 components), in groups of "
            "about 5 states. In a cell (site x class) an estimator has power for a shape if it "
            f"detects a planted sphere (radius {SPHERE_RADIUS:.3f}) or hyperbolic space (radius "
            f"{HYPERBOLIC_RADIUS:g}, both in units of the root mean square length of the leading "
            f"components with {BENT_SHARE:.0%} of the variance, which are bent) in {POWER:.0%} of "
            f"the draws, at {ALPHA:g} over the number of estimators times two shapes, against the "
            "rotated control and the flat mixture both. It is within the margin if it has power "
            "and puts the data short of the planted curvature (one-sided "
            f"p < {ALPHA:g}, Holm-corrected over estimators and shapes); outside if it is not "
            "within and puts the data beyond both flat controls at the same level, towards where "
            f"planting moves its mean (Welch's t, p < {MOVED:g}). A cell is outside if any "
            "estimator is, and within if for both shapes some estimator has power and all that "
            f"have are within. Supported if at least {MAJORITY:.0%} of the cells are within, at "
            f"most {STRAY:.0%} outside, and the median over cells of the best power is at least "
            f"{POWER:g} for both shapes; rejected if at least {MAJORITY:.0%} are outside; else "
            "inconclusive."
        ),
        estimates=("manifold.cells.within", "manifold.cells.outside"),
    ),
    Claim(
        key="04b",
        notes=NOTES,
        statement=(
            "L2 distance orders changes of the model's output as well as whitened or "
            "unembedding-weighted distance does."
        ),
        criterion=(
            "Spearman of L2 segment length with output KL, averaged over sites and steps, against "
            "the whitened and the unembedding-weighted one by a paired 95% bootstrap over bases "
            "and targets: supported if L2's interval is above 0 and both rivals' leads are below "
            f"{MARGIN:g} (upper bounds); else rejected if a rival's lead has its lower bound above "
            "0; else inconclusive. Inconclusive unless the median change of KL / t^2 on halving "
            f"the step is at most {CONVERGED:.0%}."
        ),
        estimates=("output.spearman.l2", "output.lead.whitened", "output.lead.causal"),
    ),
    Claim(
        key="04c",
        notes=NOTES,
        statement="L2 projections predict refusal as well as whitened or weighted ones.",
        criterion=(
            "Spearman of the projection on the train mean difference with the refusal openings "
            "score over test prompts, against the whitened and the unembedding-weighted one by a "
            "paired 95% bootstrap over prompts: supported if L2's interval is above 0 and both "
            f"rivals' leads are below {MARGIN:g} (upper bounds); else rejected if a rival's lead "
            "has its lower bound above 0; else inconclusive. Untestable (too few prompts) with "
            f"fewer than {LEAST_PROMPTS} test prompts in a class."
        ),
        estimates=("behaviour.spearman.l2", "behaviour.lead.whitened", "behaviour.lead.causal"),
    ),
)

Steps = Annotated[tuple[Share, ...], MinLen(2)]


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Is activation space Euclidean?"""

    n_prompts: Several = 80  # per class, states of one manifold
    n_sites: Count | None = 2  # layers measured, evenly spread; None is every one
    n_rotations: Several = 19  # draws of each flat control
    n_planted: Several = 19  # draws of each planted space
    n_halves: Count = 12  # random halves, for the intervals
    n_ollivier: Count = 1  # of these layers, those with Ollivier curvature and planted trees
    neighbours: Count = 10  # of the graph whose shortest paths are the geodesics
    n_metric_sites: Count = 2  # layers at which (b) and (c) are measured
    n_bases: Several = 12  # test prompts whose state is moved, half of each class
    n_targets: Several = 4  # test prompts whose state it is moved towards, half of each class
    n_train: Several = 80  # train prompts per class, for covariances and mean differences
    n_test: Count = 32  # test prompts per class that refusal is scored on
    steps: Steps = (0.1, 0.2, 1.0)  # shares of a segment; the second doubles the first
    n_resamples: Several = 300  # bootstrap resamples
    workers: Count = 2  # processes that draw the controls


MINUTES = {"smoke": 0.1, "quick": 1, "full": 7}

PRESETS: dict[str, Config] = {
    "smoke": Config(
        n_prompts=28, n_sites=2, n_rotations=3, n_planted=2, n_halves=3, neighbours=5,
        n_metric_sites=2, n_bases=4, n_targets=2, n_train=12, n_test=6, n_resamples=20, workers=1,
    ),
    "quick": Config(),
    "full": Config(
        n_prompts=150, n_sites=None, n_rotations=99, n_ollivier=6, n_metric_sites=6, n_bases=24,
        n_targets=8, n_train=150, n_test=100, n_resamples=1000,
    ),
}  # fmt: skip


def manifold_verdict(estimates: Mapping[str, Estimate]) -> Verdict:
    """04a, from the shares of cells and the power."""
    within, outside = (estimates[f"manifold.cells.{x}"].value for x in ("within", "outside"))
    powered = all(estimates[f"manifold.power.{shape}"].value >= POWER for shape in SHAPES)
    flat = powered and within >= MAJORITY and outside <= STRAY
    return decide(flat, outside >= MAJORITY)


def metric_verdict(estimates: Mapping[str, Estimate], meaning: str) -> Verdict:
    """04b and 04c, from L2's correlation and the rivals' leads."""
    leads = [estimates[f"{meaning}.lead.{name}"] for name in RIVALS]
    as_well = all(lead.below(MARGIN) for lead in leads)
    ahead = any(lead.above(0) for lead in leads)
    return decide(estimates[f"{meaning}.spearman.l2"].above(0) and as_well, ahead)


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    converged = estimates["output.convergence"].value <= CONVERGED
    enough = estimates["behaviour.prompts"].value >= LEAST_PROMPTS
    return {
        "04a": manifold_verdict(estimates),
        "04b": metric_verdict(estimates, "output") if converged else "inconclusive",
        "04c": metric_verdict(estimates, "behaviour") if enough else "untestable",
    }
