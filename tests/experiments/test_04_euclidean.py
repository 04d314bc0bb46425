"""Experiment 04: its verdicts, its planted worlds, and a smoke run on a tiny random model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.outputs import MoveTowards, Outputs, outputs_of, states_at
from interp.curvature import excess, inner_products
from interp.curvature.orders import change_on_halving, projection_spearman, segment_spearman
from interp.interventions import Placement
from interp.predict import readout
from interp.scores import kl_divergence
from interp.sites import Site
from interp.stats import spearman
from tests.planted_worlds import supported_in

experiment = find_experiment("04")
protocol, worlds = experiment.protocol, experiment.part("worlds")


def estimates(
    curvature: tuple[float, float] = (0.0, 0.02),
    bent: tuple[float, float] = (-0.01, 0.01),
    p: float = 0.01,
    power: float = 1.0,
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

    found = [one("output.converged", (converged, converged)), one("curvature", curvature)]
    found.append(Estimate("behaviour.refused", refused))
    found.append(Estimate("behaviour.accepted", 40 - refused))
    found += [Estimate("power.sphere", 1.0), Estimate("power.hyperbolic", power)]
    for i, place in enumerate(protocol.PLACES):
        found.append(one(f"excess.{place}", bent if i == 3 else (-0.01, 0.01)))
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
        ({"curvature": (0.01, 0.04)}, "inconclusive supported supported"),
        ({"curvature": (0.04, 0.05), "power": 0.5}, "rejected supported supported"),
        ({"bent": (-0.05, -0.04)}, "rejected supported supported"),
        ({"bent": (0.04, 0.05), "p": 0.06}, "supported supported supported"),
        ({"lead": (0.11, 0.4)}, "supported rejected rejected"),
        ({"lead": (0.11, 0.2), "p": 0.06}, "supported inconclusive inconclusive"),
        ({"lead": (0.01, 0.09)}, "supported supported supported"),
        ({"lead": (0.01, 0.2)}, "supported inconclusive inconclusive"),
        ({"lead": (-0.1, 0.2)}, "supported untestable untestable"),
        ({"l2": (0.0, 0.2)}, "supported inconclusive inconclusive"),
        ({"l2": (0.0, 0.2), "rival": (0.0, 0.2)}, "supported untestable untestable"),
        ({"converged": 0.4}, "supported untestable supported"),
        ({"refused": 5}, "supported supported untestable"),
        ({"refused": 35}, "supported supported untestable"),
    ],
)
def test_verdicts(changes, expected):
    assert list(protocol.verdicts(estimates(**changes)).values()) == expected.split()


def test_criteria_state_every_constant_and_the_library_has_the_same():
    stated = (
        ("12", "5 leading", "8 of 10 states", "0.5", "0.03", "80%", "0.67", "0.25", "30 halves"),
        ("0.1", "0.2", "n / 5", "50%", "25%"),
        ("0.1", "n / 5", "6"),
    )
    for claim, constants in zip(protocol.CLAIMS, stated, strict=True):
        assert all(constant in claim.criterion for constant in constants)
    assert tuple(protocol.RADII) == excess.SHAPES
    assert ("l2", *protocol.RIVALS) == inner_products.INNER_PRODUCTS
    assert inner_products.STATES_PER_COMPONENT == 5
    found = excess.MOST_CLUSTERS, excess.SMALLEST_CLUSTER, excess.SILHOUETTE
    assert found == (8, 10, 0.5)


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_planted_worlds(world):
    assert supported_in(experiment, world, 7) == dict(world.truth)


def test_the_curvature_is_the_mean_absolute_excess_and_its_error_adds_halves_up():
    module, rng = experiment.part("estimates"), np.random.default_rng(0)
    common = rng.standard_normal(4000) / 100
    samples = []
    for place, data in zip(protocol.PLACES, (0.05, -0.05) * 3, strict=True):
        found = {"data": [data], "rotated": [0.01] * 3, "permuted": [-0.01] * 3}
        found |= {
            "halves": (np.sign(data) * common).tolist(),
            "sphere": [0.1],
            "hyperbolic": [-0.1],
        }
        samples.append(experiment.part("measure").Sample(place, Site(0, "mid"), 50, found))
    named = {one.name: one for one in module.curvature_estimates(samples)}
    assert named["curvature"].value == pytest.approx(0.04)
    assert named["excess.first.harmless"].value == pytest.approx(-0.04)
    error = 0.01 / np.sqrt(2)  # three dependent places of two independent classes
    assert named["curvature"].low == pytest.approx(0.04 - 1.96 * error, abs=5e-4)
    assert named["power.sphere"].value == pytest.approx(1)
    nothing = {one.name: one for one in module.curvature_estimates(samples[:-1])}
    assert set(nothing) >= set(protocol.CLAIMS[0].estimates)
    assert protocol.flatness(nothing) == "untestable"


def test_the_tables_give_the_headline_numbers():
    result = experiment.run(worlds.CONFIG, worlds.WORLDS[0].lab(1))
    segments, scores = result.tables["segments"], result.tables["scores"]
    groups = [rows for _, rows in segments.groupby(["site", "base", "class"])]
    found = [spearman(*rows[["kl at 0.2", "l2"]].to_numpy().T) for rows in groups]
    assert np.mean(found) == pytest.approx(result["output.spearman.l2"].value)
    columns = [name for name in scores if name.startswith("whitened")]
    found = [spearman(*scores[["odds", name]].to_numpy().T) for name in columns]
    assert np.mean(found) == pytest.approx(result["behaviour.spearman.whitened"].value)
    bent = np.abs(result.tables["excess"]["value"].to_numpy())
    assert np.mean(bent) == pytest.approx(result["curvature"].value)


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
    scores, projections = rng.random(9), rng.random((2, 3, 9))
    plain = [[spearmanr(scores, projections[s, m])[0] for s in range(2)] for m in range(3)]
    assert np.allclose(projection_spearman(scores, projections), np.mean(plain, axis=1))


def test_a_quadratic_kl_has_converged_and_a_constant_one_has_not():
    steps = (0.1, 0.2, 0.4)
    kl = np.square(steps)[None, :, None, None, None] * np.ones((2, 3, 4, 2, 5))
    assert np.allclose(change_on_halving(kl, steps), 0)
    assert np.allclose(change_on_halving(np.ones_like(kl), steps), 3)


def test_moving_towards_a_target_is_linear_and_keeps_the_dtype():
    state, targets = torch.randn(3, 1, 8).bfloat16(), torch.ones(3, 8)
    moved = MoveTowards(targets, torch.tensor([0.0, 1.0, 0.5]))(state)
    assert moved.dtype == state.dtype and moved.shape == state.shape
    assert torch.equal(moved[0], state[0]) and torch.equal(moved[1, 0], targets[1].bfloat16())
    assert torch.allclose(moved[2].float(), (state[2].float() + 1) / 2, atol=0.02)


def test_kl_on_the_way_is_that_of_every_prompt_and_target_on_its_own(bench):
    lab = bench.lab(0)
    bases, targets, site = lab.contrast.positive[:3], lab.contrast.negative[:2], Site(1, "pre")
    goals = states_at(lab, targets, site)
    found = outputs_of(lab).moved_kl(site, goals.numpy(), bases, (0.1, 0.2))
    for i, goal in enumerate(goals):
        edit = MoveTowards(goal.expand(len(bases), -1), torch.full((len(bases),), 0.2))
        moved = readout(lab.model, lab.tokens(bases), [Placement(edit, (site,), (-1,))])
        plain = kl_divergence(readout(lab.model, lab.tokens(bases)).log_probs, moved.log_probs)
        assert found[1, :, i] == pytest.approx(plain.numpy(), rel=1e-3)


def test_kl_on_the_way_is_the_same_under_hooks_that_take_the_rows_apart(bench):
    lab = bench.lab(0)
    bases, site = lab.contrast.positive[:2], Site(1, "pre")
    goals = states_at(lab, lab.contrast.negative[:2], site).numpy()
    packed = outputs_of(lab).moved_kl(site, goals, bases, (0.1, 0.2))
    with lab.model.bridge.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", lambda h, hook: h)]):
        apart = outputs_of(bench.lab(1)).moved_kl(site, goals, bases, (0.1, 0.2))
    assert apart == pytest.approx(packed, rel=1e-3)


def test_a_whole_segment_at_the_last_site_ends_at_the_target(bench):
    """At `post` of the last layer the moved state is the target's, so all bases agree with it."""
    lab = bench.lab(0)
    bases, targets = lab.contrast.positive[:3], lab.contrast.negative[:2]
    last, outputs = Site(lab.model.n_layers - 1, "post"), outputs_of(lab)
    assert isinstance(outputs, Outputs)
    goals = [states_at(lab, texts, last).numpy() for texts in (targets, bases[:1])]
    kl = outputs.moved_kl(last, goals[0], bases, (0.01, 0.02, 1.0))
    assert kl.shape == (3, 3, 2) and np.allclose(kl[1] / kl[0], 4, rtol=0.1)
    same = replace(outputs, lab=bench.lab(1)).moved_kl(last, goals[1], bases, (1.0,))
    assert same[0, 0, 0] == pytest.approx(0, abs=1e-6) and same[0, 1, 0] > 0


def test_sites_lie_in_every_third(bench):
    sites = experiment.part("measure").sites_of(bench.lab(0))
    depth = [site.depth / bench.lab(0).model.n_layers for site in sites]
    assert 0 < depth[0] < depth[1] < depth[2] < 1


def test_smoke_run(bench):
    result = experiment.run(experiment.preset("smoke"), bench.lab(0))
    assert set(experiment.judge(result.estimates)) == {"04a", "04b", "04c"}
    figures = experiment.plot(result)
    assert set(figures) == {"excess", "metrics"} <= set(result.tables)
    assert all(isinstance(table, pd.DataFrame) for table in result.tables.values())
    assert str(result["output.lead.causal"]) in result.observation
