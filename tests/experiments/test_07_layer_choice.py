"""Experiment 07 on planted models: supported where statistics point at what works, else not."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.behaviours import Behaviour
from interp.scores import REFUSAL_OPENINGS
from interp.stats import Interval
from tests.planted_worlds import supported_in

EXPERIMENT = find_experiment("07")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure, picks = (EXPERIMENT.part(name) for name in ("estimates", "measure", "picks"))
tables = EXPERIMENT.part("tables")
KEYS = ("07a", "07b", "07c", "07d")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    assert supported_in(EXPERIMENT, world, 0) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> list[Estimate]:
    """All supported, with the intervals that the test changes; dots are written as __."""
    found = {}
    for claim in protocol.CLAIMS:
        for name in claim.estimates:
            found[name] = (0.85, 1.0) if name.endswith("share") else (0.1, 0.2)
    found |= {name.replace("__", "."): values for name, values in limits.items()}
    return [Estimate(name, sum(x) / 2, *x, n=4) for name, x in found.items()]


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"steered__raw__share": (0.7, 0.9)}, {"07a": "inconclusive"}),
        ({"steered__raw__share": (0.1, 0.3)}, {"07a": "inconclusive"}),  # the other readings differ
        ({"steered__raw__strict__share": (0.1, 0.3)}, {"07a": "inconclusive"}),
        ({"steered__over_norm__over_random": (-0.1, 0.1)}, {"07b": "inconclusive"}),
        ({"steered__over_norm__over_depth": (-0.2, -0.1)}, {"07b": "inconclusive"}),
        ({"steered__cosine__share": (0.1, 0.3)}, {"07c": "rejected"}),
        ({"classified__over_norm__over_depth": (0.0, 0.1)}, {"07d": "inconclusive"}),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits))) == expected


def test_two_behaviours_are_too_few() -> None:
    found = [dataclasses.replace(one, n=2) for one in named()]
    assert dict(EXPERIMENT.judge(found)) == dict.fromkeys(KEYS, "untestable")


CONSTANTS = (
    "WEIGHTS TIE SHARE BREAKING DEPTHS MIN_SHARE MIN_GAIN MIN_EFFECT MIN_ABOVE CLASS_PROMPTS "
)
CONSTANTS += "MIN_BEHAVIOURS MAX_KL"


@pytest.mark.parametrize("name", CONSTANTS.split())
def test_criteria_state_every_constant(name) -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, name)) in criteria
    sizes = [protocol.PRESETS[preset].n_nulls for preset in ("quick", "full")]
    assert "({} of each of three families in quick, {} in full)".format(*sizes) in criteria


# ----------------------------------------------------------------------------------------- numbers

EVERY = np.ones(4, bool)


@pytest.mark.parametrize(
    ("mean", "largest", "cosine", "ranks", "ties", "halves"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1], 0, 0, 0),
        ([1.0, 1.05, 3, 4], [1, 1.05, 3, 4], [0.9, 0.8, 0.1, 0.1], 0, 1, 0),
        ([2, 1, 4, 3], [1, 3, 2, 4], [1, 2, 3, 4], 0, 1, 0),
    ],
)
def test_readings_of_the_order(mean, largest, cosine, ranks, ties, halves) -> None:
    three = tuple(np.array(values, float) for values in (mean, largest, cosine))
    assert picks.by_ranks(three, EVERY) == ranks
    assert picks.by_ties(three, EVERY) == ties
    assert picks.by_halves(three, EVERY) == halves
    assert picks.by_ranks(three, ~np.eye(4, dtype=bool)[ranks]) != ranks


def test_the_best_site_is_measured_on_the_other_half() -> None:
    halves = np.array([[5.0, 1.0, 0.0]]), np.array([[2.0, 3.0, 9.0]])
    counted = np.array([True, True, False])
    assert estimates.best_of(*halves, counted) == pytest.approx((2.0 + 1.0) / 2)


def made_up(effect: np.ndarray):
    """Three sites, of which the effect is given; the statistics pick the first, or the last."""
    rising = np.array([[1.0, 2.0, 3.0]])
    statistics = {"mean_variance": rising, "max_variance": rising, "cosine": -rising}
    statistics["squared_norm"] = rising**2
    effects = {"removed": np.repeat(effect[None, :, None], 4, axis=2)}
    sites = [measure.Site(layer, "pre") for layer in (1, 2, 3)]
    valid = Interval(1.0, 1.0, 1.0, 8)
    return measure.Layers("x", 5, sites, np.zeros((2, 3)), statistics, effects,
                          {"removed": np.zeros(2)}, valid, {})  # fmt: skip


def test_random_directions_stand_at_the_best_site_that_counts() -> None:
    found = made_up(np.array([1.0, 2.0, 4.0]))
    assert found.best == {"removed": 2}
    damaging = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert dataclasses.replace(found, kl=damaging).best == {"removed": 1}
    assert dataclasses.replace(found, kl=np.ones((2, 3))).best == {}


def test_shares_of_picks_against_arithmetic() -> None:
    (judged,) = estimates.steered(made_up(np.array([1.0, 2.0, 4.0])))
    found = estimates.shares(judged, 10, np.random.default_rng(0))
    shares = {name: values[0] for name, values in found.items()}
    assert shares["raw"] == 0.25  # rank sums 3 + 2 + 3, 6 + 4 + 2, 9 + 6 + 1
    assert shares["over_norm"] == shares["cosine"] == shares["depth.1"] == 1.0
    assert shares["random"] == pytest.approx(7 / 12)
    assert shares["depth.0.6"] == 1.0
    assert all(np.ptp(values) < 1e-12 for values in found.values())
    assert estimates.coincidence([[judged]], "cosine") == pytest.approx(1 / 3)


def test_a_behaviour_that_hardly_moves_does_not_count() -> None:
    assert not estimates.steered(made_up(np.array([0.1, 0.2, 0.4])))
    noisy = dataclasses.replace(made_up(np.ones(3)), random={"removed": np.array([2.0])})
    assert not estimates.steered(noisy)


def test_statistics_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    both = [
        torch.tensor(rng.standard_normal((9, 6)) + side, dtype=torch.float32) for side in (1, 2)
    ]
    found = measure.statistics_at(measure.Source(None, *both))
    variances = np.array([part.numpy().var(axis=0, ddof=1) for part in both])
    assert found["mean_variance"] == pytest.approx(variances.mean())
    assert found["max_variance"] == pytest.approx(variances.max(axis=1).mean())
    first, second = (part.numpy().mean(axis=0) for part in both)
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    assert found["cosine"] == pytest.approx(first @ second / lengths, rel=1e-5)


def test_partial_correlation_is_nothing_where_depth_explains_all() -> None:
    depth = np.arange(6.0)
    assert tables.partial(depth**2, np.exp(depth), depth) == 0.0
    other = np.array([1.0, 0.0, 3.0, 2.0, 5.0, 4.0])
    assert tables.partial(other, other, depth) == pytest.approx(1.0)


# ------------------------------------------------------------------------------------- a whole run


class OneBehaviour(Lab):
    """A lab whose every behaviour is refusal of its own prompts."""

    def behaviour(self, name: str) -> Behaviour:
        return Behaviour(name, self._contrast, REFUSAL_OPENINGS)


def test_a_run_on_random_weights_draws_every_figure(lab: Lab, tmp_path) -> None:
    lab.__class__ = OneBehaviour
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates)) == set(KEYS)
    for name, table in result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in result.tables}
    bare = dataclasses.replace(result, tables=read, estimates=(), observation="")
    assert {"shares", "layers"} <= set(EXPERIMENT.plot(bare))
    assert set(result.tables["prompts"]["prompt"].str.len()) == {10}  # no prompt is quoted
