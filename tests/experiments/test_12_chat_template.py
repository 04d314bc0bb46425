"""Experiment 12 on planted models: each style's direction, and one that tuning makes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.models import tiny_random_model
from interp.stats import Interval
from tests.planted_worlds import estimates_within, supported_in

EXPERIMENT = find_experiment("12")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, measure = EXPERIMENT.part("estimates"), EXPERIMENT.part("measure")
KEYS = ("12a", "12b", "12c", "12d")
NAN = float("nan")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world) -> None:
    assert supported_in(EXPERIMENT, world, 2) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {name: (0.01, 0.05) for claim in protocol.CLAIMS for name in claim.estimates}
    found |= {
        "better.none": (1.5, 2.5),
        "effect.template.in.template": (3.0, 5.0),
        "kept.newline": (0.5, 1.5),
        "transfer.worst": (0.2, 1.0),
        "kept.base": (-2.0, -1.0),
        "auroc.base": (0.4, 0.6),
        "effect.tuned.in.tuned": (2.0, 4.0),
    }
    made = estimates_within(found, limits, n=10)
    for place, refused in (("template", 20), ("tuned", 20), ("base", 0)):
        p = 0.001 if refused else 1.0
        made[f"refused.{place}"] = Estimate(f"refused.{place}", refused, n=24, p=p)
        made[f"accepted.{place}"] = Estimate(f"accepted.{place}", 22, n=24)
    return made


BOTH = {"12a": "untestable", "12b": "untestable"}
HIGH = (0.2, 0.4)  # a KL above the limit


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"better__none": (0.5, 1.5)}, {"12a": "inconclusive"}),
        ({"better__none": (-0.5, 0.9)}, {"12a": "rejected"}),
        ({"better__none": (-0.5, 0.9), "kl__none__in__template": HIGH}, {"12a": "inconclusive"}),
        ({"kl__none__in__template": HIGH}, {}),
        ({"kept__newline": (-0.5, 0.5)}, {"12b": "inconclusive"}),
        ({"kept__newline": (-0.5, -0.1)}, {"12b": "rejected"}),
        ({"margin__newline__in__template": (-1.0, 1.0)}, {"12b": "inconclusive"}),
        ({"kl__newline__in__template": HIGH}, {"12b": "inconclusive"}),
        ({"margin__template__in__template": (-1.0, 1.0)}, BOTH),
        ({"effect__template__in__template": (0.5, 2.0)}, BOTH),
        ({"kl__template__in__template": HIGH}, BOTH),
        ({"transfer__worst": (-0.2, 1.0)}, {"12c": "inconclusive"}),
        ({"transfer__worst": (-0.2, -0.1)}, {"12c": "rejected"}),
        ({"transfer__kl": HIGH}, {"12c": "inconclusive"}),
        ({"kept__base": (-0.5, 0.9)}, {"12d": "inconclusive"}),
        ({"kept__base": (0.5, 0.9)}, {"12d": "rejected"}),
        ({"kept__base": (0.5, 0.9), "kl__base__in__tuned": HIGH}, {"12d": "inconclusive"}),
        ({"auroc__base": (0.7, 0.8)}, {"12d": "inconclusive"}),
        ({"effect__tuned__in__tuned": (0.5, 1.5)}, {"12d": "untestable"}),
        ({"margin__tuned__in__tuned": (-0.5, 0.9)}, {"12d": "untestable"}),
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
        ("base", 20, 0.001, {"12d": "untestable"}),
        ("tuned", 5, 0.001, {"12d": "untestable"}),
    ],
)
def test_a_model_that_does_not_refuse_is_untestable(place, refused, p, changed) -> None:
    found = named()
    found[f"refused.{place}"] = Estimate(f"refused.{place}", refused, n=24, p=p)
    assert protocol.verdicts(found) == dict.fromkeys(KEYS, "supported") | changed


def test_what_was_not_measured_is_untestable() -> None:
    found = {name: Estimate(name, NAN) for name in named()}
    assert set(protocol.verdicts(found).values()) == {"untestable"}


def test_criteria_state_every_constant() -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    for name in ("KEPT", "TOLD", "OUTLIER", "MIN_DEPTH", "MAX_KL", "MIN_PAIRS", "SIGNIFICANCE"):
        assert str(getattr(protocol, name)) in criteria
    assert f"above {protocol.MARGIN:g} nat" in criteria


# ----------------------------------------------------------------------------------------- numbers


def test_every_prompt_ends_in_one_full_stop() -> None:
    assert measure.ended(("Do it!", "Do what? ", "Do. \n", "Do")) == (
        "Do it.", "Do what.", "Do.", "Do.",
    )  # fmt: skip


def test_openings_of_bare_prompts_have_every_lead(tiny_model) -> None:
    assert len(measure.openings(tiny_model, "template")) == 5
    bare = measure.openings(tiny_model, "none")
    assert len(bare) == 5 * len(protocol.LEADS["none"])
    assert {" Sorry", "\nSorry", "\n\nSorry", "Sorry"} <= set(bare)


def test_dimensions_of_massive_activations_are_set_aside_in_every_direction(lab: Lab) -> None:
    config = protocol.PRESETS["smoke"]
    one, other = (measure.place_of(config, lab, "newline", name) for name in ("one", "other"))
    assert measure.kept_dimensions([one, other]).all()
    plain = other.lab.activations
    scale = torch.ones(lab.model.hf.config.hidden_size)
    scale[3] = 1e4
    other.lab.activations = lambda *args: plain(*args) * scale  # type: ignore[method-assign]
    kept = measure.kept_dimensions([one, other])
    assert torch.where(~kept)[0].tolist() == [3]
    assert all(x.direction.unit[3] == 0 for x in measure.sources(other, config, kept))


@pytest.mark.parametrize(
    ("kl", "falls", "best"),
    [([0.05, 0.05], [1.0, 2.0], 1), ([0.05, 0.2], [1.0, 2.0], 0), ([0.3, 0.2], [2.0, 1.0], 1)],
)
def test_the_most_effective_harmless_site_is_chosen_or_the_least_harmful(
    lab: Lab, monkeypatch, kl, falls, best
) -> None:
    place = measure.place_of(protocol.PRESETS["smoke"], lab, "newline", "here")
    kept = measure.kept_dimensions([place])
    found = measure.sources(place, protocol.Config(n_train=8, n_sites=1), kept) * 2
    rows = iter([{"kl": one, "fall": fall} for one, fall in zip(kl, falls, strict=True)])
    monkeypatch.setattr(measure, "tried", lambda *_: next(rows))
    table, chosen = measure.candidates(place, {"x": found})
    assert table.chosen.tolist() == [row == best for row in range(2)]
    assert chosen["x"] is found[best]


def scores(**falls: list[list[float]]) -> pd.DataFrame:
    """Scores of one place, by what is taken; a row per draw."""
    rows = [
        ("here", taken, draw, row, value)
        for taken, draws in falls.items()
        for draw, part in enumerate(draws)
        for row, value in enumerate(part)
    ]
    return pd.DataFrame(rows, columns=["used", "taken", "draw", "row", "fall"])


def test_effects_against_algebra() -> None:
    table = scores(
        here=[[2.0, 4.0], [0.0, 0.0]], other=[[2.0, 2.0], [0.0, 0.0]],
        isotropic=[[0.0, 1.0], [2.0, 1.0], [1.0, 1.0]],
    )  # fmt: skip
    chosen = pd.DataFrame({"taken": ["here", "other"], "used": "here", "kl": 0.1, "chosen": True})
    found = {one.name: one for one in estimates.effect_estimates(table, chosen)}
    effect, margin = found["effect.here.in.here"], found["margin.here.in.here"]
    assert (effect.value, effect.low, effect.high) == (3.0, 0.0, 4.0)
    assert margin.value == pytest.approx(3 - (1 + 2.92 * 0.5 * (4 / 3) ** 0.5), rel=1e-3)
    assert found["kl.other.in.here"].value == 0.1
    assert "margin.other.in.here" not in found
    kept = estimates.kept(table, "here", "other")
    assert (kept.value, kept.low, kept.high) == (0.5, 0.0, 1.0)


def test_the_worst_pair_has_the_least_limits_and_rejects_corrected_for_their_number() -> None:
    found = estimates.worst("worst", [Interval(1.0, 0.5, 1.5, 4), Interval(0.2, -1.0, 0.4, 4)])
    assert (found.value, found.low, found.n) == (0.2, -1.0, 4)
    assert found.high == pytest.approx(0.2 + 0.2 * norm.ppf(1 - 0.0125) / norm.ppf(0.975))
    assert np.isnan(estimates.worst("worst", []).value)


# ------------------------------------------------------------------------------------- whole runs


@pytest.mark.parametrize("template", [True, False])
def test_a_run_on_random_weights_finds_nothing_and_draws_its_figures(lab: Lab, template) -> None:
    if not template:
        lab.model = tiny_random_model(template=False, n_layers=2)
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    bare = dataclasses.replace(result, estimates=(), observation="")
    assert set(EXPERIMENT.plot(bare)) == {"refusing", "effects"}
    assert set(result.tables["scores"].prompt.str.len()) == {10}  # no prompt is quoted
    assert lab.directions
