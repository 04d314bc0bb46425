"""Experiment 01 on planted states: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.data import prompt_sets
from tests.planted_worlds import supported_in

experiment = find_experiment("01")
protocol, worlds = experiment.protocol, experiment.part("worlds")
TRUE = worlds.WORLDS[0]


@pytest.fixture(scope="module")
def planted():
    return experiment.run(worlds.CONFIG, TRUE.lab(0))


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world):
    assert supported_in(experiment, world, 3) == dict(world.truth)


def test_numbers_are_the_planted_ones():
    law = worlds.Law()
    planted = experiment.run(worlds.CONFIG, worlds.world("one curve", {}, law).lab(0))
    last = planted.tables["profiles"]
    for name in protocol.CLASSES:
        growth = planted[f"growth.{name}.first"]
        # The share is s / (1 + s) for a noise-to-mean ratio s from .02 to .1: a bit less steep.
        expected = worlds.N_LAYERS / 2 * np.log(law.shares[0])
        assert growth.value == pytest.approx(expected, abs=0.25)
        assert growth.above(0)
    growth = last.query("panel == 'mean_variance' and group == 'harmful' and stream == 'pre'")
    per_block = np.polyfit(growth["depth"], np.log(growth["value"]), 1)[0]
    expected = np.log(worlds.NORM_GROWTH**2 * law.shares[0])
    assert per_block == pytest.approx(expected, abs=0.03)
    assert planted["streams.apart"].value == 0.0


def test_labels_that_mean_nothing_are_seldom_significant():
    config = dataclasses.replace(worlds.CONFIG, n_permutations=59, n_resamples=30)
    nothing = worlds.world("nothing", {}, worlds.Law())
    p = [experiment.run(config, nothing.lab(seed))["last.excess"].p for seed in range(12)]
    assert 0.2 < np.mean(p) < 0.8


def test_dimension_that_holds_the_norm_hides_the_fall():
    lab = TRUE.lab(0)
    states = lab._states

    def with_outlier(*wanted):
        found = states(*wanted)
        found[..., 4] = 4000.0
        return found

    lab._states = with_outlier
    found = experiment.run(worlds.CONFIG, lab)
    assert found["last.minimum.raw"].value > 0.99
    assert found["last.minimum"].value < 0.95


def estimates(
    p=0.001,
    fall=(0.01, 0.02),
    over=(0.01, 0.02),
    growth=(0.2, 0.4),
    apart=(0.6, 0.9),
    perhaps=(0.7, 0.9),
):
    def one(name, limits, **others):
        return Estimate(name, sum(limits) / 2, *limits, **others)

    made = [one(f"{position}.excess", (0.0, 1.0), p=p) for position in protocol.POSITIONS]
    made += [one(n, over if "over" in n else fall) for n in protocol.CLAIMS[0].estimates]
    made += [one(name, growth) for name in protocol.CLAIMS[1].estimates]
    made += [one("streams.apart", apart, n=24), one("streams.perhaps", perhaps, n=24)]
    return {estimate.name: estimate for estimate in made}


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, ("supported", "supported", "supported")),
        ({"p": 0.05}, ("inconclusive", "supported", "supported")),
        ({"fall": (0.001, 0.02)}, ("inconclusive", "supported", "supported")),
        ({"fall": (0.001, 0.004)}, ("rejected", "supported", "supported")),
        ({"over": (-0.01, 0.02)}, ("inconclusive", "supported", "supported")),
        ({"over": (-0.01, 0.004)}, ("rejected", "supported", "supported")),
        ({"growth": (-0.1, 0.2)}, ("supported", "inconclusive", "supported")),
        ({"growth": (-0.1, 0.09)}, ("supported", "rejected", "supported")),
        ({"apart": (0.1, 0.4)}, ("supported", "supported", "inconclusive")),
        ({"apart": (0.1, 0.4), "perhaps": (0.2, 0.4)}, ("supported", "supported", "rejected")),
    ],
)
def test_verdicts_follow_the_criteria(changes, verdicts):
    assert tuple(protocol.verdicts(estimates(**changes)).values()) == verdicts


def test_without_mid_the_streams_are_untestable():
    lab = TRUE.lab(0)
    lab.model.info.has_mid = False
    found = experiment.run(worlds.CONFIG, lab)
    assert experiment.judge(found.estimates)["01c"] == "untestable"
    assert set(found.tables["profiles"]["stream"]) == {"pre"}


def test_one_position_that_agrees_does_not_decide():
    found = estimates()
    for name in protocol.CLAIMS[0].estimates:
        if name.startswith("last."):
            found[name] = Estimate(name, 0.0, -0.01, 0.001)
    assert protocol.verdicts(found)["01a"] == "inconclusive"


def test_prompts_that_end_unlike_most_are_left_out_where_most_end_alike():
    ending_alike = experiment.part("measure").ending_alike
    positive, negative = ["a?", "b?", "c."], ["d?", "e?", "f? "]
    assert ending_alike((positive, negative)) == (["a?", "b?"], negative)
    mixed = (["a?", "b."], ["c!", "d?"])
    assert ending_alike(mixed) == mixed


@pytest.mark.parametrize(
    "number",
    ["SIGNIFICANCE", "LEAST_FALL", "LEAST_GROWTH", "LEAST_GAP", "MOST_LAYERS", "SMALLEST_SHARE"],
)
def test_criteria_state_every_constant(number):
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, number)) in criteria


def test_figures_come_from_the_saved_tables_alone(planted, tmp_path):
    figures = experiment.plot(planted)
    assert {name.partition(".")[0] for name in figures} == set(planted.tables)
    for name, table in planted.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in planted.tables}
    bare = dataclasses.replace(planted, tables=read, estimates=(), observation="")
    for name, figure in experiment.plot(bare).items():
        assert figure.get_suptitle() == figures[name].get_suptitle()
        caption = " ".join(figure.texts[-1].get_text().split())
        assert "n = 40 harmful, 40 harmless prompts" in caption


def test_smoke_on_a_tiny_model_where_the_last_token_is_the_same(tiny_model, monkeypatch):
    words = [f"word{i} {i * i}" for i in range(40)]
    contrast = prompt_sets.contrast("made-up", words[:20], words[20:], "none")
    texts = prompt_sets.text_set("none", ["Nothing."], "none")
    by_topic = [(f"topic {i % 4}", f"fact {i}") for i in range(40)]
    topics = prompt_sets.example_set("topics", by_topic, "none")
    monkeypatch.setattr("experiments.lab.lab.load_set", lambda name: topics)
    lab = Lab(
        model=tiny_model, contrast=contrast, harmful_test=texts, harmless_test=texts, text=texts
    )
    found = experiment.run(experiment.preset("smoke"), lab)
    assert all(np.isfinite(estimate.value) for estimate in found.estimates)
    share = found.tables["profiles"].query("panel == 'share' and site == '0.pre'")
    assert np.isnan(share["value"].to_numpy()).all()
    assert {data["name"] for data in lab.used} == {"made-up", "topics"}
