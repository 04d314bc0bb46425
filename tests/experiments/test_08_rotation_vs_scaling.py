"""Experiment 08 on planted models: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.worlds import World
from interp import turns
from interp.data.prompt_sets import contrast
from interp.planes import ScaleState
from tests.made_up_texts import numbered
from tests.planted_worlds import estimates_within, supported_in

EXPERIMENT = find_experiment("08")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates = EXPERIMENT.part("estimates")
KEYS = ("08a", "08b", "08c", "08d", "08e")
DIRECTION = dict.fromkeys(KEYS[1:], "untestable")


@pytest.fixture(scope="module")
def line():
    return EXPERIMENT.run(worlds.CONFIG, worlds.WORLDS[0].lab(1))


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world: World) -> None:
    assert supported_in(EXPERIMENT, world, 1) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {
        "selection.p": (0.001, 0.001),
        "adding.difference": (0.01, 0.03),
        "adding.range": (5, 6),
        "reach.share": (0.45, 0.55),
        "reach.range": (5, 6),
        "plane.r2": (0.9, 0.95),
        "plane.amplitude": (2, 3),
        "gap": (3, 4),
        "length.ratio.gap": (0.05, 0.1),
        "competition.kept": (0.4, 0.6),
        "competition.cost": (0.3, 0.5),
    }
    for turn in protocol.TURNS:
        found |= {f"length.ratio.{turn}": (0.05, 0.1), f"length.turned.{turn}": (3, 4)}
    found |= {f"plane.margin.{name}": (0.5, 1) for name in protocol.PLANES}
    made = estimates_within(found, limits, n=100)
    made["train.refused"] = Estimate("train.refused", 60, n=96, p=0.0001)
    made["train.accepted"] = Estimate("train.accepted", 90, n=96)
    return made


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"length__ratio__isotropic": (0.2, 0.3)}, {"08a": "inconclusive"}),
        ({"length__ratio__covariance_matched": (0.26, 0.3)}, {"08a": "rejected"}),
        ({"length__turned__isotropic": (0.2, 3)}, {"08a": "untestable"}),
        ({"adding__difference": (0.09, 0.11)}, {"08b": "inconclusive"}),
        ({"adding__difference": (0.11, 0.12)}, {"08b": "rejected"}),
        ({"adding__range": (0.9, 2)}, {"08b": "untestable"}),
        ({"reach__share": (0.3, 0.6)}, {"08c": "inconclusive"}),
        ({"reach__share": (0.2, 0.3)}, {"08c": "rejected"}),
        ({"reach__share": (0.9, 1)}, {"08c": "rejected"}),
        ({"reach__range": (0.9, 2)}, {"08c": "untestable"}),
        ({"plane__r2": (0.8, 0.9)}, {"08d": "inconclusive"}),
        ({"plane__r2": (0.7, 0.8)}, {"08d": "rejected"}),
        ({"plane__amplitude": (0.1, 0.4)}, {"08d": "rejected"}),
        ({"plane__margin__random_b2": (-0.4, -0.1)}, {"08d": "inconclusive"}),
        ({"length__ratio__gap": (0.3, 0.4)}, {"08a": "rejected"}),
        ({"gap": (0.9, 2)}, dict.fromkeys(("08a", "08b", "08e"), "untestable")),
        ({"competition__kept": (0.1, 0.4)}, {"08e": "inconclusive"}),
        ({"competition__kept": (-0.1, 0.2)}, {"08e": "rejected"}),
        ({"competition__cost": (0.01, 0.4)}, {"08e": "untestable"}),
        ({"competition__cost": (0.81, 0.9)}, {"08e": "untestable"}),
        ({"selection__p": (0.05, 0.05)}, DIRECTION),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits).values())) == expected


def test_without_the_behaviour_nothing_can_be_tested() -> None:
    found = named() | {"train.refused": Estimate("train.refused", 3, n=96, p=0.0001)}
    assert set(protocol.verdicts(found).values()) == {"untestable"}


CONSTANTS = "FACTORS DEPTHS MAX_SHARE MIN_TURNED DOSES MAX_DIFFERENCE HALF MIN_R2 MIN_AMPLITUDE "
CONSTANTS += "LEAD MIN_KEPT SIGNIFICANCE MAX_SITE QUARTERS COMPETITOR"


@pytest.mark.parametrize("name", CONSTANTS.split())
def test_criteria_state_every_constant(name) -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, name)) in criteria
    assert f"above {protocol.MIN_RANGE:g} nat" in criteria
    assert f"at most {protocol.MAX_TEXT_KL:g} nat" in criteria
    assert f"multiplied by {protocol.LONGER:g} at" in criteria
    assert f"not above {protocol.COST[0]} or above {protocol.COST[1]}" in criteria
    assert f"longer than {protocol.SINK:g} median lengths" in criteria
    quick, full = (protocol.PRESETS[preset] for preset in ("quick", "full"))
    assert f"({quick.n_turns} draw each in quick, {full.n_turns} in full)" in criteria
    assert f"({quick.n_planes} each in quick, {full.n_planes} in full" in criteria
    assert f"({quick.n_others} in quick, {full.n_others} in full" in criteria


# ----------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("n", [8, 12, 36])
def test_no_number_depends_on_how_many_angles_there_are(n: int) -> None:
    t = np.radians(turns.even_degrees(n))
    curve = 1 + 3 * np.cos(t - 0.5) + np.sin(2 * t)
    odds = np.broadcast_to(curve, (4, 2, n))
    half, full = estimates.ranges(odds, np.ones(360, dtype=bool))
    fine = np.radians(np.arange(360))
    exact = 1 + 3 * np.cos(fine - 0.5) + np.sin(2 * fine)
    assert full == pytest.approx(np.ptp(exact))
    assert half == pytest.approx(np.ptp(exact[:181]))
    assert estimates.amplitude(odds) == pytest.approx(3)
    assert turns.harmonic_share(curve) == pytest.approx(0.9)
    assert estimates.ranges(odds, np.zeros(360, dtype=bool)) == (0, 0)


def test_random_planes_are_compared_at_their_own_angles() -> None:
    """At four angles a third harmonic cannot be told from the first."""
    t = np.radians(turns.even_degrees(8))
    odds = np.broadcast_to(np.cos(t) + np.cos(3 * t), (4, 2, 8))
    assert estimates.amplitude(odds) == pytest.approx(1)
    assert estimates.lead(odds, odds[None, ..., ::2]) == pytest.approx(2 * (1 - protocol.LEAD))


def test_the_kl_is_interpolated_as_a_square() -> None:
    kl = np.array([4.0, 1.0, 0.0, 1.0, 4.0, 9.0, 9.0, 9.0])
    assert np.flatnonzero(turns.degrees_within(kl, 1.0)).tolist() == list(range(45, 136))
    assert np.flatnonzero(turns.degrees_within(kl, 0.25)).tolist() == list(range(68, 113))


def test_attention_sinks_are_spared() -> None:
    states = torch.tensor([[3.0, 4.0], [30.0, 40.0]])
    spared = turns.Sparing(ScaleState(2.0), 25.0)
    assert spared(states).tolist() == [[6.0, 8.0], [30.0, 40.0]]


def test_a_longer_state_without_a_gap_keeps_nothing() -> None:
    def odds(of: tuple[float, float]) -> np.ndarray:
        """One pair; class and length last."""
        return np.array([[of, (0.0, 0.0)]])

    assert estimates.competition(odds((4, 4)), odds((2, 3))[None]) == (0.5, 0.5)
    assert estimates.competition(odds((4, 0)), odds((2, 0))[None])[0] == -1.0
    assert estimates.competition(odds((4, 8)), odds((2, 6))[None])[0] == 0.0


def test_on_a_line_nothing_depends_on_length_and_others_dilute(line) -> None:
    """A feature half as long as the state makes it sqrt(1.25) as long, one of a quarter less."""
    assert line["length.rescaled"].value < 1e-4
    assert line["adding.difference"].value < 1e-4
    assert line["reach.share"].value == pytest.approx(1, abs=1e-3)
    cost, longer = 1 - 1.25**-0.5, 1 - (1 + 1 / 16) ** -0.5
    assert line["competition.cost"].value == pytest.approx(cost, abs=0.01)
    assert line["competition.kept"].value == pytest.approx(1 - longer / cost, abs=0.02)


def test_headline_numbers_come_from_the_prompts_table(line) -> None:
    table = line.tables["prompts"]
    columns = ["part", "family", "draw", "dose", "site", "set", "prompt", "value"]
    assert list(table) == columns
    assert set(table.prompt.str.len()) == {10}  # no prompt is quoted
    odds = table[table.part == "adding"].pivot_table(
        index=["draw", "dose", "set", "prompt"], columns="family", values="value"
    )
    apart = (odds.plain - odds.kept).abs().loc[0].mean()
    doses = odds.loc[0].mean(axis=1).groupby("dose").mean()
    base = table[(table.part == "base") & (table.family == "all")].value.mean()
    least = min(np.ptp([base, *doses]), line["gap"].value)
    assert line["adding.difference"].value == pytest.approx(apart / least, abs=1e-9)


# ------------------------------------------------------------------------------------- a whole run


def test_a_run_on_random_weights_finds_nothing_and_draws_every_figure(
    lab: Lab, tmp_path, monkeypatch
) -> None:
    others = contrast("others", numbered("Glad", 12), numbered("Sad", 12), "none")
    monkeypatch.setattr("experiments.lab.lab.load_set", lambda name: others)
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    assert result.observation.startswith("Behaviour absent")
    assert result["length.last_site"].value < 1e-3  # a norm discards the length
    for name, table in result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in result.tables}
    bare = dataclasses.replace(result, tables=read, estimates=(), observation="")
    shown = {"own_plane", "fixed_plane", "adding", "length", "competition"}
    assert set(EXPERIMENT.plot(bare)) == shown
