"""Experiment 02 on hand-set transformers, its laws and subspaces against plain references."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.claims import VERDICTS
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.activations import capture
from interp.weights import orthogonalised
from tests.planted_worlds import supported_in

experiment = find_experiment("02")
protocol, worlds = experiment.protocol, experiment.part("worlds")
measure, laws = experiment.part("measure"), experiment.part("laws")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_planted_worlds_give_the_right_verdicts(world):
    assert supported_in(experiment, world, 0) == dict(world.truth)


def test_every_claim_has_one_true_world_and_two_false_ones():
    for claim in protocol.CLAIMS:
        truths = [world.truth[claim.key] for world in worlds.WORLDS if claim.key in world.truth]
        assert truths.count(True) >= 1
        assert truths.count(False) >= 2


def test_writes_have_the_planted_sizes():
    world = next(world for world in worlds.WORLDS if world.name == "private, exponential")
    states = measure.measure(worlds.CONFIG, world.lab(0)).states
    written = measure.spread(np.diff(states, axis=1)) * len(states) / (len(states) - 1)
    assert written == pytest.approx(np.array(worlds.FAST) ** 2, rel=0.3)


@pytest.mark.parametrize(
    ("law", "curve"),
    [
        ("exponential", lambda block: 3 * np.exp(0.2 * block)),
        ("linear", lambda block: 2 + 5 * block),
        ("quadratic", lambda block: 1 + 2 * block + 0.5 * block**2),
        ("power", lambda block: 2 * block**1.7),
    ],
)
def test_a_law_extrapolates_its_own_curve(law, curve):
    values = curve(np.arange(1, 25.0))
    assert laws.predicted(law, values) == pytest.approx(np.log(values), abs=1e-3)
    errors = laws.errors(values)
    nested = {"linear": ("linear", "quadratic", "power")}.get(law, (law,))
    assert min(errors, key=errors.get) in nested


def test_variance_of_even_weights_is_that_of_the_sample():
    states = np.random.default_rng(0).standard_normal((9, 4, 5))
    even = measure.variance(states, np.full((1, 9), 1 / 9))
    assert even[0] == pytest.approx(measure.spread(states))


def test_growths_of_even_and_odd_layers_add_up_to_the_whole():
    states = np.random.default_rng(0).standard_normal((20, 7, 16)).cumsum(1)
    basis = measure.growth_basis(states, measure.growth_signs(6, range(6)))
    change = np.cov(states[:, -1].T, bias=True) - np.cov(states[:, 0].T, bias=True)
    largest = np.sort(np.linalg.eigvalsh(change))[::-1][: protocol.RANK]
    share = measure.explained(states, measure.growth_signs(6, range(6)), basis)
    assert share == pytest.approx(largest.sum() / np.trace(change))
    odd, even = (measure.growth_signs(6, range(start, 6, 2)) for start in (1, 0))
    assert odd + even == pytest.approx(np.eye(7)[-1] - np.eye(7)[0])


def test_rotating_updates_keeps_their_lengths_and_the_start():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((6, 5, 16))
    turned = measure.rotated(states, rng)
    assert turned[:, 0] == pytest.approx(states[:, 0])
    lengths = [np.linalg.norm(np.diff(one, axis=1), axis=-1) for one in (states, turned)]
    assert lengths[0] == pytest.approx(lengths[1])


def test_ablation_at_every_state_is_the_model_without_the_subspace(lab: Lab):
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 3)))[0].T
    prompts = list(lab.contrast.positive[:4])
    found = measure.states_without(lab, prompts, basis)
    with orthogonalised(lab.model, torch.from_numpy(basis).float()) as model:
        where = (lab.position("last_instruction"),)
        wanted = capture(model, lab.tokens(prompts), sites=["0.pre", "3.post"], positions=where)
    assert found == pytest.approx(wanted[:, :, 0].numpy(), abs=1e-4)


GOOD = {name: (limit + 0.01, limit + 0.02) for name, limit in protocol.ABOVE.items()}
GOOD |= {name: (limit - 0.02, limit - 0.01) for name, limit in protocol.BELOW.items()}
GOOD |= {"growth.odd": (0.3, 0.4), "growth.total": (0.8, 0.9)}


def judged(**changes):
    limits = GOOD | {name.replace("__", "."): ends for name, ends in changes.items()}
    found = {name: Estimate(name, sum(e) / 2, *e, n=9, p=0.01) for name, e in limits.items()}
    return protocol.verdicts(found)


def test_verdicts_return_all_four_values():
    assert set(judged().values()) == {"supported"}
    for claim in protocol.CLAIMS:
        for name in set(claim.estimates) & {*protocol.ABOVE, *protocol.BELOW}:
            limit = (protocol.ABOVE | protocol.BELOW)[name]
            side = -1 if name in protocol.ABOVE else 1
            across = tuple(sorted((limit + side * 0.01, limit + side * 0.02)))
            assert judged(**{name: across})[claim.key] == "rejected"
            assert judged(**{name: (limit - 1, limit + 1)})[claim.key] == "inconclusive"
    untestable = judged(growth__odd=(0.0, 0.3), growth__total=(0.4, 0.6))
    assert [key for key, v in untestable.items() if v == "untestable"] == ["02d", "02f"]
    assert {"supported", "rejected", "inconclusive", "untestable"} == set(VERDICTS)


CONSTANTS = ("N_LARGEST", "N_TOKENS", "RANK", "N_PRIVATE", "LEAST_BETTER", "LARGEST_ERROR",
             "LEAST_RATE", "NEAR", "QUARTILES", "DECILES", "HALF", "TIMES_CHANCE",
             "LEAST_ODD_GROWTH", "SIGNIFICANCE")  # fmt: skip


@pytest.mark.parametrize("constant", CONSTANTS)
def test_criteria_state_every_constant(constant):
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, constant)) in criteria


def test_smoke_on_a_tiny_model_with_figures_from_the_saved_tables(lab: Lab, tmp_path):
    found = experiment.run(experiment.preset("smoke"), lab)
    assert set(experiment.judge(found.estimates)) == {claim.key for claim in protocol.CLAIMS}
    for name, table in found.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in found.tables}
    figures = experiment.plot(dataclasses.replace(found, tables=read, estimates=()))
    assert set(figures) == set(found.tables)
