"""Experiment 05 on planted models: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from experiments.harness.registry import find_experiment
from experiments.lab.cells import MemoryCells
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from tests.planted_worlds import estimates_within, supported_in

EXPERIMENT = find_experiment("05")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure = EXPERIMENT.part("estimates"), EXPERIMENT.part("measure")
NAN = float("nan")
UNFOUND = {"selection__p": (0.05, 0.05)}
OPEN = dict.fromkeys(("05a", "05b", "05d"), "inconclusive")
OPEN |= dict.fromkeys(("05c", "05e"), "untestable")
KEYS = ("05a", "05b", "05c", "05d", "05e")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    assert supported_in(EXPERIMENT, world, 1) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {
        "selection.p": (0.001, 0.001),
        "harmless.accepted": (90, 90),
        "refusal_rate.harmful.base": (0.5, 0.7),
        "refusal_rate.harmless.base": (0.0, 0.1),
        "rise.added": (0.5, 0.7),
        "kl.accepted.ablated": (0.03, 0.08),
        "rise.over.covariance_matched": (0.4, 0.7),
        "rise.over.label_permuted": (0.4, 0.7),
        "coefficient": (2.0, 2.0),
        "graded.r2": (0.95, 1.0),
        "graded.step": (0.3, 0.6),
        "graded.drop": (0.0, 0.05),
        "graded.range": (3.0, 5.0),
    }
    for edit in ("ablated", "orthogonalised"):
        found |= {name.format(edit): (0.2, 0.4) for name in protocol.DECIDING}
        found[f"excess.{edit}"] = (-0.3, -0.2)
    made = estimates_within(found, limits, n=100)
    made["train.refused"] = Estimate("train.refused", 60, n=96, p=0.0001)
    made["train.accepted"] = Estimate("train.accepted", 90, n=96)
    return made


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"excess__ablated": (-0.1, 0.1)}, {"05a": "inconclusive"}),
        ({"excess__ablated": (0.01, 0.1)}, {"05a": "rejected"}),
        ({"fall__ablated": (-0.1, 0.1)}, {"05a": "inconclusive"}),
        ({"margin__ablated__isotropic": (-0.1, 0.1)}, {"05a": "inconclusive"}),
        ({"margin__ablated__label_permuted": (-0.2, -0.1)}, {"05a": "inconclusive"}),
        ({"rise__added": (0.2, 0.4)}, {"05b": "inconclusive"}),
        ({"rise__added": (0.1, 0.2)}, {"05b": "rejected"}),
        ({"rise__over__label_permuted": (0.1, 0.5)}, {"05b": "inconclusive"}),
        ({"refusal_rate__harmless__base": (0.4, 0.7)}, {"05b": "untestable"}),
        ({"coefficient": (NAN, NAN)}, {"05b": "untestable", "05e": "untestable"}),
        ({"kl__accepted__ablated": (0.08, 0.2)}, {"05c": "inconclusive"}),
        ({"kl__accepted__ablated": (0.11, 0.2)}, {"05c": "rejected"}),
        ({"excess__orthogonalised": (0.01, 0.1)}, {"05d": "rejected"}),
        ({"graded__r2": (0.8, 1.0)}, {"05e": "inconclusive"}),
        ({"graded__r2": (0.5, 0.8)}, {"05e": "rejected"}),
        ({"graded__step": (0.81, 0.9)}, {"05e": "rejected"}),
        ({"graded__drop": (0.05, 0.2)}, {"05e": "inconclusive"}),
        ({"graded__drop": (0.11, 0.2)}, {"05e": "rejected"}),
        ({"graded__range": (0.9, 3.0)}, {"05e": "untestable"}),
        ({"harmless__accepted": (5, 5)}, {"05c": "untestable", "05e": "untestable"}),
        (UNFOUND, OPEN),
        (UNFOUND | {"excess__ablated": (0.1, 0.3)}, OPEN | {"05a": "rejected"}),
        (UNFOUND | {"rise__added": (0.0, 0.2)}, OPEN | {"05b": "rejected"}),
        ({"refusal_rate__harmful__base": (0.0, 0.1)}, dict.fromkeys(KEYS, "untestable")),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits).values())) == expected


def test_weights_that_were_not_edited_are_untestable() -> None:
    found = named()
    found |= {c: Estimate(c, float("nan")) for c in protocol.CLAIMS[3].estimates}
    assert protocol.verdicts(found) == dict.fromkeys(KEYS, "supported") | {"05d": "untestable"}


CONSTANTS = "COEFFICIENTS MAX_INCOHERENT NEAR_BEST SHARES MAX_SHARE_LEFT MIN_RISE MAX_BASE MAX_KL "
CONSTANTS += "MIN_R2 MAX_STEP MAX_DROP MIN_PAIRS SIGNIFICANCE"


@pytest.mark.parametrize("name", CONSTANTS.split())
def test_criteria_state_every_constant(name) -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, name)) in criteria
    assert f"above {protocol.MIN_RANGE:g} nat" in criteria
    sizes = [protocol.PRESETS[preset] for preset in ("quick", "full")]
    assert "{} in quick, {} in full".format(*(s.n_test for s in sizes)) in criteria
    assert "{} in quick, {} in full".format(*(s.n_nulls for s in sizes)) in criteria


# ----------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("refused", "incoherent", "chosen"),
    [
        ([0.5, 0.8, 0.9], [0, 0.1, 0.1], 2.0),
        ([0.5, 0.8, 1.0], [0, 0.1, 0.1], 4.0),
        ([0.5, 0.8, 0.9], [0, 0.2, 0.2], 1.0),
        ([0.0, 0.0, 0.0], [0, 0, 0], 1.0),
        ([0.5, 0.8, 0.9], [0.5, 0.5, 0.5], NAN),
    ],
)
def test_coefficient_is_the_smallest_near_the_best_coherent_rate(
    refused, incoherent, chosen
) -> None:
    columns = {"coefficient": protocol.COEFFICIENTS, "refused": refused, "incoherent": incoherent}
    assert measure.choose_coefficient(pd.DataFrame(columns)) == pytest.approx(chosen, nan_ok=True)


def test_levels_against_algebra() -> None:
    assert estimates.rising_r2(np.array([0.0, 1.0, 1.0, 5.0])) == 1.0
    # 3 and 1 are pooled to 2, a residual of 2 of a total of 4.
    assert estimates.rising_r2(np.array([1.0, 3.0, 1.0, 3.0])) == pytest.approx(1 - 2 / 4)
    assert estimates.step(np.array([0.0, 1.0, 4.0, 4.0])) == 0.75
    assert estimates.rising_r2(np.zeros(4)) == 0.0
    assert estimates.step(np.zeros(4)) == 1.0
    assert estimates.step(-np.array([0.0, 4.0, 3.0, 3.5])) == 0.25  # the largest drop


def test_a_margin_is_over_the_strongest_draw() -> None:
    nulls = np.array([[1.0, 0.0], [0.5, 2.5]])
    assert estimates.beyond_strongest(np.array([4.0, 2.0]), nulls) == 1.5


def test_of_each_family_the_draw_with_the_highest_odds_is_added() -> None:
    keys = [(family, draw) for family in protocol.PUSHES for draw in (0, 1)]
    rows = [("odds", *key, 0, value) for key, value in zip(keys, (1.0, 2.0, 4.0, 3.0), strict=True)]
    columns = ["measure", "family", "draw", "prompt", "value"]
    pushes = {key: str(key) for key in keys}
    found = measure.strongest(pd.DataFrame(rows, columns=columns), pushes)
    assert list(found.values()) == [str(keys[1]), str(keys[2])]


def test_numbers_are_the_planted_ones(planted) -> None:
    result, lab = planted
    assert result["refusal_rate.harmful.base"].value == 1.0
    assert result["refusal_rate.harmful.ablated"].value == 0.0
    assert result["excess.ablated"].value == -0.5
    assert result["graded.step"].value == pytest.approx(0.25, abs=0.04)  # nearly linear
    scores = result.tables["scores"]
    falls = scores[scores.measure == "fall"].groupby("family")["value"].mean()
    assert result["effect.ablated"].value == pytest.approx(falls["ablated"])
    assert falls["orthogonalised"] == pytest.approx(falls["ablated"], abs=1e-3)
    strongest = scores[scores.family == "isotropic"].groupby("draw")["value"].mean().max()
    assert result["margin.ablated.isotropic"].value == pytest.approx(falls["ablated"] - strongest)
    (direction,) = lab.directions.values()
    assert direction.provenance["found"] == "yes"
    assert set(result.tables["prompts"]["prompt"].str.len()) == {10}  # no prompt is quoted


# ------------------------------------------------------------------------------------- a whole run


def test_a_run_on_random_weights_finds_nothing_and_draws_every_figure(lab: Lab, tmp_path) -> None:
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    assert result.observation.startswith("Behaviour absent")
    for name, table in result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in result.tables}
    bare = dataclasses.replace(result, tables=read, estimates=(), observation="")
    assert set(EXPERIMENT.plot(bare)) == {"selection", "rates", "nulls", "dose_response"}


def test_a_killed_run_resumes_to_the_same_result(lab: Lab) -> None:
    smoke = protocol.PRESETS["smoke"]
    unbroken = EXPERIMENT.run(smoke, lab.for_experiment(MemoryCells()))

    class Dying(MemoryCells):
        left = 60

        def get(self, key, compute):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return super().get(key, compute)

    cells = Dying()
    with pytest.raises(KeyboardInterrupt):
        EXPERIMENT.run(smoke, lab.for_experiment(cells))
    resumed = EXPERIMENT.run(smoke, lab.for_experiment(cells))
    pd.testing.assert_frame_equal(unbroken.frame(), resumed.frame())
    for name, table in unbroken.tables.items():
        pd.testing.assert_frame_equal(table, resumed.tables[name])
