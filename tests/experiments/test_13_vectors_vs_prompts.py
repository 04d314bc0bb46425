"""Experiment 13 on planted models: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from tests.planted_worlds import estimates_within, supported_in

EXPERIMENT = find_experiment("13")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure, match = (EXPERIMENT.part(name) for name in ("estimates", "measure", "match"))
sentences = EXPERIMENT.part("sentences")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    assert supported_in(EXPERIMENT, world, 1) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {
        "lead": (0.2, 0.3), "lead.nats": (0.2, 0.3), "lead.counter_prompts": (0.4, 0.6),
        "lead.counter_vector": (-0.05, 0.05), "random": (-0.1, 0.1), "growth": (-0.2, -0.1),
        "slope.difference": (0.3, 0.4), "slope.prompt": (-0.4, -0.3), "slope.vector": (-0.05, 0.05),
        "rise.prompt": (2.0, 3.0), "rise.vector": (2.0, 3.0), "match.rise": (0.9, 1.1),
        "match.kl": (0.9, 1.1), "matched": (1, 1),
    }  # fmt: skip
    found |= {f"left.{u}.{w}": (0.4, 0.6) for u in protocol.UNDOERS for w in ("prompt", "vector")}
    return estimates_within(found, limits, n=24)


NOTHING = dict.fromkeys(("13a", "13b"), "untestable")
OPEN = dict.fromkeys(("13a", "13b"), "inconclusive")
OVER = {"left__counter_prompts__prompt": (0.9, 1.0), "left__counter_prompts__vector": (0.9, 1.0)}
UNDER = {"left__counter_vector__prompt": (0.0, 0.1), "left__counter_vector__vector": (0.0, 0.1)}


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"lead": (0.05, 0.3)}, {"13a": "inconclusive"}),
        ({"lead__nats": (0.0, 0.09)}, {"13a": "inconclusive"}),
        ({"lead": (0.0, 0.09), "lead__nats": (0.0, 0.09)}, {"13a": "rejected"}),
        ({"lead__counter_vector": (-0.3, -0.11)}, {"13a": "inconclusive"}),
        ({"random": (0.2, 0.3)}, OPEN),
        ({"growth": (-0.1, 0.1)}, {"13b": "inconclusive"}),
        ({"slope__difference": (0.0, 0.2)}, {"13b": "inconclusive"}),
        ({"slope__difference": (0.0, 0.09)}, {"13b": "rejected"}),
        ({"slope__prompt": (-0.09, 0.0)}, {"13b": "rejected"}),
        ({"slope__vector": (-0.3, -0.11)}, {"13b": "rejected"}),
        (OVER, {"13a": "untestable"}),
        (UNDER, {"13a": "untestable"}),
        ({"left__counter_prompts__vector": (0.95, 1.0)}, {}),
        ({"rise__vector": (0.5, 3.0)}, NOTHING),
        ({"match__rise": (1.6, 1.7)}, NOTHING),
        ({"match__kl": (0.3, 0.4)}, NOTHING),
        ({"matched": (0, 0)}, NOTHING),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(NOTHING, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits).values())) == expected


CONSTANTS = "DEPTHS LEFT MAX_MISMATCH MAX_RISES MAX_RANDOM LENGTHS MIN_LEAD MAX_SLOPE"


@pytest.mark.parametrize("name", CONSTANTS.split())
def test_criteria_state_every_constant(name) -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, name)) in criteria
    assert f"up to {protocol.DOSES[-1]:g} times" in criteria
    assert f"at most {protocol.COUNTER_DOSES[-1]:g} times" in criteria
    assert f"by {protocol.MIN_RISE:g} nat on" in criteria
    assert f"within a factor {protocol.MAX_RATIO:g};" in criteria
    quick, full = (protocol.PRESETS[preset] for preset in ("quick", "full"))
    assert f"({quick.n_test} in quick, {full.n_test} in full)" in criteria
    assert f"({quick.n_counters} of them in quick, all {full.n_counters} in full)" in criteria
    assert f"({quick.n_fillers} texts in quick, {full.n_fillers} in full)" in criteria
    assert f"{quick.n_nulls} each in quick, {full.n_nulls} in full" in criteria


def test_presets_ask_for_sentences_that_there_are() -> None:
    for config in protocol.PRESETS.values():
        assert config.n_sentences <= len(sentences.STEERING)
        assert config.n_counters <= len(sentences.COUNTERS)
    assert len(sentences.COUNTERS) == len(set(sentences.COUNTERS)) == 10


# ----------------------------------------------------------------------------------------- numbers


def test_shares_against_algebra() -> None:
    undoers = ["none", "counter_prompt 0", "counter_prompt 1", "counter_vector", "random 0"]
    undoers += [f"filler_{length} 0" for length in protocol.LENGTHS]
    ways = [(-4, 0, 2), (0, -3, -1), (0, 1, 2), (0, -2, -4), (0, 0, -3.4), (-5, -2, 1), (-5, -5, 1)]
    found = estimates.numbers(np.array(ways, float), estimates.kinds_of(undoers))
    assert (found["rise.prompt"], found["rise.vector"]) == (4, 6)
    assert found["left.counter_prompts.prompt"] == (1 / 4 + 1) / 2  # what is more than all is all
    assert found["lead.counter_prompts"] == pytest.approx((3 / 6 + 1) / 2 - (1 / 4 + 1) / 2)
    assert found["lead.counter_vector"] == -2 / 4
    taken = (4 * (1 - (5 / 8 + 1 / 2) / 2), 6 * (1 - (3 / 4 + 0) / 2))
    assert found["lead.nats"] == pytest.approx((taken[0] - taken[1]) / 5)
    assert (found["kept.40.prompt"], found["kept.120.prompt"]) == (3 / 4, 0)
    assert found["growth"] == -3 / 4
    assert found["slope.prompt"] == pytest.approx((0.4 * -0.25 - 1.2) / (0.4**2 + 1.2**2))
    assert found["random"] == pytest.approx(0.1)


def test_a_crossing_is_the_first_one() -> None:
    assert match.crossing({0.0: 0.0, 1.0: 2.0, 2.0: 1.0, 4.0: 5.0}, 1.5) == 0.75
    assert match.crossing({0.0: 0.0, 1.0: 2.0, 2.0: 1.0}, 3.0) == 1.0
    assert match.crossing({0.0: 0.0, 1.0: -2.0, 2.0: -1.0}, -3.0) == 2.0


def test_numbers_are_the_planted_ones(planted) -> None:
    result, lab = planted
    scores = result.tables["scores"]
    means = scores[scores.draw == 0].groupby(["way", "undoer"])["odds"].mean()
    assert result["rise.prompt"].value == pytest.approx(
        means["prompt", "none"] - means["base", "none"]
    )
    left = means["vector", "counter_vector"] - means["base", "none"]
    share = left / result["rise.vector"].value
    assert result["left.counter_vector.vector"].value == pytest.approx(share)
    assert result["match.rise"].value == pytest.approx(1, abs=0.05)
    assert set(scores["prompt"].str.len()) == {10}  # no prompt is quoted
    assert "refusal" in lab.directions


def test_fillers_have_their_length_and_begin_alike(planted) -> None:
    _, lab = planted
    found = measure.between(lab, worlds.CONFIG)
    short, long = (found[f"filler_{length} 0"] for length in protocol.LENGTHS)
    assert [len(text.split()) for text in (short, long)] == [*protocol.LENGTHS]
    assert long.startswith(short)


# ------------------------------------------------------------------------------------- a whole run


def test_a_run_on_random_weights_finds_nothing_and_draws_every_figure(lab: Lab, tmp_path) -> None:
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    assert result.observation.startswith("No match")
    for name, table in result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in result.tables}
    bare = dataclasses.replace(result, tables=read)
    assert set(EXPERIMENT.plot(bare)) == {"match", "left", "filler"}
