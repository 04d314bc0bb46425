"""The method of 04_euclidean; protocol.py has the question and the criteria."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp.curvature.flatness import SHAPES, FlatnessSettings
from interp.curvature.inner_products import INNER_PRODUCTS, unembedding_covariance
from interp.sites import Site

from .manifold import (
    CLASSES,
    Cell,
    assessment_table,
    calibration_table,
    manifold_estimates,
    measure_cells,
    profile_table,
)
from .metrics import (
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
from .protocol import BENT_SHARE, HYPERBOLIC_RADIUS, RIVALS, SPHERE_RADIUS, Config, verdicts

MEANINGS = ("manifold", "output", "behaviour")
STATUSES = ("within", "outside", "inconclusive")


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
