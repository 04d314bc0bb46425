"""Experiment 03 on planted states, and its verdicts from estimates alone."""

import dataclasses

import numpy as np
import pytest

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.pairs import pairs_of
from interp.errors import DataError
from tests.planted_worlds import supported_in

experiment = find_experiment("03")
protocol, worlds = experiment.protocol, experiment.part("worlds")
EXPANDS = worlds.WORLDS[0]


@pytest.fixture(scope="module")
def planted():
    return experiment.run(worlds.CONFIG, EXPANDS.lab(0))


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_planted_worlds_are_told_apart(world) -> None:
    assert supported_in(experiment, world, 0) == dict(world.truth)


def made(**changes):
    """Estimates with which everything is supported, and some others."""
    margins = {**protocol.LAGS, **protocol.FALLS, **protocol.CLOSINGS}
    margins |= {**protocol.GROWTHS, **protocol.CAUSES}
    found = {name: Estimate(name, 1.0, 0.9, 1.1, p=0.01) for name in margins}
    for name, (low, high) in changes.items():
        found[name] = Estimate(name, low, low, high, p=0.01)
    return found


@pytest.mark.parametrize(
    ("name", "limits", "expected"),
    [
        ("twins.linear.fall", (0.06, 0.2), "sss"),
        ("twins.linear.fall", (0.04, 0.2), "iss"),
        ("twins.linear.fall.over_untrained", (-0.1, 0.04), "rss"),
        ("twins.lag.closing", (-0.1, 0.04), "rss"),
        ("contrast.lag.at_first", (-0.1, 0.04), "uss"),
        ("contrast.lag.at_first", (-0.1, 0.06), "iss"),
        ("contrast.distance.growth", (0.0, 0.09), "srr"),
        ("contrast.distance.growth.over_untrained", (0.0, 0.2), "sis"),
        ("twins.cosine.fall", (0.0, 0.04), "ssr"),
        ("twins.turning.over_lengths", (-0.2, -0.1), "ssr"),
        ("twins.moving.over_shrinking", (-0.2, 0.1), "ssi"),
    ],
)
def test_verdicts_follow_the_criteria(name, limits, expected) -> None:
    found = protocol.verdicts(made(**{name: limits}))
    assert "".join(verdict[0] for verdict in found.values()) == expected


def test_what_was_never_tangled_cannot_fail_to_be_untangled() -> None:
    short = made(**{"twins.linear.fall": (0.0, 0.01), "twins.lag.at_first": (0.0, 0.01)})
    assert protocol.verdicts(short)["03a"] == "untestable"


def test_a_fall_that_chance_explains_is_not_support() -> None:
    found = made()
    found["twins.linear.fall"] = dataclasses.replace(found["twins.linear.fall"], p=0.2)
    assert protocol.verdicts(found)["03a"] == "inconclusive"


@pytest.mark.parametrize(
    ("key", "constants"),
    [
        ("03a", ("LEAST_ERROR", "N_SHOTS", "SIGNIFICANCE")),
        ("03b", ("LEAST_GROWTH",)),
        ("03c", ("LEAST_FALL", "LEAST_GROWTH")),
    ],
)
def test_criteria_state_every_constant(key, constants) -> None:
    (claim,) = (claim for claim in protocol.CLAIMS if claim.key == key)
    assert all(str(getattr(protocol, name)) in claim.criterion for name in constants)


def test_turning_and_lengths_add_up_to_the_planted_distances(planted) -> None:
    lab = EXPANDS.lab(0)
    site = experiment.part("measure").all_sites(worlds.N_LAYERS)[-1]
    squares = []
    for prompts in (lab.data("twins").positive, lab.data("twins").negative):
        states = lab.activations(prompts, [site])[:, 0, 0].double().numpy()
        between = ((states[:, None] - states) ** 2).sum(-1)[np.triu_indices(len(states), 1)]
        squares.append(between.mean() / (states**2).sum(-1).mean())
    table = planted.tables["decomposition"].query(f"panel == 'twins' and site == '{site}'")
    assert table.query("group.str.endswith('.trained')")["value"].sum() == pytest.approx(
        np.mean(squares)
    )


def test_twins_stay_together_and_prompts_end_alike() -> None:
    lab = EXPANDS.lab(0)
    for one, other in zip(*pairs_of(lab, "twins", 20, 20), strict=True):
        assert one.split()[-1] == other.split()[-1]
    positive, negative = pairs_of(lab, "contrast", None, 20)
    assert sorted(positive) == sorted(lab.contrast.positive)
    assert [one.split()[-1] for one in positive] != [one.split()[-1] for one in negative]


def test_too_few_prompts_are_refused_in_words() -> None:
    lab = EXPANDS.lab(0)
    lab._sets["twins"] = dataclasses.replace(
        lab.data("twins"), positive=lab.data("twins").positive[:19]
    )
    with pytest.raises(DataError, match="twins has 19"):
        experiment.run(worlds.CONFIG, lab)


def test_figures_come_from_the_saved_tables_alone(planted) -> None:
    bare = dataclasses.replace(planted, estimates=(), observation="")
    assert set(experiment.plot(bare)) == set(planted.tables)


def test_smoke_on_a_tiny_model(lab, monkeypatch) -> None:
    monkeypatch.setattr(lab, "data", lambda name: lab.contrast)
    found = experiment.run(experiment.preset("smoke"), lab)
    assert all(np.isfinite(estimate.value) for estimate in found.estimates)
    assert set(experiment.judge(found.estimates)) == {"03a", "03b", "03c"}
    assert len(experiment.plot(found)) == 4
