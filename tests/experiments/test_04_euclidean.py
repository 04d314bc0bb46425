"""Experiment 04: its verdicts, its planted worlds, and a smoke run on a tiny random model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.outputs import MoveTowards, Outputs, outputs_of
from interp.curvature import excess
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.curvature.orders import change_on_halving, projection_spearman, segment_spearman
from interp.sites import Site

experiment = find_experiment("04")
protocol, worlds = experiment.protocol, experiment.part("worlds")


def estimates(
    bent: tuple[float, float] = (-0.01, 0.01),
    p: float = 0.01,
    power: float = 1.0,
    bare: float = 1.0,
    lead: tuple[float, float] = (-0.2, -0.1),
    l2: tuple[float, float] = (0.3, 0.7),
    rival: tuple[float, float] = (0.2, 0.6),
    converged: float = 1.0,
    refused: int = 20,
) -> dict[str, Estimate]:
    """Estimates that support the claims unless told otherwise."""

    def one(name: str, limits: tuple[float, float]) -> Estimate:
        """An estimate between its limits."""
        return Estimate(name, sum(limits) / 2, *limits, p=p)

    found = [one("output.converged", (converged, converged))]
    found.append(Estimate("behaviour.refused", refused, p=0.001))
    for i, place in enumerate(protocol.PLACES):
        found.append(one(f"excess.{place}", bent if i == 3 else (-0.01, 0.01)))
        found.append(Estimate(f"power.{place}", power if i == 2 else 1.0))
        found.append(Estimate(f"power_bare.{place}", bare))
    for meaning in ("output", "behaviour"):
        found.append(one(f"{meaning}.spearman.l2", l2))
        found += [one(f"{meaning}.spearman.{name}", rival) for name in protocol.RIVALS]
        found.append(one(f"{meaning}.lead.whitened", lead))
        found.append(one(f"{meaning}.lead.causal", (-0.1, 0.0)))
    return {estimate.name: estimate for estimate in found}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "supported supported supported"),
        ({"power": 0.5}, "untestable supported supported"),
        ({"bent": (0.0, 0.04)}, "inconclusive supported supported"),
        ({"bent": (0.04, 0.05), "power": 0.5}, "rejected supported supported"),
        ({"bent": (-0.05, -0.04)}, "rejected supported supported"),
        ({"bent": (-0.05, -0.04), "bare": 0.5}, "untestable supported supported"),
        ({"bent": (0.04, 0.05), "p": 0.06}, "inconclusive inconclusive inconclusive"),
        ({"lead": (0.06, 0.2)}, "supported rejected rejected"),
        ({"lead": (0.01, 0.04)}, "supported supported supported"),
        ({"lead": (0.01, 0.2)}, "supported inconclusive inconclusive"),
        ({"l2": (0.0, 0.2)}, "supported inconclusive inconclusive"),
        ({"l2": (0.0, 0.2), "rival": (0.0, 0.2)}, "supported untestable untestable"),
        ({"converged": 0.4}, "supported untestable supported"),
        ({"refused": 5}, "supported supported untestable"),
    ],
)
def test_verdicts(changes, expected):
    assert list(protocol.verdicts(estimates(**changes)).values()) == expected.split()


def test_criteria_state_every_constant_and_the_library_has_the_same():
    stated = (
        ("12", "8", "10 states", "0.5", "0.03", "80%", "0.67", "0.4", "0.05"),
        ("0.1", "0.05", "50%", "25%"),
        ("0.1", "0.05", "6"),
    )
    for claim, constants in zip(protocol.CLAIMS, stated, strict=True):
        assert all(constant in claim.criterion for constant in constants)
    assert tuple(protocol.RADII) == excess.SHAPES
    assert ("l2", *protocol.RIVALS) == INNER_PRODUCTS
    for name in ("MOST_CLUSTERS", "SMALLEST_CLUSTER", "SILHOUETTE"):
        assert getattr(protocol, name) == getattr(excess, name)


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_planted_worlds(world):
    found = experiment.judge(experiment.run(worlds.CONFIG, world.lab(7)).estimates)
    for key, truth in world.truth.items():
        assert (found[key] == "supported") == truth
    if not world.truth["04a"]:
        assert found["04a"] == "rejected"


def test_orders_are_those_of_scipy_within_each_base_and_class():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    kl, lengths = rng.random((1, 2, 3, 2, 5)), rng.random((1, 3, 3, 2, 5))
    found = segment_spearman(kl, lengths, np.array([[True]]))
    plain = [
        [spearmanr(kl[0, 1, b, c], lengths[0, m, b, c])[0] for b in range(3) for c in range(2)]
        for m in range(3)
    ]
    assert np.allclose(found, np.mean(plain, axis=1))
    gap = np.repeat([[0.0], [10.0]], 30, axis=1) + rng.standard_normal((2, 30))
    same = np.broadcast_to(np.array([0.0, 1.0])[:, None, None, None], (2, 1, 3, 30))
    assert np.allclose(projection_spearman(gap, same), 0)


def test_a_quadratic_kl_has_converged_and_a_constant_one_has_not():
    steps = (0.1, 0.2, 0.4)
    kl = np.square(steps)[None, :, None, None, None] * np.ones((2, 3, 4, 2, 5))
    assert np.allclose(change_on_halving(kl, steps), 0)
    assert np.allclose(change_on_halving(np.ones_like(kl), steps), 3)


def test_flat_control_keeps_the_mean_and_covariance_of_every_cluster():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((90, 4)) + 20 * np.eye(4)[rng.integers(0, 3, 90)]
    labels = excess.separate_clusters(states)
    assert len(set(labels)) == 3
    control = excess.flat_control(states, labels, rng)
    for label in range(3):
        ours, other = states[labels == label], control[labels == label]
        assert np.allclose(ours.mean(0), other.mean(0)) and np.allclose(
            np.cov(ours.T), np.cov(other.T)
        )
    assert not excess.separate_clusters(rng.standard_normal((90, 4))).any()


def test_moving_towards_a_target_is_linear_and_keeps_the_dtype():
    state, target = torch.randn(2, 3, 8).bfloat16(), torch.ones(8)
    assert torch.equal(MoveTowards(target, 0.0)(state), state)
    assert torch.equal(MoveTowards(target, 1.0)(state), torch.ones_like(state))
    assert MoveTowards(target, 0.5)(state).dtype == state.dtype


def test_a_whole_segment_at_the_last_site_ends_at_the_target(bench):
    """At `post` of the last layer the moved state is the target's, so all bases agree with it."""
    lab = bench.lab(0)
    bases, targets = lab.contrast.positive[:3], lab.contrast.negative[:2]
    last, outputs = Site(lab.model.n_layers - 1, "post"), outputs_of(lab)
    assert isinstance(outputs, Outputs)
    kl = outputs.moved_kl(last, bases, targets, (0.01, 0.02, 1.0))
    assert kl.shape == (3, 3, 2) and np.allclose(kl[1] / kl[0], 4, rtol=0.1)
    same = replace(outputs, lab=bench.lab(1)).moved_kl(last, bases, bases[:1], (1.0,))
    assert same[0, 0, 0] == pytest.approx(0, abs=1e-6) and same[0, 1, 0] > 0


def test_sites_cover_every_third_without_the_first(bench):
    thirds = experiment.part("measure").thirds_of(bench.lab(0), None)
    assert {third for third, _ in thirds} == set(protocol.THIRDS)
    assert Site(0, "pre") not in {site for _, site in thirds}


def test_smoke_run(bench):
    result = experiment.run(experiment.preset("smoke"), bench.lab(0))
    assert set(experiment.judge(result.estimates)) == {"04a", "04b", "04c"}
    figures = experiment.plot(result)
    assert set(figures) == {"excess", "metrics"} <= set(result.tables)
    assert all(isinstance(table, pd.DataFrame) for table in result.tables.values())
    assert str(result["output.lead.causal"]) in result.observation
