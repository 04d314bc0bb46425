"""Experiment 04: its verdict, planted metrics, and a smoke run on a tiny random model."""

import importlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import load_experiment
from experiments.lab.estimate import Estimate
from interp.sites import Site

_manifold = importlib.import_module("experiments.04_euclidean.run.manifold")
distinct_states = _manifold.distinct_states
half_interval = _manifold.half_interval
_metrics = importlib.import_module("experiments.04_euclidean.run.metrics")
MoveTowards = _metrics.MoveTowards
metric_estimates = _metrics.metric_estimates
output_correlations = _metrics.output_correlations
permuted_correlations = _metrics.permuted_correlations
resampled_correlations = _metrics.resampled_correlations
segment_kl = _metrics.segment_kl
segment_lengths = _metrics.segment_lengths
spearman = _metrics.spearman
within_class = _metrics.within_class

experiment = load_experiment("04")


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
    ("changes", "expected"),
    [
        ({}, "supported"),
        ({"power": 0.5}, "inconclusive"),
        ({"within": 0.4}, "inconclusive"),
        ({"within": 0.8, "outside": 0.2}, "inconclusive"),
        ({"within": 0.4, "outside": 0.5, "power": 0.1}, "rejected"),
        ({"lead": (0.01, 0.2)}, "rejected"),
        ({"lead": (0.01, 0.04)}, "supported"),
        ({"lead": (-0.1, 0.2)}, "inconclusive"),
        ({"own_low": -0.1}, "inconclusive"),
        ({"convergence": 0.5}, "inconclusive"),
        ({"convergence": float("nan")}, "inconclusive"),
        ({"prompts": 20}, "inconclusive"),
    ],
)
def test_verdict(changes, expected):
    assert experiment.verdict(estimates(**changes)) == expected


def test_an_unconverged_step_cannot_reject():
    found = estimates(lead=(0.1, 0.2), convergence=0.9, prompts=10)
    assert experiment.verdicts(found) == {
        "manifold": "supported",
        "output": "inconclusive",
        "behaviour": "inconclusive",
    }


def test_criterion_states_every_constant():
    for constant in ("0.667", "0.4", "90%", "80%", "0.05", "50%", "10%", "0.8", "25%", "30"):
        assert constant in experiment.CRITERION


def test_spearman_agrees_with_a_known_answer():
    x = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 1, 1, 1]])
    y = np.array([[10.0, 20, 30, 40], [4, 3, 2, 1], [1, 2, 3, 4]])
    assert spearman(x, y) == pytest.approx([1, -1, 0])


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
    rng = np.random.default_rng(1)
    value = output_correlations(kl, distance)
    draws = resampled_correlations(kl, distance, 100, rng)
    null = permuted_correlations(kl, distance, rng)
    found = metric_estimates(
        "output", value.mean((0, 1)), draws.mean((1, 2)), null.mean((1, 2)), kl[0, 0].size
    )
    named = {estimate.name: estimate for estimate in found}
    assert experiment.metric_verdict(named, "output") == expected
    best = named[f"output.spearman.{('l2', 'whitened', 'causal')[which]}"]
    assert best.null_high is not None
    assert best.value > 0.95 and best.null_high < 0.6


def test_within_class_ignores_the_gap_between_classes():
    labels = np.repeat([0, 1], 30)
    scores = np.random.default_rng(0).standard_normal(60) + 10 * labels
    predicted = np.broadcast_to(labels + 0.0, (1, 3, 60))
    assert spearman(scores, predicted[0, 0]) > 0.8
    assert within_class(scores, predicted, labels) == pytest.approx(np.zeros((1, 3)))


def test_moving_towards_a_target_is_linear_and_keeps_the_dtype():
    state = torch.randn(2, 3, 8).bfloat16()
    target = torch.ones(8)
    assert torch.equal(MoveTowards(target, 0.0)(state), state)
    assert torch.equal(MoveTowards(target, 1.0)(state), torch.ones_like(state))
    halfway = MoveTowards(target, 0.5)(state)
    assert halfway.dtype == state.dtype
    assert torch.allclose(halfway.float(), (state.float() + 1) / 2, atol=0.02)


def test_a_whole_segment_at_the_last_site_ends_at_the_target(bench):
    """At `post` of the last layer the moved state is the target's, so all bases agree with it."""
    lab = bench.lab(0)
    bases, targets = lab.contrast.positive[:3], lab.contrast.negative[:2]
    last = Site(lab.model.n_layers - 1, "post")
    kl = segment_kl(lab, last, bases, targets, (0.01, 0.02, 1.0))
    assert kl.shape == (3, 3, 2)
    assert np.allclose(kl[1] / kl[0], 4, rtol=0.1)
    same = segment_kl(bench.lab(1), last, bases, bases[:1], (1.0,))
    assert same[0, 0, 0] == pytest.approx(0, abs=1e-6) and same[0, 1, 0] > 0
    metrics = {"l2": None, "whitened": np.eye(lab.model.d_model) * 4, "causal": None}
    length = segment_lengths(lab, last, bases, targets, metrics)
    assert np.allclose(length[1], 2 * length[0]) and np.array_equal(length[2], length[0])


def test_constant_states_are_left_out_and_repeats_dropped():
    constant = np.ones((20, 5)) + 1e-9 * np.random.default_rng(0).standard_normal((20, 5))
    assert distinct_states(constant, 1e-10) is None
    states = np.random.default_rng(0).standard_normal((20, 5))
    repeated = np.concatenate([states, states[:4]])
    assert len(distinct_states(repeated, 1e-10)) == 20


def test_half_interval_is_centred_on_the_value():
    low, high = half_interval(3.0, [9.0, 10.0, 11.0])
    assert low < 3.0 < high and (high + low) / 2 == pytest.approx(3.0)


def test_sites_skip_the_state_that_is_the_same_in_every_prompt():
    sites = experiment.measured_sites(24)
    assert len(sites) == 24 and Site(0, "pre") not in sites
    chosen = experiment.spread(sites, 4)
    assert [str(site) for site in chosen] == ["6.pre", "12.pre", "18.pre", "23.post"]
    assert experiment.spread(sites, None) == sites


def test_smoke_run(bench):
    config = replace(experiment.PRESETS["smoke"], n_sites=1, n_metric_sites=1)
    result = experiment.run(config, bench.lab(0))
    assert result.verdict == experiment.verdict(result.by_name())
    figures = experiment.plot(result)
    assert set(figures) <= set(result.tables)
    assert {"meanings", "calibration", "profile", "metrics"} == set(figures)
    assert all(isinstance(table, pd.DataFrame) for table in result.tables.values())
    assert set(result.tables["profile"]["class"]) == {"harmful", "harmless"}
    assert result.tables["scores"].shape[0] == 2 * config.n_test
    assert result["manifold.cells.within"].n == 2
    assert "Manifold" in result.observation
