"""The method of 04_euclidean; protocol.py has the question and the criteria."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.meter import Meter
from experiments.lab.results import Result
from experiments.lab.spacing import spaced
from interp.curvature.flatness import FlatnessSettings
from interp.curvature.inner_products import InnerProducts, unembedding_covariance
from interp.sites import Site

from . import metrics, protocol, tables
from .estimates import convergence, manifold_estimates, metric_estimates
from .manifold import Cell, measure_cells
from .protocol import CLASSES, RIVALS, SHAPES, Config


def run(config: Config, lab: Lab) -> Result:
    """Measure all three meanings."""
    sites = spaced(varying_sites(lab.model.n_layers), config.n_sites, first=False)
    cells = manifold(config, lab, sites)
    profile = tables.profile_table(cells)
    chosen = spaced(sites, config.n_metric_sites, first=False)
    products = inner_products(config, lab, chosen)
    kl, distance = segments(config, lab, chosen, products)
    scores, predicted, labels = behaviour(config, lab, chosen, products)
    steps, n = [f"{step:g} of the segment" for step in config.steps], config.n_resamples
    output = metrics.output_correlations(kl, distance, steps, n, lab.rng("output metric"))
    rng = lab.rng("behaviour metric")
    refusal = metrics.behaviour_correlations(scores, predicted, labels, n, rng)
    fewest, unit = int(np.bincount(labels).min()), "per class"
    estimates = (
        *manifold_estimates(cells, profile),
        *metric_estimates("output", output),
        convergence(kl, config.steps),
        *metric_estimates("behaviour", refusal, slice(0, 1)),
        *metric_estimates("within_class", refusal, slice(1, 2)),
        Estimate("behaviour.prompts", fewest, n=len(labels), unit=unit),
    )
    named = {estimate.name: estimate for estimate in estimates}
    found = {
        "meanings": tables.meanings_table(cells, named),
        "profile": profile,
        "calibration": tables.calibration_table(cells),
        "metrics": tables.correlation_table(chosen, output=output, behaviour=refusal),
        "assessment": tables.assessment_table(cells),
        "scores": tables.scores_table(chosen, labels, scores, predicted),
    }
    return Result(estimates, found, observation(named))


def varying_sites(n_layers: int) -> list[Site]:
    """`pre` of every layer but the first, which sees the same last token in every prompt."""
    return [*(Site(layer, "pre") for layer in range(1, n_layers)), Site(n_layers - 1, "post")]


def manifold(config: Config, lab: Lab, sites: Sequence[Site]) -> list[Cell]:
    """(a): every site and class."""
    rng, states = lab.rng("prompts of the manifold"), {}
    for name, side in CLASSES.items():
        texts = getattr(lab.contrast, side)
        chosen = sorted(rng.permutation(len(texts))[: config.n_prompts])
        states[name] = lab.activations([texts[i] for i in chosen], sites)[:, :, 0]
    settings = FlatnessSettings(
        **protocol.FLATNESS,
        neighbours=config.neighbours,
        n_rotations=config.n_rotations,
        n_planted=config.n_planted,
        n_halves=config.n_halves,
    )
    with_ollivier = spaced(sites, config.n_ollivier + 1, first=False)[: config.n_ollivier]
    return measure_cells(lab, sites, states, settings, with_ollivier, config.workers)


def inner_products(config: Config, lab: Lab, sites: Sequence[Site]) -> list[InnerProducts]:
    """Those of every site, learned on train prompts."""
    train, causal = lab.splits.train, unembedding_covariance(lab.model)
    texts = [of_class[: config.n_train] for of_class in (train.positive, train.negative)]
    states = [metrics.last_states(lab, of_class, sites) for of_class in texts]
    return [InnerProducts.learn(of_site, causal) for of_site in zip(*states, strict=True)]


def segments(
    config: Config, lab: Lab, sites: Sequence[Site], products: Sequence[InnerProducts]
) -> tuple[metrics.OutputKL, metrics.Lengths]:
    """(b): output KL along segments between test prompts, and their length in each metric."""
    test, half = lab.splits.test, config.n_bases // 2
    later = slice(half, half + config.n_targets // 2)
    bases = (*test.positive[:half], *test.negative[:half])
    targets = (*test.positive[later], *test.negative[later])
    starts, ends = (metrics.last_states(lab, texts, sites) for texts in (bases, targets))
    by_site = zip(products, starts, ends, strict=True)
    distance = [learned.lengths(end[None] - start[:, None]) for learned, start, end in by_site]
    meter, going = Meter(lab, {"bases": bases}), lab.progress(sites, "output KL")
    kl = [metrics.segment_kl(meter, site, targets, config.steps) for site in going]
    return np.stack(kl), np.stack(distance)


def behaviour(
    config: Config, lab: Lab, sites: Sequence[Site], products: Sequence[InnerProducts]
) -> tuple[metrics.Scores, metrics.Projections, metrics.Labels]:
    """(c): openings scores of test prompts, projections on the train mean difference, classes."""
    test = lab.splits.test
    groups = [texts[: config.n_test] for texts in (test.positive, test.negative)]
    labels, prompts = np.repeat([0, 1], [len(texts) for texts in groups]), (*groups[0], *groups[1])
    by_site = zip(products, metrics.last_states(lab, prompts, sites), strict=True)
    predicted = np.stack([learned.projections(states) for learned, states in by_site])
    return Meter(lab, {"test": prompts}).scores("test").openings, predicted, labels


def observation(estimates: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    within, outside = (estimates[f"manifold.cells.{status}"] for status in ("within", "outside"))
    powers = [number(estimates[f"manifold.power.{shape}"].value) for shape in SHAPES]
    parts = [
        f"Of {within.n} cells (site x class) a share of {number(within.value)} lies within the "
        f"margin of flatness and {number(outside.value)} outside; the best estimator finds the "
        f"planted sphere with power {powers[0]}, the hyperbolic space with {powers[1]} (medians)."
    ]
    for meaning, does in (("output", "orders output KL"), ("behaviour", "predicts refusal")):
        leads = [f"{name} leads by {estimates[f'{meaning}.lead.{name}']}" for name in RIVALS]
        own = estimates[f"{meaning}.spearman.l2"]
        parts.append(f"L2 {does} with Spearman {own}; {', '.join(leads)}.")
    halved = number(estimates["output.convergence"].value)
    return " ".join([*parts, f"Halving the step changes KL / t^2 by {halved}."])
