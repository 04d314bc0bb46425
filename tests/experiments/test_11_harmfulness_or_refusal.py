"""Experiment 11 on planted models: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.partial_directions import interpolated
from experiments.lab.partial_effects import Panel
from experiments.lab.worlds import World
from interp.data.prompt_sets import contrast
from tests.made_up_texts import numbered
from tests.planted_worlds import estimates_within, supported_in

EXPERIMENT = find_experiment("11")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure = EXPERIMENT.part("estimates"), EXPERIMENT.part("measure")
KEYS = ("11a", "11b")
NAN = float("nan")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world: World) -> None:
    assert supported_in(EXPERIMENT, world, 0) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {name: (0.3, 0.6) for claim in protocol.CLAIMS for name in claim.estimates}
    found |= {"refused": (20, 20), "reliability": (0.7, 0.9), "overlap": (0.4, 0.7)}
    found |= {"inversion.accuracy": (0.9, 0.9), "swapped.accuracy": (0.9, 0.9)}
    found |= {"inversion.gap": (3, 4), "odds.gap": (3, 4), "inversion.by_refusal": (-0.1, 0.1)}
    return estimates_within(found, limits, n=100)


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"dissociation": (0.05, 0.2)}, {"11a": "inconclusive"}),
        ({"dissociation": (0.0, 0.09)}, {"11a": "rejected"}),
        ({"reliability": (0.4, 0.7)}, {"11a": "untestable"}),
        ({"overlap": (0.8, 0.95)}, {"11a": "untestable"}),
        ({"refused": (5, 5)}, dict.fromkeys(KEYS, "untestable")),
        ({"inversion__by_refusal": (0.1, 0.3)}, {"11b": "inconclusive"}),
        ({"inversion__by_refusal": (0.26, 0.4)}, {"11b": "rejected"}),
        ({"inversion__by_refusal": (-0.4, -0.3)}, {"11b": "rejected"}),
        ({"inversion__selective": (0.1, 0.2)}, {"11b": "rejected"}),
        ({"odds__by_harm": (0.1, 0.2)}, {"11b": "rejected"}),
        ({"odds__by_refusal": (0.1, 0.5)}, {"11b": "inconclusive"}),
        ({"inversion__over__isotropic": (-1, 1)}, {"11b": "inconclusive"}),
        ({"inversion__accuracy": (0.7, 0.7)}, {"11b": "untestable"}),
        ({"swapped__accuracy": (NAN, NAN)}, {"11b": "untestable"}),
        ({"odds__gap": (0.5, 3)}, {"11b": "untestable"}),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits).values())) == expected


CONSTANTS = "DEPTHS MARGIN MIN_RELIABILITY MAX_OVERLAP MIN_PAIRS STEERED WANTED COEFFICIENTS MOVED "


@pytest.mark.parametrize("name", (CONSTANTS + "MIN_ACCURACY").split())
def test_criteria_state_every_constant(name) -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, name)) in criteria
    assert f"above {protocol.MIN_GAP:g} nat" in criteria
    quick, full = (protocol.PRESETS[preset] for preset in ("quick", "full"))
    assert f"{quick.n_prompts} per class of each in quick, up to {full.n_prompts} in" in criteria
    assert f"of {quick.n_nulls} in quick, {full.n_nulls} in full" in criteria


# ----------------------------------------------------------------------------------------- numbers


@pytest.fixture(scope="module")
def panel():
    """States that hold the label at the first position, true refusal odds at the second."""
    rng = np.random.default_rng(0)
    n = 1500
    label = np.tile([1.0, 0.0], n // 2)
    odds = label + rng.standard_normal(n)
    noise = rng.standard_normal((n, 1, 2, 8))
    noise[:, 0, 0, 0] += 3 * label
    noise[:, 0, 1, 1] += 3 * odds
    read = odds + 0.8 * rng.standard_normal((2, n))  # as two wordings show it
    return Panel(torch.tensor(noise), label, read, np.arange(n) % 3, np.arange(n))


def test_projections_against_a_plain_reference(panel) -> None:
    (found,) = panel.projections(np.ones(1500))
    for source in range(3):
        here, others = panel.source == source, panel.source != source
        weights = np.zeros(1500)
        for other in {0, 1, 2} - {source}:
            part = panel.source == other
            for values in (panel.label, sum(one / one[part].std() for one in panel.scores)):
                weights[part] += (values[part] - values[part].mean()) / values[part].std()
        states = panel.states[:, 0].numpy()
        for position in (0, 1):
            along = states[here, position] @ (weights[others] @ states[others, position])
            expected = (along - along.mean()) / along.std()
            np.testing.assert_allclose(found[position, here], expected, atol=2e-2)


def test_noise_in_the_odds_is_not_taken_for_harmfulness(panel) -> None:
    (_, _), (harm, refusal) = panel.effects(np.ones(1500))
    assert abs(harm) < 0.1  # plain least squares on the noisy odds gives about .2
    assert refusal == pytest.approx(0.95, abs=0.07)
    reliability, overlap = panel.alike(np.ones(1500))
    assert reliability == pytest.approx(1.25 / (1.25 + 0.64), abs=0.05)
    assert overlap == pytest.approx(0.5 / 1.25**0.5, abs=0.08)


def test_the_dissociation_is_the_smaller_difference() -> None:
    assert estimates.dissociation(np.array([[0.8, 0.1], [0.3, 0.5]])) == pytest.approx(0.4)
    assert estimates.dissociation(np.array([[0.3, -0.2], [-0.4, 0.6]])) == pytest.approx(0.3)
    assert estimates.dissociation(np.array([[0.2, 0.5], [0.8, 0.1]])) == pytest.approx(-0.6)


def test_doses_are_interpolated_to_what_is_wanted() -> None:
    doses = (0.0, 0.5, 1.0, 2.0)
    assert interpolated(doses, [0.0, 1.0, 2.0], 1.5) == 0.75
    assert interpolated(doses, [0.0, 3.0], 1.5) == 0.25
    assert interpolated(doses, [0.0, 0.3, 0.5, 0.4], 1.5) == 1.0


def test_every_request_ends_alike() -> None:
    found = {measure.ended(text) for text in ("Do it", "Do it.", "Do it?!", "Do it ")}
    assert found == {"Do it."}


def test_the_headline_number_follows_from_the_table_of_prompts() -> None:
    result = EXPERIMENT.run(worlds.CONFIG, worlds.WORLDS[1].lab(2))
    table = result.tables["prompts"]
    names = ["harmful", "reworded_1", "reworded_2"]
    within = table[names].groupby(table.source)
    both = (table[names] - within.transform("mean")) / within.transform("std", ddof=0)
    label, one, two = (both[name] for name in names)
    odds, spread = (one + two) / 2, np.sqrt((one * two).mean())
    overlap = (label * odds).mean() / spread
    found = {}
    for position in ("instruction", "template"):
        state = table.filter(like=f"{position} at").mean(axis=1)
        right = [(state * label).mean(), (state * odds).mean() / spread]
        found[position] = np.linalg.solve([[1, overlap], [overlap, 1]], right)
    (harm_first, refusal_first), (harm_last, refusal_last) = found.values()
    least = min(harm_first - max(harm_last, 0), refusal_last - max(refusal_first, 0))
    assert result["dissociation"].value == pytest.approx(least)


# ------------------------------------------------------------------------------------- a whole run


def test_a_run_on_random_weights_finds_nothing_and_draws_its_figures(lab: Lab, tmp_path) -> None:
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    assert result.observation.startswith("Behaviour absent")
    assert set(result.tables["prompts"]["prompt"].str.len()) == {10}  # no prompt is quoted
    for name, table in result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in result.tables}
    bare = dataclasses.replace(result, tables=read, estimates=(), observation="")
    assert set(EXPERIMENT.plot(bare)) == {"effects", "inversion"}


@pytest.fixture
def lab(lab: Lab, monkeypatch) -> Lab:
    """With made-up twins in place of a download."""
    twins = contrast("twins", numbered("Take", 12), numbered("Give", 12), "none", paired=True)
    monkeypatch.setattr(Lab, "data", lambda self, name: twins)
    return lab
