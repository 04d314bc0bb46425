"""Experiment 06 on planted models: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.alignment import identity_r2, procrustes_r2
from interp.stats import two_level_bootstrap

EXPERIMENT = find_experiment("06")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure = EXPERIMENT.part("estimates"), EXPERIMENT.part("measure")
spaces = EXPERIMENT.part("spaces")
KEYS = tuple(claim.key for claim in protocol.CLAIMS)


@pytest.fixture(scope="module")
def planted():
    lab = worlds.WORLDS[0].lab(1)
    return EXPERIMENT.run(worlds.CONFIG, lab), lab


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    found = EXPERIMENT.judge(EXPERIMENT.run(worlds.CONFIG, world.lab(1)).estimates)
    assert {key: found[key] == "supported" for key in world.truth} == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {"sources": (3, 3), "gap": (2, 4), "profile.fall": (1, 2), "profile.excess": (0.2, 0.5)}
    found |= {f"left.{kind}": (0.1, 0.3) for kind in measure.SETS}
    found |= {f"margin.{kind}": (0.3, 0.5) for kind in (*measure.SETS, *protocol.OPERATORS)}
    for operator in protocol.OPERATORS:
        found |= {f"targets.{operator}": (2, 2), f"own.{operator}": (1, 2)}
        found[f"ratio.{operator}"] = (0.7, 0.9)
    for kind in spaces.KINDS:
        found |= {f"rotation.{kind}": (0.4, 0.6), f"same_space.{kind}": (0.85, 0.95)}
    found |= {name.replace("__", "."): values for name, values in limits.items()}
    made = {name: Estimate(name, sum(x) / 2, *x, n=100) for name, x in found.items()}
    low, high = limits.get("profile__partial", (-0.9, -0.5))
    made["profile.partial"] = Estimate("profile.partial", -0.7, low, high, n=20, p=0.05)
    made["train.refused"] = Estimate("train.refused", 60, n=96, p=0.0001)
    made["train.accepted"] = Estimate("train.accepted", 90, n=96)
    return made


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"left__all_but": (0.4, 0.6)}, {"06a": "inconclusive"}),
        ({"left__halves": (0.6, 0.7)}, {"06a": "rejected"}),
        ({"margin__halves": (-0.1, 0.1)}, {"06a": "inconclusive"}),
        ({"margin__halves": (-0.2, -0.1)}, {"06a": "inconclusive"}),  # a null only blocks
        ({"left__second": (0.51, 0.7)}, {"06b": "rejected"}),
        ({"left__second": (0.4, 0.7)}, {"06b": "inconclusive"}),
        ({"gap": (0.9, 2)}, dict.fromkeys(("06a", "06b"), "untestable")),
        ({"ratio__addition": (0.4, 0.6)}, {"06c": "inconclusive"}),
        ({"ratio__addition": (0.1, 0.4)}, {"06c": "rejected"}),
        ({"margin__addition": (-0.1, 0.1)}, {"06c": "inconclusive"}),
        ({"own__addition": (0.4, 2)}, {"06c": "untestable"}),
        ({"ratio__ablation": (0.1, 0.4)}, {"06d": "rejected"}),
        ({"targets__ablation": (1, 1)}, {"06d": "untestable"}),
        ({"profile__partial": (-0.9, -0.2)}, {"06e": "inconclusive"}),
        ({"profile__partial": (-0.2, 0.2)}, {"06e": "rejected"}),
        ({"profile__excess": (0.01, 0.05)}, {"06e": "rejected"}),
        ({"profile__fall": (-0.1, 0.1)}, {"06e": "untestable"}),
        ({"same_space__without": (0.7, 0.9)}, {"06f": "inconclusive"}),
        ({"same_space__without": (0.1, 0.2)}, {"06f": "rejected"}),
        ({"rotation__all": (0.1, 0.5)}, {"06f": "untestable"}),
        ({"sources": (1, 1)}, dict.fromkeys(KEYS[:-1], "untestable")),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits).values())) == expected


def test_without_the_behaviour_only_geometry_is_judged() -> None:
    found = named() | {"train.refused": Estimate("train.refused", 2, n=96, p=0.5)}
    assert set(protocol.verdicts(found).values()) == {"untestable", "supported"}


@pytest.mark.parametrize(
    ("keys", "constants"),
    [
        ("ab", "MAX_LEFT MIN_SOURCES GATE_DRAWS SIGNIFICANCE"),
        ("cd", "FAR_LAYERS MIN_RATIO MIN_OWN MIN_SOURCES"),
        ("e", "MAX_PARTIAL MIN_EXCESS MIN_LAYERS SIGNIFICANCE"),
        ("f", "MIN_LIKENESS MIN_R2 N_LARGEST"),
    ],
)
def test_criteria_state_every_constant(keys, constants) -> None:
    for claim in protocol.CLAIMS:
        if claim.key[-1] in keys:  # in plain numbers
            assert all(
                str(getattr(protocol, name)) in claim.criterion for name in constants.split()
            )
            assert "{" not in claim.criterion
    assert all(f"{d:.3f}" in protocol.CLAIMS[-1].criterion for d in protocol.DISTANCES)
    assert f"above {protocol.MIN_GAP:g} nat" in protocol.CLAIMS[0].criterion


# ----------------------------------------------------------------------------------------- numbers


def test_means_resampled_at_once_are_those_of_the_two_level_bootstrap() -> None:
    rng = np.random.default_rng(0)
    draws, other = rng.normal(size=(3, 8, 2)), rng.normal(size=(4, 8))
    first, second = estimates.resampled(draws, other)
    np.testing.assert_allclose(first[0], draws[0].mean(0))
    np.testing.assert_allclose(second[0], other.mean(1))
    found = estimates.interval(first[:, 0] - second[:, 1], 8)
    plain = two_level_bootstrap(lambda x, y: x[:, 0].mean() - y[1].mean(), draws, other)
    assert found.value == pytest.approx(plain.value)
    assert found.high - found.low == pytest.approx(plain.high - plain.low, rel=0.15)


def test_of_a_half_and_its_complement_the_larger_share_counts() -> None:
    assert estimates.worst_halves(np.array([0.0, 1.0, 0.2, 0.4])) == pytest.approx(0.7)
    assert estimates.worst_halves(np.array([0.3])) == 0.3


def test_depth_and_its_square_are_taken_out_of_ranks() -> None:
    depth = np.arange(20.0)
    rest = estimates.residual((depth - 3) ** 2, depth)
    np.testing.assert_allclose(rest, 0, atol=1e-9)
    wave = np.cos(2.4 * depth)
    fall = depth + 3 * wave
    assert estimates.excess(fall, -wave, depth) > 0 > estimates.excess(fall, wave, depth)


def test_the_identity_is_told_from_a_rotation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 12)) * np.linspace(3, 1, 12)
    turned = x @ ortho_group.rvs(12, random_state=2)
    assert identity_r2(x, 2.5 * x + 7) == pytest.approx(1.0)
    assert procrustes_r2(x, turned) > 0.9
    assert identity_r2(x, turned) < 0.4
    assert identity_r2(x, -x) == pytest.approx(0.0, abs=0.1)  # no negative scale


def test_a_common_span_keeps_both_measures() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(size=(60, 300)) * np.geomspace(5, 0.1, 300)
    second = first + rng.normal(size=(60, 300)) * 0.2
    for r2 in (identity_r2, procrustes_r2):
        assert r2(*spaces.spanned(first, second)) == pytest.approx(r2(first, second))


def test_sets_leave_the_source_and_pairs_are_parts_of_the_depth(planted) -> None:
    _, lab = planted
    found = measure.prepare(worlds.CONFIG, lab, prompts_of(lab))
    source = found.chosen[0]
    sets = measure.layer_sets(found, source, 2)
    away = set(sets["all_but", 0])
    assert away == {x for x in range(8) if abs(x - source) > 1}
    for i in (0, 2):
        assert set(sets["halves", i]) | set(sets["halves", i + 1]) == away
    assert all((x - source) % 2 and x >= 2 for x in sets["second", 0])
    assert not found.is_far(5, 3, "addition")
    assert found.is_far(5, 3, "ablation")
    assert {b - a for _, a, b in spaces.pairs_of(24, 3)} == {4, 8, 12}


def prompts_of(lab: Lab):
    from experiments.lab.selection import answering_prompts

    return answering_prompts(lab, 12, 4)


def test_numbers_are_the_planted_ones_and_stand_in_the_scores(planted) -> None:
    result, lab = planted
    assert result["sources"].value == 3
    assert result["left.all_but"].value == pytest.approx(0, abs=0.1)
    assert result["ratio.addition"].value == pytest.approx(1, abs=0.1)
    scores = result.tables["scores"]
    base = scores[scores.kind == "base"].groupby("prompts")["odds"].mean()
    part = scores[(scores.kind == "second") & (scores.family == "real") & (scores.draw == 0)]
    left = (part.groupby("source")["odds"].mean() - base.harmless) / (base.harmful - base.harmless)
    assert result["left.second"].value == pytest.approx(left.median(), abs=1e-3)
    assert len(lab.directions) == 3
    assert set(result.tables["prompts"]["prompt"].str.len()) == {10}  # no prompt is quoted


# ------------------------------------------------------------------------------------- a whole run


def test_a_run_on_random_weights_finds_nothing_and_draws_every_figure(lab: Lab, tmp_path) -> None:
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    found = EXPERIMENT.judge(result.estimates)
    assert {found[key] for key in KEYS[:-1]} == {"untestable"}
    assert result.observation.startswith("Behaviour absent")
    for name, table in result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in result.tables}
    bare = dataclasses.replace(result, tables=read, estimates=(), observation="")
    assert set(EXPERIMENT.plot(bare)) <= set(result.tables)
