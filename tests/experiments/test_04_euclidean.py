"""Experiment 04: its verdict, planted metrics, and a smoke run on a tiny random model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.meter import Meter
from experiments.lab.spacing import spaced
from interp.curvature.flatness import SHAPES
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.sites import Site

experiment = find_experiment("04")
protocol = experiment.protocol
metrics = experiment.part("metrics")


def estimates(
    within: float = 1.0,
    outside: float = 0.0,
    power: float = 1.0,
    lead: tuple[float, float] = (-0.2, -0.1),
    own_low: float = 0.3,
    convergence: float = 0.1,
    prompts: float = 60,
) -> dict[str, Estimate]:
    """Estimates that support the claim unless told otherwise."""
    found = [
        Estimate("manifold.cells.within", within, n=8),
        Estimate("manifold.cells.outside", outside, n=8),
        Estimate("manifold.power.sphere", power),
        Estimate("manifold.power.hyperbolic", 1.0),
        Estimate("output.convergence", convergence),
        Estimate("behaviour.prompts", prompts),
    ]
    for meaning in ("output", "behaviour"):
        found.append(Estimate(f"{meaning}.spearman.l2", 0.5, own_low, 0.7))
        found.append(Estimate(f"{meaning}.lead.whitened", sum(lead) / 2, *lead))
        found.append(Estimate(f"{meaning}.lead.causal", -0.1, -0.2, 0.0))
    return {estimate.name: estimate for estimate in found}


@pytest.mark.parametrize(
    ("changes", "manifold", "output", "behaviour"),
    [
        ({}, "supported", "supported", "supported"),
        ({"power": 0.5}, "inconclusive", "supported", "supported"),
        ({"within": 0.4}, "inconclusive", "supported", "supported"),
        ({"within": 0.8, "outside": 0.2}, "inconclusive", "supported", "supported"),
        ({"within": 0.4, "outside": 0.5, "power": 0.1}, "rejected", "supported", "supported"),
        ({"lead": (0.01, 0.2)}, "supported", "rejected", "rejected"),
        ({"lead": (0.01, 0.04)}, "supported", "supported", "supported"),
        ({"lead": (-0.1, 0.2)}, "supported", "inconclusive", "inconclusive"),
        ({"own_low": -0.1}, "supported", "inconclusive", "inconclusive"),
        ({"convergence": 0.5}, "supported", "inconclusive", "supported"),
        ({"convergence": float("nan")}, "supported", "inconclusive", "supported"),
        ({"prompts": 20}, "supported", "supported", "untestable"),
        (
            {"lead": (0.1, 0.2), "convergence": 0.9, "prompts": 10},
            "supported", "inconclusive", "untestable",
        ),
    ],
)  # fmt: skip
def test_verdicts(changes, manifold, output, behaviour):
    found = protocol.verdicts(estimates(**changes))
    assert found == {"04a": manifold, "04b": output, "04c": behaviour}


def test_criteria_state_every_constant():
    constants = (
        ("0.667", "0.4", "90%", "80%", "0.05", "50%", "10%", "0.8"),
        ("0.05", "25%"),
        ("0.05", "30"),
    )
    for claim, named in zip(protocol.CLAIMS, constants, strict=True):
        for constant in named:
            assert constant in claim.criterion


def test_the_protocol_names_the_shapes_and_inner_products_of_the_library():
    assert protocol.SHAPES == SHAPES
    assert ("l2", *protocol.RIVALS) == INNER_PRODUCTS


def planted_output(which: int) -> tuple[np.ndarray, np.ndarray]:
    """KL that follows the length in one of the three metrics, at two sites and steps."""
    rng = np.random.default_rng(0)
    distance = rng.random((2, 3, 12, 6)) + rng.random((2, 3, 12, 1)) + rng.random((2, 3, 1, 6))
    noise = 1 + 0.05 * rng.standard_normal((2, 2, 12, 6))
    return distance[:, None, which] ** 2 * noise, distance


@pytest.mark.parametrize(
    ("which", "expected"), [(0, "supported"), (1, "rejected"), (2, "rejected")]
)
def test_the_metric_that_the_output_follows_is_found(which, expected):
    kl, distance = planted_output(which)
    draws = metrics.output_correlations(kl, distance, ("a", "b"), 100, np.random.default_rng(1))
    assert draws.n == kl[0, 0].size
    found = experiment.part("estimates").metric_estimates("output", draws)
    named = {estimate.name: estimate for estimate in found}
    assert protocol.metric_verdict(named, "output") == expected
    best = named[f"output.spearman.{('l2', 'whitened', 'causal')[which]}"]
    assert best.null_high is not None
    assert best.value > 0.95 and best.null_high < 0.6


def test_within_class_ignores_the_gap_between_classes():
    labels = np.repeat([0, 1], 30)
    scores = np.random.default_rng(0).standard_normal(60) + 10 * labels
    predicted = np.broadcast_to(labels + 0.0, (1, 3, 60))
    whole, within = metrics.behaviour_spearman(scores, predicted, labels)[0]
    assert (whole > 0.8).all()
    assert within == pytest.approx(np.zeros(3))


def test_moving_towards_a_target_is_linear_and_keeps_the_dtype():
    state = torch.randn(2, 3, 8).bfloat16()
    target = torch.ones(8)
    assert torch.equal(metrics.MoveTowards(target, 0.0)(state), state)
    assert torch.equal(metrics.MoveTowards(target, 1.0)(state), torch.ones_like(state))
    halfway = metrics.MoveTowards(target, 0.5)(state)
    assert halfway.dtype == state.dtype
    assert torch.allclose(halfway.float(), (state.float() + 1) / 2, atol=0.02)


def test_a_whole_segment_at_the_last_site_ends_at_the_target(bench):
    """At `post` of the last layer the moved state is the target's, so all bases agree with it."""
    lab = bench.lab(0)
    bases, targets = lab.contrast.positive[:3], lab.contrast.negative[:2]
    last, meter = Site(lab.model.n_layers - 1, "post"), Meter(lab, {"bases": bases})
    kl = metrics.segment_kl(meter, last, targets, (0.01, 0.02, 1.0))
    assert kl.shape == (3, 3, 2)
    assert np.allclose(kl[1] / kl[0], 4, rtol=0.1)
    towards = replace(meter, name="towards the first base")
    same = metrics.segment_kl(towards, last, bases[:1], (1.0,))
    assert same[0, 0, 0] == pytest.approx(0, abs=1e-6) and same[0, 1, 0] > 0


def test_sites_skip_the_state_that_is_the_same_in_every_prompt():
    sites = experiment.part("run").varying_sites(24)
    assert len(sites) == 24 and Site(0, "pre") not in sites
    chosen = spaced(sites, 4, first=False)
    assert [str(site) for site in chosen] == ["6.pre", "12.pre", "18.pre", "23.post"]
    assert spaced(sites, 1, first=False) == sites[-1:]
    assert spaced(sites, None, first=False) == sites


def test_smoke_run(bench):
    config = replace(experiment.preset("smoke"), n_sites=1, n_metric_sites=1)
    result = experiment.run(config, bench.lab(0))
    assert set(experiment.judge(result.estimates)) == {"04a", "04b", "04c"}
    figures = experiment.plot(result)
    names = {name.partition(".")[0] for name in figures}
    assert names == {"meanings", "calibration", "profile", "metrics"}
    assert names <= set(result.tables)
    assert all(isinstance(table, pd.DataFrame) for table in result.tables.values())
    assert set(result.tables["profile"]["class"]) == {"harmful", "harmless"}
    assert result.tables["scores"].shape[0] == 2 * config.n_test
    assert result["manifold.cells.within"].n == 2
    assert str(result["output.lead.causal"]) in result.observation
