"""Is the space of activations Euclidean, and in which meaning of the word?

With the ambient L2 distance every sample is flat by construction, so three metrics are tested: the
geodesics of the states themselves, the metric that the model's output induces, and behaviour.

Objections and answers.
(1) Long tails, boxes and noise read as curvature. - What counts is the *excess* beyond two flat
controls at once: one has the covariance, the other the distribution of every component.
(2) Closely fitted controls absorb curvature. - So they do in planted surfaces, which take the very
same path with controls of their own; the radial control, which absorbs hyperbolic planes, is out.
(3) A conjunction over all places never passes. - One number decides, the mean over places.
(4) In a mean, classes or depths bent opposite ways cancel. - It is the mean of the absolute excess,
and any single place can reject. Noise only adds to it, which does not help the claim.
(5) Noise hides curvature. - Support needs power: planted surfaces are seen in the data's own noise.
Rejection needs none, since noise adds no excess.
(6) Numbers of draws decide. - Draws, depths, steps and components are constants, in no preset; a
preset has more or fewer prompts, and resamples for intervals.
(7) Metrics that order nothing are alike. - One has to order; for support, L2 has to.
(8) All metrics find segments to the other class longer. - Only segments from one base to one class
at one share are compared, and where halving a step changes KL / t^2 no metric is induced.
(9) Between the classes every projection predicts refusal. - 04c is judged within harmful prompts,
and only if these are refused in part: harmless ones are not, and their odds are noise.
(10) Whitening by a shrunken covariance is a straw man with fewer states than dimensions. - It
whitens the leading components that the states can bear, and leaves the others alike.
(11) 04c cannot be resolved to .05. - The margin is .1 (a smaller difference in Spearman changes no
choice of a layer or a direction), and intervals wider than that are called untestable.

Limits. Curvature of two-dimensional surfaces among the leading components can be found, that of
spaces of many dimensions cannot, and of a hyperbolic plane in many dimensions the components keep
a part; a closed loop is flat and reads as a sphere; across wide gaps no curvature is seen. The
negative-eigenvalue share and delta_rel follow noise and are left out. Nothing is chosen here, so
validation prompts are held out as test prompts are. Known beforehand, from a review of a draft that
had been run: its intervals in 04c were wider than .05, and 18 conditions at once were never met.
Noted after the first runs (quick, smollm2-135m, qwen2.5-coder-0.5b): 80 states lack power for 04a.
A fault mended: at early sites KL was the rounding of bfloat16, so it is now taken in float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import MIN_PAIRS, SIGNIFICANCE

CLASSES = {"harmful": "positive", "harmless": "negative"}  # and their side of the contrast set
DEPTHS = {"first": 1 / 6, "middle": 1 / 2, "last": 5 / 6}  # the middle of every third
PLACES = tuple(f"{third}.{name}" for third, name in product(DEPTHS, CLASSES))
RIVALS = ("whitened", "causal")

N_COMPONENTS, NEIGHBOURS = 5, 12
RADII = {"sphere": 0.67, "hyperbolic": 0.25}  # in root mean square lengths of the bent components
N_CONTROLS, N_PLANTED, N_HALVES = 6, 1, 30  # draws at every place, of each kind
CURVED = 0.03  # excess of the triangle defect
POWER = 0.8

STEPS = (0.1, 0.2)  # shares of a segment, each the double of the one before; 0.2 is judged
MARGIN, ORDERS = 0.1, 0.1  # Spearman
CONVERGED, ENOUGH = 0.25, 0.5
NOTES = "how to check if the activation space is Euclidean given a set of vectors"

AT = "the middle of each third of the depth"
NON_INFERIOR = (
    "Whitened: by the within-class covariance of n train states on their n / 5 leading components. "
    f"Untestable if no metric's 95% interval lies above {ORDERS:g}. Lead: a rival's minus L2's. "
    f"Rejected if either lead's interval lies above {MARGIN:g}, p < {SIGNIFICANCE} by Holm over "
    f"both; supported if L2's interval lies above {ORDERS:g} and both leads' intervals below "
    f"{MARGIN:g}; else untestable (power) if either is wider than -+{MARGIN:g}, else inconclusive. "
    "Untestable if "
)


def deciding(meaning: str) -> list[str]:
    """Names of the estimates of one meaning, the leads first."""
    leads, metrics = [f"lead.{name}" for name in RIVALS], ("l2", *RIVALS)
    return [f"{meaning}.{one}" for one in (*leads, *(f"spearman.{name}" for name in metrics))]


CLAIMS = (
    Claim(
        key="04a",
        notes=NOTES,
        statement="The geodesics of last-token states are those of a flat space.",
        criterion=(
            f"Triangle defect in the graph of {NEIGHBOURS} nearest neighbours on {N_COMPONENTS} "
            f"leading components, {AT}, either class. Excess: signed distance from the span of the "
            "means of two flat controls (mean + Q X_c; every component permuted), "
            f"{N_CONTROLS} draws each, within each of Ward's clusters if 2 to 8 of 10 states or "
            "more have a mean silhouette of 0.5. Curvature: mean absolute excess of the six "
            f"places, 95% interval by the delete-half jackknife ({N_HALVES} halves). Rejected if "
            f"it lies above {CURVED:g}, or any place's does in absolute value, p < "
            f"{SIGNIFICANCE} by Holm over the six. Supported if it lies below, and power for both "
            f"planted shapes is at least {POWER:.0%}: flat controls with their 2 leading "
            f"components on a sphere (radius {RADII['sphere']:g} root mean square lengths) or a "
            f"hyperbolic plane ({RADII['hyperbolic']:g}), {N_PLANTED} at every place, by the same "
            "path; power of the data's interval to show their mean excess, by its sign, to lie "
            f"beyond {CURVED:g}. Else untestable if either power is lacking, inconclusive if not."
        ),
        number=f"triangle defect beyond that of flat controls (wanted: below {CURVED})",
        estimates=("curvature", *(f"power.{x}" for x in RADII), *(f"excess.{x}" for x in PLACES)),
    ),
    Claim(
        key="04b",
        notes=NOTES,
        statement=(
            "L2 distance orders changes of the model's output as well as whitened or "
            "unembedding-weighted distance does."
        ),
        criterion=(
            f"Spearman of segment length with output KL at {STEPS[1]:g} of the segment, over the "
            "held-out targets of one class from one held-out base, averaged over classes, bases "
            f"and {AT}; bootstrap over bases and targets at once. {NON_INFERIOR}fewer than "
            f"{ENOUGH:.0%} of the sites count: one counts if halving the step changes KL / t^2 by "
            f"at most {CONVERGED:.0%} in the upper quartile of the segments."
        ),
        number="rank correlation with the output: whitened distance minus L2 "
        f"(wanted: below {MARGIN})",
        estimates=(*deciding("output"), "output.converged"),
    ),
    Claim(
        key="04c",
        notes=NOTES,
        statement="L2 projections predict refusal as well as whitened or weighted ones do.",
        criterion=(
            "Spearman of the projection on the train mean difference with the refusal odds of "
            f"held-out harmful prompts, averaged over {AT}; bootstrap over prompts. {NON_INFERIOR}"
            f"fewer than {MIN_PAIRS} of these prompts are refused, or fewer are not."
        ),
        number="rank correlation with refusal: whitened distance minus L2 "
        f"(wanted: below {MARGIN})",
        estimates=(*deciding("behaviour"), "behaviour.refused", "behaviour.accepted"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Is activation space Euclidean?"""

    n_prompts: Several | None = 72  # per class, of a sample; covariances use those for training
    n_bases: Several = 8  # held-out prompts whose state is moved, half of each class
    n_targets: Several = 16  # those that it is moved towards, half of each class
    n_test: Count | None = 32  # held-out harmful prompts that refusal is scored on
    n_resamples: Several = 300  # bootstrap resamples


