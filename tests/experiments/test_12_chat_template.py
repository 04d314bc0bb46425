"""Experiment 12 on planted models: each style's direction, and one that tuning makes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.data.splits import Split
from interp.models import tiny_random_model

EXPERIMENT = find_experiment("12")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure = EXPERIMENT.part("estimates"), EXPERIMENT.part("measure")
KEYS = ("12a", "12b", "12c", "12d")
NAN = float("nan")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    found = EXPERIMENT.judge(EXPERIMENT.run(worlds.CONFIG, world.lab(2)).estimates)
    assert {key: found[key] == "supported" for key in world.truth} == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {
        "better.none": (1.5, 2.5),
        "effect.template.in.template": (3.0, 5.0),
        "kept.newline": (0.5, 1.5),
        "transfer.worst": (0.2, 1.0),
        "transfer.margin": (0.2, 1.0),
        "transfer.pairs": (2, 2),
        "tuned.effect": (2.0, 4.0),
        "tuned.base_kept": (-2.0, -1.0),
        "tuned.base_tells": (-0.2, -0.1),
    }
    found |= dict.fromkeys(("gap.template", "gap.tuned", "tuned.margin"), (2.0, 3.0))
    found |= {f"margin.{x}.in.template": (1.0, 2.0) for x in ("template", "newline")}
    found |= {name.replace("__", "."): values for name, values in limits.items()}
    made = {name: Estimate(name, sum(x) / 2, *x, n=10) for name, x in found.items()}
    for place, refused in (("template", 20), ("tuned", 20), ("base", 0)):
        p = 0.001 if refused else 1.0
        made[f"refused.{place}"] = Estimate(f"refused.{place}", refused, n=24, p=p)
        made[f"accepted.{place}"] = Estimate(f"accepted.{place}", 22, n=24)
    return made


BOTH = {"12a": "untestable", "12b": "untestable"}


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"better__none": (0.5, 1.5)}, {"12a": "inconclusive"}),
        ({"better__none": (-0.5, 0.9)}, {"12a": "rejected"}),
        ({"kept__newline": (-0.5, 0.5)}, {"12b": "inconclusive"}),
        ({"kept__newline": (-0.5, -0.1)}, {"12b": "rejected"}),
        ({"margin__newline__in__template": (-1.0, 1.0)}, {"12b": "inconclusive"}),
        ({"margin__template__in__template": (-1.0, 1.0)}, BOTH),
        ({"effect__template__in__template": (0.5, 2.0)}, BOTH),
        ({"gap__template": (-0.5, 2.0)}, BOTH),
        ({"transfer__worst": (-0.2, 1.0)}, {"12c": "inconclusive"}),
        ({"transfer__worst": (-0.2, -0.1)}, {"12c": "rejected"}),
        ({"transfer__margin": (-0.2, 0.1)}, {"12c": "inconclusive"}),
        ({"transfer__pairs": (0, 0)}, {"12c": "untestable"}),
        ({"tuned__effect": (0.5, 1.5)}, {"12d": "inconclusive"}),
        ({"tuned__effect": (0.5, 0.9)}, {"12d": "rejected"}),
        ({"tuned__margin": (-0.5, 0.9)}, {"12d": "inconclusive"}),
        ({"tuned__base_kept": (-0.5, 0.9)}, {"12d": "inconclusive"}),
        ({"tuned__base_kept": (0.5, 0.9)}, {"12d": "rejected"}),
        ({"tuned__base_tells": (0.1, 0.2)}, {"12d": "rejected"}),
        ({"gap__tuned": (-0.1, 0.2)}, {"12d": "untestable"}),
    ],
)
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert protocol.verdicts(named(**limits)) == expected


@pytest.mark.parametrize(
    ("place", "refused", "p", "changed"),
    [
        ("template", 5, 0.001, BOTH),
        ("template", 20, 0.06, BOTH),
        ("template", NAN, None, BOTH),
        ("base", 20, 0.001, {"12d": "untestable"}),
        ("tuned", 5, 0.001, {"12d": "untestable"}),
    ],
)
def test_a_model_that_does_not_refuse_is_untestable(place, refused, p, changed) -> None:
    found = named()
    found[f"refused.{place}"] = Estimate(f"refused.{place}", refused, n=24, p=p)
    assert protocol.verdicts(found) == dict.fromkeys(KEYS, "supported") | changed


def test_a_base_that_was_not_asked_is_untestable() -> None:
    found = named() | {"refused.base": Estimate("refused.base", NAN)}
    assert protocol.verdicts(found)["12d"] == "untestable"


def test_criteria_state_every_constant() -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    for name in ("KEPT", "CHANCE", "SHARES", "MAX_KL", "MIN_PAIRS", "SIGNIFICANCE"):
        assert str(getattr(protocol, name)) in criteria
    assert f"above {protocol.MARGIN:g} nat" in criteria


# ----------------------------------------------------------------------------------------- numbers


def test_every_prompt_ends_in_one_full_stop() -> None:
    split = Split(("Do it!", "Do what? "), ("Do. \n", "Do"))
    assert measure.prompts(split, slice(2)) == Split(("Do it.", "Do what."), ("Do.", "Do."))


def test_openings_of_bare_prompts_have_every_lead(tiny_model) -> None:
    assert len(measure.openings(tiny_model, "template")) == 5
    bare = measure.openings(tiny_model, "none")
    assert len(bare) == 5 * len(protocol.LEADS["none"])
    assert {" Sorry", "\nSorry", "\n\nSorry", "Sorry"} <= set(bare)


@pytest.mark.parametrize(("whole_from", "share"), [(1.0, 1.0), (0.3, 0.25), (0.0, 0.0)])
def test_as_much_is_taken_away_as_leaves_the_model_whole(lab, whole_from, share) -> None:
    place = measure.place_of(protocol.PRESETS["smoke"], lab, "newline", "here")
    (source, *_) = measure.sources(place, protocol.PRESETS["smoke"])
    kl = {f"x/{source.direction.site}/{x:g}": 0.2 * (x > whole_from) for x in protocol.SHARES}
    tried = dataclasses.replace(place)
    object.__setattr__(tried, "kl", lambda name, edit: kl[name])
    assert measure.trial(tried, "x", source)[0] == share


def scores(**values: list[list[float]]) -> pd.DataFrame:
    """Scores of one place, by family_taken_side; a row per draw."""
    rows = [
        ("here", key.split("_")[1], key.split("_")[0], draw, key.split("_")[2], row, value)
        for key, draws in values.items()
        for draw, part in enumerate(draws)
        for row, value in enumerate(part)
    ]
    return pd.DataFrame(rows, columns=["used", "taken", "family", "draw", "side", "row", "value"])


def test_means_against_algebra() -> None:
    found = estimates.Resampled(
        scores(
            base__positive=[[1.0, 3.0]], base__negative=[[-1.0, 0.0]],
            real_own_positive=[[2.0, 4.0], [0.0, 0.0]],
            isotropic__positive=[[0.0, 1.0], [2.0, 1.0], [1.0, 1.0]],
            state_own_positive=[[1.0, 3.0]], state_own_negative=[[2.0, 1.0]],
        ), "here",
    )  # fmt: skip
    assert found.gap[0] == 2.5
    assert found.effect("own")[0] == 3.0
    assert set(found.effect("own")[1:]) <= {0.0, 2.0, 3.0, 4.0}
    assert found.auroc("own")[0] == pytest.approx((0 + 0.5 + 1 + 1) / 4)
    limit, means = found.random
    assert means.tolist() == [0.5, 1.5, 1.0]
    assert limit[0] == pytest.approx(1 + 2.92 * 0.5 * (4 / 3) ** 0.5, rel=1e-3)


def test_the_worst_pair_has_the_least_limits() -> None:
    pairs = [Estimate("a", 1.0, 0.5, 1.5, n=4), Estimate("b", 0.2, -1.0, 2.0, n=4)]
    found = estimates.worst("worst", pairs)
    assert (found.value, found.low, found.high) == (0.2, -1.0, 1.5)
    assert np.isnan(estimates.worst("worst", []).value)
    assert estimates.worst("worst", [*pairs, Estimate("c", NAN)]).low is None


# ------------------------------------------------------------------------------------- whole runs


@pytest.mark.parametrize("template", [True, False])
def test_a_run_on_random_weights_finds_nothing_and_draws_its_figures(lab: Lab, template) -> None:
    if not template:
        lab.model = tiny_random_model(template=False, n_layers=2)
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    bare = dataclasses.replace(result, estimates=(), observation="")
    expected = {"refusing", "effects"} if template else {"tuning"}
    assert set(EXPERIMENT.plot(bare)) == expected
    assert set(result.tables["scores"].prompt.str.len()) == {10}  # no prompt is quoted
    assert lab.directions


def test_equal_runs_give_equal_numbers() -> None:
    one, two = (EXPERIMENT.run(worlds.CONFIG, worlds.WORLDS[-1].lab(3)).frame() for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
