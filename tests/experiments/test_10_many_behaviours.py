"""Experiment 10 on planted models: found where it is there, not where something else mimics it."""

import numpy as np
import pytest

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.behaviours import Behaviour
from interp.errors import PromptError
from tests.planted_worlds import estimates_within

EXPERIMENT = find_experiment("10")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, figures = EXPERIMENT.part("estimates"), EXPERIMENT.part("figures")
NAN = float("nan")
KEYS = ("10a", "10b", "10c")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    result = EXPERIMENT.run(worlds.CONFIG, world.lab(1))
    found = EXPERIMENT.judge(result.estimates)
    assert {key: found[key] == "supported" for key in world.truth} == dict(world.truth)
    if world is worlds.WORLDS[0]:
        assert set(figures.plot(result)) == {"behaviours", "cosines", "effects", "variants"}
        assert "truth (its score is at chance)" in result.observation
        table = result.tables["prompts"]
        means = table[table.draw == 0].groupby(["score", "direction"]).moved.mean()
        own = result["own.sentiment"].value
        assert means["sentiment", "sentiment"] == pytest.approx(own)
        leaks = result.tables["effects"].set_index(["row", "column"]).value
        expected = means["sentiment", "register"] / own
        assert leaks["register", "sentiment"] == pytest.approx(expected)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {
        "behaviours": (4, 4),
        "counts.refusal": (1, 1),
        "alike.largest": (0.2, 0.4),
        "alike.control": (0.6, 1.0),
        "leak.largest": (0.2, 0.4),
        "leak.control": (0.6, 1.0),
        "share": (0.7, 0.9),
        "spread": (0.3, 0.3),
    }
    return estimates_within(found, limits, n=12)


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"alike__largest": (0.5, 0.8)}, {"10a": "inconclusive"}),
        ({"alike__largest": (0.8, 0.9)}, {"10a": "rejected"}),
        ({"alike__control": (0.3, 0.6)}, {"10a": "inconclusive"}),
        ({"alike__control": (NAN, NAN)}, {"10a": "inconclusive"}),
        ({"leak__largest": (0.5, 0.8)}, {"10b": "inconclusive"}),
        ({"leak__largest": (0.8, 1.2)}, {"10b": "rejected"}),
        ({"leak__control": (0.3, 0.6)}, {"10b": "inconclusive"}),
        ({"behaviours": (2, 2)}, {"10a": "untestable", "10b": "untestable"}),
        ({"share": (0.3, 0.9)}, {"10c": "inconclusive"}),
        ({"share": (-0.2, 0.4)}, {"10c": "rejected"}),
        ({"spread": (0.05, 0.05)}, {"10c": "untestable"}),
        ({"counts__refusal": (0, 0)}, {"10c": "untestable"}),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits).values())) == expected


def test_few_directions_are_untestable() -> None:
    found = named() | {"spread": Estimate("spread", 0.3, n=protocol.MIN_VARIANTS - 1)}
    assert protocol.verdicts(found)["10c"] == "untestable"


CONSTANTS = "SIGNIFICANCE MIN_OWN SAME MIN_BEHAVIOURS FEW MIN_SHARE MIN_SPREAD MIN_VARIANTS VARIED"


@pytest.mark.parametrize("name", CONSTANTS.split())
def test_criteria_state_every_constant(name) -> None:
    assert str(getattr(protocol, name)) in " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert f"{protocol.TIMES:g} times" in protocol.CLAIMS[0].criterion


# ----------------------------------------------------------------------------------------- numbers


def test_a_line_explains_what_is_on_it() -> None:
    x, weights = np.array([0.0, 0.5, 1.0, 0.7]), np.full(4, 0.25)
    assert estimates.line_share(x, 3 * x - 1, weights) == pytest.approx(1)
    assert estimates.line_share(x, -x, weights) == pytest.approx(-1)
    assert estimates.line_share(x, np.ones(4), weights) == 0
    y = np.array([1.0, 0.0, 2.0, 1.0])
    assert estimates.line_share(x, y, weights) == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_noise_is_taken_off_cosines() -> None:
    """Two noisy directions of one behaviour have a cosine of 1, and a reliability below."""
    lab = worlds.world("noisy", codes=worlds.OWN[[0, 0, 0]], noise=0.45).lab(0)
    every = EXPERIMENT.part("measure").subjects(lab, worlds.CONFIG)[1:3]
    found = estimates.cosines(every, "common")[0]
    raw = every[0].source.direction.unit @ every[1].source.direction.unit
    between = raw.item() / np.sqrt(found[0, 0] * found[1, 1])
    assert found[0, 0] < 0.8
    assert found[0, 1] == pytest.approx(between, rel=1e-4)
    assert found[0, 1] == pytest.approx(1, abs=0.25)


def test_random_directions_limit_what_counts() -> None:
    assert estimates.random_limit(np.array([0.1, -0.3, 0.2])) > 0.3
    assert estimates.random_limit(np.array([0.2, 0.2])) == pytest.approx(0.2)


# ----------------------------------------------------------------------------------------- the run


def test_a_model_without_behaviours_is_untestable(lab: Lab, made_up_prompts, monkeypatch) -> None:
    def made_up(self: Lab, name: str) -> Behaviour:
        return Behaviour(name, made_up_prompts, ("a",), ("b",), style="none")

    monkeypatch.setattr(Lab, "behaviour", made_up)
    monkeypatch.setattr(estimates, "SIGNIFICANCE", 0.0)  # whatever chance gives
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert EXPERIMENT.judge(result.estimates) == dict.fromkeys(KEYS, "untestable")
    assert set(figures.plot(result)) == {"behaviours"}
    assert "0 of 7 behaviours count" in result.observation
    assert set(result.tables) == {"behaviours", "prompts"}


def test_a_behaviour_whose_prompts_are_too_long_is_left_out() -> None:
    class Long:
        name = "truth"

        def scores(self, *_) -> None:
            raise PromptError("Too long.")

        config = worlds.CONFIG

    gate = estimates.gated(Long())
    assert gate.left_out == "its prompts do not fit the model"
    assert [one.name for one in gate.estimates] == ["validity.truth"]