MINUTES = {"smoke": 0.1, "quick": 0.8, "full": 6}

PRESETS = {
    "smoke": Config(n_prompts=28, n_bases=4, n_targets=4, n_test=6, n_resamples=20),
    "quick": Config(),
    "full": Config(n_prompts=None, n_bases=24, n_targets=32, n_test=None, n_resamples=1000),
}


def significant(one: Estimate) -> bool:
    """Whether the estimate lies beyond its margin after correction."""
    return one.p is not None and one.p < SIGNIFICANCE


def flatness(estimates: Mapping[str, Estimate]) -> Verdict:
    """04a, from the curvature, the excess of every place and the power for either shape."""
    curvature, places = estimates["curvature"], [estimates[f"excess.{x}"] for x in PLACES]
    bent = any(significant(x) and (x.above(CURVED) or x.below(-CURVED)) for x in places)
    powered = all(estimates[f"power.{shape}"].value >= POWER for shape in RADII)
    if bent or curvature.above(CURVED):
        return "rejected"
    if not powered:
        return "untestable"
    return "supported" if curvature.below(CURVED) else "inconclusive"


def non_inferiority(estimates: Mapping[str, Estimate], meaning: str) -> Verdict:
    """04b and 04c, from the correlations and the rivals' leads over L2."""
    orders = [estimates[f"{meaning}.spearman.{x}"].above(ORDERS) for x in ("l2", *RIVALS)]
    leads = [estimates[f"{meaning}.lead.{name}"] for name in RIVALS]
    ahead = any(lead.above(MARGIN) and significant(lead) for lead in leads)
    as_well = orders[0] and all(lead.below(MARGIN) for lead in leads)
    found = decide(as_well, ahead) if any(orders) else "untestable"
    wide = any((lead.high or 0) - (lead.low or 0) > 2 * MARGIN for lead in leads)
    return "untestable" if found == "inconclusive" and wide else found


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    varies = [estimates[f"behaviour.{x}"].value >= MIN_PAIRS for x in ("refused", "accepted")]
    converged = estimates["output.converged"].value >= ENOUGH
    return {
        "04a": flatness(estimates),
        "04b": non_inferiority(estimates, "output") if converged else "untestable",
        "04c": non_inferiority(estimates, "behaviour") if all(varies) else "untestable",
    }
