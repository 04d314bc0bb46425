"""Is the space of activations Euclidean, and in which meaning of the word?

With the ambient L2 distance every sample is flat by construction, so three metrics are tested.
(a) The manifold of last-token states, through geodesics of its k-nearest-neighbour graph: is it
flat, where a sphere and a hyperbolic space of stated radii would have been seen? (b) The metric
that the model's output induces: does L2 distance order the KL of the next token along straight
segments as well as whitened and unembedding-weighted distances do? (c) Behaviour: does the L2
projection on a mean difference predict the refusal score as well as the other inner products do?

What the protocol left open, and what is done here. Two flat controls must both be beaten: the
rotation null, and a mixture that keeps the sample's clusters at two scales, because small groups of
like prompts read as negative curvature (`interp.curvature.nulls`). Planted spaces bend the part of
a flat mixture that holds 90% of the variance, by the exponential map, and keep the rest as noise;
they are judged against their own flat controls. Radii are in units of the bent part's root mean
square length. The p-values are tails of Student's t, since 19 or 99 ranks cannot be Holm-corrected.
Only estimators with power vote for flatness, and TwoNN never votes, being a dimension. Cells (site
x class) are combined by their share: as each cell errs with probability .05 at most, half of them
do so with probability .1 at most, however dependent the layers are (Markov's inequality). The step
of (b) has converged when KL / t^2 stays within 25% as t is halved.

How part (a) came about, since it limits what it can show. Its flat mixture, radii and rule were
developed on states of qwen2.5-coder-0.5b, so for that model (a) is exploratory; for the other
models it is as written before. Of the controls tried, k-means clusters put none of the four cells
looked at outside, a Gaussian mixture at one scale put 2 of 3 outside, towards negative curvature,
and the mixture at two scales kept here puts none: whether the space counts as hyperbolic depends on
whether small groups of like prompts are granted to a flat space. The two-scale control also
absorbs part of a planted negative curvature, so power against hyperbolic space is low.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import MinLen
from matplotlib.figure import Figure

from experiments.claims import Claim, Verdict, decide
from experiments.config import Count, ExperimentConfig, Several, Share
from experiments.euclidean_manifold import (
    CLASSES,
    Cell,
    assessment_table,
    calibration_table,
    manifold_estimates,
    measure_cells,
    profile_table,
)
from experiments.euclidean_metrics import (
    RIVALS,
    Metrics,
    behaviour_correlations,
    correlation_table,
    metric_estimates,
    metrics_at,
    openings_scores,
    output_correlations,
    permuted_correlations,
    predicted_scores,
    resampled_correlations,
    segment_kl,
    segment_lengths,
    within_class,
)
from experiments.euclidean_plots import plot_all
from experiments.lab import Lab
from experiments.results import Estimate, Result, number
from interp.curvature.flatness import MOVED, SHAPES, FlatnessSettings
from interp.curvature.inner_products import INNER_PRODUCTS, unembedding_covariance
from interp.sites import Site

ALPHA = 0.05
POWER = 0.8
SPHERE_RADIUS = 2 / 3
HYPERBOLIC_RADIUS = 0.4
BENT_SHARE = 0.9
MAJORITY = 0.5
STRAY = 0.1
MARGIN = 0.05
CONVERGED = 0.25
LEAST_PROMPTS = 30
MEANINGS = ("manifold", "output", "behaviour")
STATUSES = ("within", "outside", "inconclusive")

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

    n_prompts: Several = 100  # per class, states of one manifold
    n_sites: Count | None = 4  # layers measured, evenly spread; None is every one
    n_rotations: Several = 19  # draws of each flat control
    n_planted: Several = 19  # draws of each planted space
    n_halves: Count = 20  # random halves, for the intervals
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


@dataclass(frozen=True)
class Metric:
    """What (b) or (c) measured: estimates, and the table of its figure."""

    estimates: list[Estimate]
    table: pd.DataFrame


def spread(items: Sequence[Site], n: int | None) -> list[Site]:
    """n items evenly spread, the last one among them; all of them for None."""
    count = len(items) if n is None else min(n, len(items))
    return [items[round(i * len(items) / count) - 1] for i in range(1, count + 1)]


def measured_sites(n_layers: int) -> list[Site]:
    """`pre` of every layer but the first, which sees the same last token in every prompt."""
    return [*(Site(layer, "pre") for layer in range(1, n_layers)), Site(n_layers - 1, "post")]


def run(config: Config, lab: Lab) -> Result:
    """Measure all three meanings."""
    sites = spread(measured_sites(lab.model.n_layers), config.n_sites)
    cells = manifold(config, lab, sites)
    metric_sites = spread(sites, config.n_metric_sites)
    metrics = inner_products(config, lab, metric_sites)
    output = output_metric(config, lab, metric_sites, metrics)
    behaviour, scores = behaviour_metric(config, lab, metric_sites, metrics)
    estimates = (*manifold_estimates(cells), *output.estimates, *behaviour.estimates)
    named = {estimate.name: estimate for estimate in estimates}
    assessment = assessment_table(cells)
    tables = {
        "meanings": meanings_table(named, assessment),
        "profile": profile_table(cells),
        "calibration": calibration_table(cells),
        "metrics": pd.concat(
            [output.table.assign(meaning="output"), behaviour.table.assign(meaning="behaviour")]
        ),
        "assessment": assessment,
        "scores": scores,
    }
    return Result(estimates, tables, observation(named))


def manifold(config: Config, lab: Lab, sites: Sequence[Site]) -> list[Cell]:
    """(a): every site and class."""
    groups = (lab.contrast.positive, lab.contrast.negative)
    rng = lab.rng("prompts of the manifold")
    prompts = {
        group: [texts[i] for i in sorted(rng.permutation(len(texts))[: config.n_prompts])]
        for group, texts in zip(CLASSES, groups, strict=True)
    }
    settings = FlatnessSettings(
        neighbours=config.neighbours,
        n_rotations=config.n_rotations,
        n_planted=config.n_planted,
        n_halves=config.n_halves,
        sheet_variance=BENT_SHARE,
        sphere_radius=SPHERE_RADIUS,
        hyperbolic_radius=HYPERBOLIC_RADIUS,
    )
    with_ollivier = spread(sites, config.n_ollivier + 1)[: config.n_ollivier]
    return measure_cells(lab, sites, with_ollivier, prompts, settings, config.workers)


def train_prompts(config: Config, lab: Lab) -> dict[str, list[str]]:
    """Prompts that covariances and mean differences are learned on."""
    groups = (lab.splits.train.positive, lab.splits.train.negative)
    return {c: list(texts[: config.n_train]) for c, texts in zip(CLASSES, groups, strict=True)}


def inner_products(config: Config, lab: Lab, sites: Sequence[Site]) -> dict[Site, Metrics]:
    """The three inner products at every site."""
    causal = unembedding_covariance(lab.model)
    states = [lab.activations(x, sites)[:, :, 0] for x in train_prompts(config, lab).values()]
    return {
        site: metrics_at([s[:, index].double().numpy() for s in states], causal)
        for index, site in enumerate(sites)
    }


def output_metric(
    config: Config, lab: Lab, sites: Sequence[Site], metrics: Mapping[Site, Metrics]
) -> Metric:
    """(b): output KL along segments between test prompts, against their length."""
    test = lab.splits.test
    half = config.n_bases // 2
    bases = [*test.positive[:half], *test.negative[:half]]
    each = slice(half, half + config.n_targets // 2)
    targets = [*test.positive[each], *test.negative[each]]
    kl = np.stack(
        [
            segment_kl(lab, site, bases, targets, config.steps)
            for site in lab.progress(sites, "output KL")
        ]
    )
    distance = np.stack([segment_lengths(lab, s, bases, targets, metrics[s]) for s in sites])
    rng = lab.rng("output metric")
    value = output_correlations(kl, distance)
    draws = resampled_correlations(kl, distance, config.n_resamples, rng)
    null = permuted_correlations(kl, distance, rng)
    n = len(bases) * len(targets)
    estimates = metric_estimates(
        "output", value.mean(axis=(0, 1)), draws.mean(axis=(1, 2)), null.mean(axis=(1, 2)), n
    )
    small, double = kl[:, 0] / config.steps[0] ** 2, kl[:, 1] / config.steps[1] ** 2
    change = np.abs(small / double - 1)
    quartiles = np.percentile(change, [25, 50, 75])
    estimates.append(
        Estimate("output.convergence", quartiles[1], quartiles[0], quartiles[2], n=change.size)
    )
    steps = [f"{step:g} of the segment" for step in config.steps]
    return Metric(estimates, correlation_table(sites, steps, value, draws, null, n))


def behaviour_metric(
    config: Config, lab: Lab, sites: Sequence[Site], metrics: Mapping[Site, Metrics]
) -> tuple[Metric, pd.DataFrame]:
    """(c): projections on the train mean difference against the openings score of test prompts."""
    test = lab.splits.test
    groups = {
        c: list(texts[: config.n_test])
        for c, texts in zip(CLASSES, (test.positive, test.negative), strict=True)
    }
    prompts = [text for texts in groups.values() for text in texts]
    labels = np.repeat(np.arange(2), [len(texts) for texts in groups.values()])
    scores = openings_scores(lab, prompts)
    predicted = predicted_scores(lab, sites, train_prompts(config, lab), prompts, metrics)
    rng = lab.rng("behaviour metric")
    n = len(prompts)
    value = behaviour_correlations(scores, predicted)
    inside = within_class(scores, predicted, labels)
    picks = [rng.integers(0, n, n) for _ in range(config.n_resamples)]
    draws = np.stack([behaviour_correlations(scores[i], predicted[:, :, i]) for i in picks])
    inner = np.stack([within_class(scores[i], predicted[:, :, i], labels[i]) for i in picks])
    shuffles = [rng.permutation(scores) for _ in range(len(picks))]
    null = np.stack([behaviour_correlations(shuffled, predicted) for shuffled in shuffles])
    inner_null = np.stack([within_class(shuffled, predicted, labels) for shuffled in shuffles])
    estimates = [
        *metric_estimates("behaviour", value.mean(0), draws.mean(1), null.mean(1), n),
        *metric_estimates("within_class", inside.mean(0), inner.mean(1), inner_null.mean(1), n),
        Estimate("behaviour.prompts", min(map(len, groups.values())), n=n, unit="per class"),
    ]
    steps = ["both classes", "within a class"]
    table = correlation_table(
        sites, steps, np.stack([value, inside], 1), np.stack([draws, inner], 2),
        np.stack([null, inner_null], 2), n,
    )  # fmt: skip
    columns = {
        f"{name} {site}": predicted[i, j]
        for i, site in enumerate(sites)
        for j, name in enumerate(INNER_PRODUCTS)
    }
    identity = {"prompt": np.arange(n), "class": np.array(CLASSES)[labels], "openings": scores}
    return Metric(estimates, table), pd.DataFrame({**identity, **columns})


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


def meanings_table(estimates: Mapping[str, Estimate], assessment: pd.DataFrame) -> pd.DataFrame:
    """What the first figure shows: shares of statuses per estimator, and correlations."""
    parts = verdicts(estimates)
    n_cells = estimates["manifold.cells.within"].n
    rows: list[dict[str, Any]] = []
    for suffix, label in {"": "all votes", **{f".{s}": f"all votes / {s}" for s in SHAPES}}.items():
        shares = {s: estimates[f"manifold.cells.{s}{suffix}"].value for s in STATUSES[:2]}
        rows += [
            {"meaning": "manifold", "row": label, "part": status, "n": n_cells}
            | {"value": shares.get(status, 1 - sum(shares.values()))}
            for status in STATUSES
        ]
    for name in assessment["estimator"].unique():
        for shape in SHAPES:
            chosen = (assessment["estimator"] == name) & (assessment["shape"] == shape)
            found = list(assessment[chosen]["status"])
            rows += [
                {"meaning": "manifold", "row": f"{name} / {shape}", "part": status}
                | {"n": len(found), "value": found.count(status) / len(found)}
                for status in STATUSES
            ]
    for meaning in ("output", "behaviour"):
        for name in INNER_PRODUCTS:
            one = estimates[f"{meaning}.spearman.{name}"]
            rows.append(
                {
                    "meaning": meaning, "row": name, "part": "spearman", "value": one.value,
                    "low": one.low, "high": one.high, "null_low": one.null_low,
                    "null_high": one.null_high, "n": one.n,
                }
            )  # fmt: skip
    by_meaning = dict(zip(MEANINGS, parts.values(), strict=True))
    return pd.DataFrame(rows).assign(verdict=lambda table: table["meaning"].map(by_meaning))


def observation(estimates: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    parts = verdicts(estimates)
    within, outside = (estimates[f"manifold.cells.{x}"] for x in ("within", "outside"))
    powers = [number(estimates[f"manifold.power.{shape}"].value) for shape in SHAPES]
    leads = {m: [str(estimates[f"{m}.lead.{r}"]) for r in RIVALS] for m in ("output", "behaviour")}
    spherical = estimates["manifold.cells.within.sphere"].value
    return (
        f"Manifold: {parts['04a']}. Of {within.n} cells (site x class) a share of "
        f"{number(within.value)} lies within the margin of flatness and {number(outside.value)} "
        f"outside; the planted sphere alone is excluded in {number(spherical)}. The best estimator "
        f"finds the planted sphere with power {powers[0]} and the hyperbolic space with "
        f"{powers[1]} (medians over cells). Output: {parts['04b']}. L2 length "
        "orders output KL with Spearman "
        f"{estimates['output.spearman.l2']}; whitened leads by {leads['output'][0]}, "
        f"unembedding-weighted by {leads['output'][1]}; halving the step changes KL / t^2 by "
        f"{number(estimates['output.convergence'].value)}. Behaviour: {parts['04c']}. The L2 "
        f"projection predicts refusal with Spearman {estimates['behaviour.spearman.l2']}; whitened "
        f"leads by {leads['behaviour'][0]}, unembedding-weighted by {leads['behaviour'][1]}; "
        f"within a class L2 has {estimates['within_class.spearman.l2']}."
    )


def plot(result: Result) -> dict[str, Figure]:
    """Every figure, each from the table of its name."""
    return plot_all(result)
