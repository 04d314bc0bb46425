"""Experiment 06 on planted models: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from scipy.stats import ortho_group

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.selection import answering_prompts
from interp.alignment import identity_r2, procrustes_r2
from interp.effects import two_level_bootstrap
from tests.planted_worlds import estimates_within, supported_in

EXPERIMENT = find_experiment("06")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure = EXPERIMENT.part("estimates"), EXPERIMENT.part("measure")
spaces = EXPERIMENT.part("spaces")
KEYS = tuple(claim.key for claim in protocol.CLAIMS)


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    assert supported_in(EXPERIMENT, world, 1) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {"sources": (3, 3), "gap": (2, 4), "profile.fall": (1, 2), "profile.excess": (0.2, 0.5)}
    found |= {f"excess.{kind}": (-2, -1) for kind in ("all_but", "halves", "second")}
    found |= {f"margin.{kind}": (0.3, 0.5) for kind in ("all_but", "second", *protocol.OPERATORS)}
    for operator in protocol.OPERATORS:
        found |= {f"targets.{operator}": (2, 2), f"own.{operator}": (1, 2)}
        found[f"ratio.{operator}"] = (0.7, 0.9)
    for space in protocol.SPACES:
        found |= {f"rotation.{space}": (0.4, 0.6), f"same_space.{space}": (0.85, 0.95)}
    found |= {"profile.partial": (-0.9, -0.5), "profile.by_depth": (0.3, 0.3)}
    made = estimates_within(found, limits, n=20)
    made["train.refused"] = Estimate("train.refused", 60, n=96, p=0.0001)
    made["train.accepted"] = Estimate("train.accepted", 90, n=96)
    return made


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"excess__all_but": (-0.4, 0.6)}, {"06a": "inconclusive"}),
        ({"excess__all_but": (0.1, 0.7)}, {"06a": "rejected"}),
        ({"excess__halves": (0.1, 0.7)}, {"06a": "inconclusive"}),  # halves only block
        ({"margin__all_but": (-0.2, -0.1)}, {"06a": "inconclusive"}),  # and so does a null
        ({"margin__second": (-0.1, 0.1)}, {"06b": "inconclusive"}),
        ({"excess__second": (0.1, 0.7)}, {"06b": "rejected"}),
        ({"gap": (-0.1, 2)}, dict.fromkeys(("06a", "06b"), "untestable")),
        ({"ratio__addition": (0.4, 0.6)}, {"06c": "inconclusive"}),
        ({"ratio__addition": (0.1, 0.4)}, {"06c": "rejected"}),
        ({"margin__addition": (-0.1, 0.1)}, {"06c": "inconclusive"}),
        ({"own__addition": (0.4, 2)}, {"06c": "untestable"}),
        ({"ratio__ablation": (0.1, 0.4)}, {"06d": "rejected"}),
        ({"targets__ablation": (1, 1)}, {"06d": "untestable"}),
        ({"profile__partial": (-0.9, -0.2)}, {"06e": "inconclusive"}),
        ({"profile__partial": (-0.2, 0.2)}, {"06e": "rejected"}),
        ({"profile__excess": (0.01, 0.05)}, {"06e": "inconclusive"}),  # blocks, never rejects
        ({"profile__fall": (0.05, 0.2)}, {"06e": "untestable"}),
        ({"profile__by_depth": (0.85, 0.85)}, {"06e": "untestable"}),
        ({"same_space__without__half": (0.7, 0.9)}, {"06f": "inconclusive"}),
        ({"same_space__without__sixth": (0.1, 0.2)}, {"06f": "rejected"}),
        ({"rotation__all__third": (0.1, 0.5)}, {"06f": "untestable"}),
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
        ("ab", "MAX_LEFT MIN_SOURCES GATE_DRAWS SIGNIFICANCE MIN_TAKEN"),
        ("cd", "FAR_LAYERS MIN_RATIO MIN_OWN MIN_SOURCES MIN_TAKEN"),
        ("e", "MAX_PARTIAL MIN_EXCESS MIN_LAYERS MIN_FALL MAX_BY_DEPTH"),
        ("f", "MIN_LIKENESS MIN_R2 N_LARGEST N_COMPONENTS"),
    ],
)
def test_criteria_state_every_constant(keys, constants) -> None:
    for claim in protocol.CLAIMS:
        if claim.key[-1] in keys:  # in plain numbers
            assert all(
                str(getattr(protocol, name)) in claim.criterion for name in constants.split()
            )
            assert "{" not in claim.criterion
    assert all(f"{d:.3f}" in protocol.CLAIMS[-1].criterion for d in protocol.DISTANCES.values())
    assert f"above {protocol.BREAKING:g} nat" in protocol.CLAIMS[0].criterion
    assert f"at {protocol.DOSE} of the norm" in protocol.CLAIMS[2].criterion


# ----------------------------------------------------------------------------------------- numbers


def test_means_resampled_at_once_are_those_of_the_two_level_bootstrap() -> None:
    rng = np.random.default_rng(0)
    draws, other = rng.normal(size=(3, 8, 2)), rng.normal(size=(4, 8))
    first, second = estimates.resampled(draws, other)
    np.testing.assert_allclose(first[0], draws[0].mean(0))
    np.testing.assert_allclose(second[0], other.mean(1))
    found = estimates.estimate("difference", first[:, 0] - second[:, 1], 8)
    plain = two_level_bootstrap(lambda x, y: x[:, 0].mean() - y[1].mean(), draws, other)
    assert found.value == pytest.approx(plain.value)
    assert found.high - found.low == pytest.approx(plain.high - plain.low, rel=0.15)


def test_sets_are_drawn_within_their_source() -> None:
    left = np.broadcast_to(np.array([[0.0, 1.0, 2.0, 3.0], [10.0] * 4]), (500, 2, 4))
    means = estimates.sets_drawn(left).mean(-1)
    assert means[0].tolist() == [1.5, 10.0]
    assert set(means[:, 1]) == {10.0}
    assert means[1:, 0].std() == pytest.approx(1.25**0.5 / 2, rel=0.15)


def test_p_of_the_gate_pools_deviations_from_the_families_means() -> None:
    null = np.array([[0.0, 0.2, 0.1], [1.0, 1.2, 1.1]])
    t = (2.0 - 1.1) / (0.1 * (4 / 3) ** 0.5)
    assert measure.pooled_p(2.0, null, 2) == pytest.approx(2 * scipy_stats.t.sf(t, 4))
    assert measure.pooled_p(1.2, null, 2) == 1.0


def test_random_directions_that_break_the_model_are_no_rivals() -> None:
    rows = [("all_but", 3, 0, f, 0, kl, 0, 1.0) for f, kl in (("a", 0.1), ("b", 2.0))]
    rows += [(x, 3, 5, f, 0, np.nan, 0, 1.0) for x in ("ablation", "profile") for f in "ab"]
    names = ["kind", "source", "target", "family", "draw", "kl", "prompt", "odds"]
    table = pd.DataFrame(rows, columns=names)
    for kind in ("all_but", "ablation"):
        assert np.isnan(estimates.odds_of(table, kind, True)).tolist() == [[False], [True]]
    assert np.isfinite(estimates.odds_of(table, "profile", True)).all()  # other draws


def test_depth_and_its_square_are_taken_out() -> None:
    depth = np.arange(20.0)
    np.testing.assert_allclose(estimates.residual((depth - 3) ** 2, depth), 0, atol=1e-9)
    wave = np.cos(2.4 * depth)
    falls = np.tile(depth + 3 * wave, (101, 1))
    for sign in (-1, 1):
        rest = estimates.residual(sign * wave, depth)
        assert estimates.partial_estimate(falls, rest, depth, 0).value * sign > 0.9


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
        both = next(spaces.sides_of(first, second))
        assert r2(*both) == pytest.approx(r2(first, second))


def test_sets_leave_the_source_and_pairs_are_parts_of_the_depth(planted) -> None:
    _, lab = planted
    found = measure.prepare(worlds.CONFIG, lab, answering_prompts(lab, 12, 4))
    source = found.chosen[0]
    sets = {(kind, i): set(x) for kind, i, x in measure.layer_sets(worlds.CONFIG, lab, source)}
    away = {x for x in range(8) if abs(x - source) > 1}
    assert sets["all_but", 0] == away
    for i in (0, 2):
        assert sets["halves", i] | sets["halves", i + 1] == away
    assert all((x - source) % 2 and x >= 2 for x in sets["second", 0])
    for operator, targets in (("addition", {4, 7}), ("ablation", {4, 7})):
        far = {
            (job.source, job.target)
            for target in found.targets
            for job in measure.single_jobs(lab, found, operator, target)
            if job.family == measure.REAL and job.source != job.target
        }
        assert {target for _, target in far} == targets
        assert all(target - x >= 2 or operator == "ablation" for x, target in far)
        assert all(abs(target - x) >= 2 for x, target in far)
    assert {b - a for _, a, b in spaces.pairs_of(24, 3)} == {4, 8, 12}


def test_numbers_are_the_planted_ones_and_stand_in_the_scores(planted) -> None:
    result, lab = planted
    assert result["sources"].value == 2
    assert result["ratio.addition"].value == pytest.approx(1, abs=0.1)
    scores = result.tables["scores"]
    base = scores[scores.kind == "base"].groupby("prompts")["odds"].mean()
    half = base.harmless + (base.harmful - base.harmless) / 2
    part = scores[(scores.kind == "second") & (scores.family == "real") & (scores.draw == 0)]
    left = part.groupby("source")["odds"].mean().median()
    assert result["excess.second"].value == pytest.approx(left - half, abs=1e-3)
    assert left == pytest.approx(base.harmless, abs=1)  # all is taken
    assert len(lab.directions) == 2
    assert set(scores["id"].str.len()) == {10}  # no prompt is quoted


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
