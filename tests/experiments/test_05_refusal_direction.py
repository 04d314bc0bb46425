"""Experiment 05: the verdict, planted refusal, and a whole run on a tiny model."""

import importlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import load_experiment
from experiments.lab.cells import MemoryCells
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.directions import direction_from
from interp.nulls import FAMILIES
from interp.sites import Site

_estimates = importlib.import_module("experiments.05_refusal_direction.run.estimates")
excess_estimate = _estimates.excess_estimate
null_tables = _estimates.null_tables
rate_estimates = _estimates.rate_estimates
_measure = importlib.import_module("experiments.05_refusal_direction.run.measure")
Source = _measure.Source
prompt_id = _measure.prompt_id
_nulls = importlib.import_module("experiments.05_refusal_direction.run.nulls")
CRITERION_FAMILIES = _nulls.CRITERION_FAMILIES

EXPERIMENT = load_experiment("05")
# ----------------------------------------------------------------------------- coefficient, verdict


def rates(refused: list[float], incoherent: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"coefficient": [0.5, 1.0, 2.0, 4.0], "refused": refused, "incoherent": incoherent}
    )


def test_coefficient_is_the_smallest_near_the_best_coherent_rate() -> None:
    choose_coefficient = EXPERIMENT.choose_coefficient
    assert choose_coefficient(rates([0.1, 0.5, 0.8, 0.82], [0, 0, 0.1, 0.1])) == 2.0
    assert choose_coefficient(rates([0.1, 0.5, 0.8, 0.9], [0, 0, 0.2, 0.2])) == 1.0
    assert choose_coefficient(rates([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0])) == 0.5
    assert choose_coefficient(rates([0.1, 0.5, 0.8, 0.9], [0.5, 0.5, 0.5, 0.5])) == 0.5


def estimates(**changed: Estimate) -> dict[str, Estimate]:
    """A clear positive, with what the test changes."""
    found = [
        Estimate("selection.p", 0.001, n=16),
        Estimate("train.refused", 60, n=96, p=0.0001),
        Estimate("train.accepted", 90, n=96),
        Estimate("refusal_rate.harmful.base", 0.6, 0.5, 0.7, n=100),
        Estimate("refusal_rate.harmful.ablated", 0.05, 0.0, 0.1, n=100),
        Estimate("refusal_rate.harmful.difference", -0.55, -0.65, -0.45, n=100),
        Estimate("refusal_rate.harmful.excess", -0.25, -0.3, -0.2, n=100),
        Estimate("refusal_rate.harmless.difference", 0.6, 0.5, 0.7, n=100),
        Estimate("kl.harmless.ablated", 0.05, 0.03, 0.08, n=100),
        Estimate("effect.ablation", 6.0, n=24),
        Estimate("effect.ablation.largest_null", 1.0, n=40),
        Estimate("effect.addition", 6.0, n=24),
        Estimate("effect.addition.largest_null", 1.0, n=40),
    ]
    return {e.name: e for e in found} | {e.name: e for e in changed.values()}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (None, "supported"),
        (Estimate("train.refused", 5, n=96, p=0.0001), "inconclusive"),
        (Estimate("train.refused", 60, n=96, p=0.05), "inconclusive"),
        (Estimate("train.accepted", 5, n=96), "inconclusive"),
        (Estimate("selection.p", 0.05, n=16), "inconclusive"),
        (Estimate("refusal_rate.harmful.base", 0.05, 0.01, 0.3, n=100), "inconclusive"),
        (Estimate("refusal_rate.harmful.ablated", 0.31, 0.2, 0.4, n=100), "inconclusive"),
        (Estimate("refusal_rate.harmful.difference", -0.5, -0.9, 0.1, n=100), "inconclusive"),
        (Estimate("refusal_rate.harmful.excess", 0.1, 0.01, 0.2, n=100), "rejected"),
        (Estimate("kl.harmless.ablated", 0.12, 0.09, 0.2, n=100), "inconclusive"),
        (Estimate("kl.harmless.ablated", 0.2, 0.15, 0.3, n=100), "rejected"),
        (Estimate("refusal_rate.harmless.difference", 0.25, 0.1, 0.4, n=100), "inconclusive"),
        (Estimate("refusal_rate.harmless.difference", 0.1, 0.0, 0.2, n=100), "rejected"),
        (Estimate("effect.ablation.largest_null", 6.0, n=40), "rejected"),
        (Estimate("effect.addition.largest_null", 6.1, n=40), "rejected"),
    ],
)
def test_verdict_follows_the_criterion(changed: Estimate | None, expected: str) -> None:
    found = estimates() if changed is None else estimates(changed=changed)
    assert EXPERIMENT.verdict(found) == expected


def test_criterion_states_every_constant() -> None:
    for constant in ("MAX_SHARE_LEFT", "MIN_RISE", "MIN_PAIRS", "SIGNIFICANCE", "NEAR_BEST"):
        assert f"{getattr(EXPERIMENT, constant)}" in EXPERIMENT.CRITERION
    assert str(EXPERIMENT.COEFFICIENTS) in EXPERIMENT.CRITERION
    assert f"{EXPERIMENT.MAX_INCOHERENT} incoherent" in EXPERIMENT.CRITERION
    for preset in ("quick", "full"):
        assert f"{EXPERIMENT.PRESETS[preset].n_harmful} in {preset}" in EXPERIMENT.CRITERION


# -------------------------------------------------------------- planted and shuffled measurements


def measurements(base: float, ablated: float, plain: float, added: float) -> pd.DataFrame:
    """Answers of 100 prompts per set with the given refusal rates."""
    plan = {
        ("harmful", "base"): base,
        ("harmful", "ablated"): ablated,
        ("harmless", "base"): plain,
        ("harmless", "added"): added,
    }
    parts = [
        pd.DataFrame(
            {
                "set": name,
                "condition": condition,
                "answer": ["refused" if i < rate * 100 else "complied" for i in range(100)],
            }
        )
        for (name, condition), rate in plan.items()
    ]
    return pd.concat(parts, ignore_index=True)


NO_DRAWS = pd.DataFrame(
    {"family": ["isotropic"], "harmful_rate": [np.nan], "harmless_rate": [np.nan]}
)


def judged(prompts: pd.DataFrame) -> str:
    found = {e.name: e for e in rate_estimates(prompts, NO_DRAWS)}
    return EXPERIMENT.verdict(estimates() | found)


def test_planted_refusal_is_supported_and_its_absence_rejected() -> None:
    assert judged(measurements(0.63, 0.02, 0.04, 0.46)) == "supported"
    assert judged(measurements(0.63, 0.60, 0.04, 0.46)) == "rejected"
    assert judged(measurements(0.63, 0.02, 0.04, 0.05)) == "rejected"
    assert judged(measurements(0.05, 0.00, 0.04, 0.46)) == "inconclusive"


def test_answers_without_any_relation_to_the_edit_are_never_supported() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        prompts = measurements(0.63, 0.02, 0.04, 0.46)
        assert judged(prompts.assign(answer=rng.permutation(prompts.answer))) != "supported"


def test_only_declining_answers_count() -> None:
    prompts = measurements(0.5, 0.0, 0.0, 0.0)
    others = prompts.answer.replace("complied", "disclaimer")
    found = {e.name: e for e in rate_estimates(prompts.assign(answer=others), NO_DRAWS)}
    assert found["refusal_rate.harmful.base"].value == 0.5
    assert found["refusal_rate.harmless.added"].value == 0.0
    assert found["refusal_rate.harmful.difference"].value == -0.5
    assert excess_estimate(prompts).value == pytest.approx(-0.25)


def test_null_directions_keep_norm_and_family() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 20, 16, generator=generator)
    direction = direction_from(states[0].mean(0) + 2, "mean_difference", Site(1, "pre"), -1)
    source = Source(direction, states[0] + 2, states[1], 2.0)
    for family in FAMILIES:
        drawn = source.null_directions(family, 3, 1)
        assert len(drawn) == 3
        for draw in drawn:
            assert draw.norm == direction.norm
            assert abs(float(draw.unit @ direction.unit)) < 1e-5
    again = source.again(np.random.default_rng(0))
    assert 0.5 < float(again.unit @ direction.unit) < 1.0


def test_observed_effect_stands_beside_the_draws() -> None:
    draws = pd.DataFrame(
        {"family": ["isotropic"] * 3, "draw": range(3), "cosine": 0.0, "ablation": [0.1, 0.2, 0.3]}
    )
    table = null_tables({"ablation": np.array([2.0, 4.0])}, draws)["nulls_ablation"]
    assert table.effect.tolist() == [3.0, 0.1, 0.2, 0.3]
    assert table.family.tolist() == ["observed"] + ["isotropic"] * 3
    assert table.cosine.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_the_null_families_of_the_criterion_are_those_it_names() -> None:
    named = [f for f in FAMILIES if f.replace("_", "-") in EXPERIMENT.CRITERION]
    assert named == list(CRITERION_FAMILIES)


# ------------------------------------------------------------------------------------- a whole run


@pytest.fixture
def smoke():
    return replace(EXPERIMENT.PRESETS["smoke"], n_nulls=2, n_reextractions=2)


def test_a_run_has_every_named_estimate_and_draws_every_figure(lab: Lab, smoke) -> None:
    result = EXPERIMENT.run(smoke, lab)
    assert result.verdict == "inconclusive"
    assert result.observation.startswith("Behaviour absent")
    names = set(result.by_name())
    assert {
        "refusal_rate.harmful.base", "refusal_rate.harmful.ablated", "refusal_rate.harmless.base",
        "refusal_rate.harmless.added", "refusal_rate.harmful.orthogonalised", "kl.harmless.ablated",
        "kl.harmless.added", "openings.harmful.base", "openings.harmful.ablated",
        "openings.harmless.base", "openings.harmless.added", "perplexity.base",
        "perplexity.ablated", "perplexity.added", "classifier.accuracy", "coefficient",
    } <= names  # fmt: skip
    assert result["kl.orthogonalised_from_ablated"].value < 1e-6
    assert result["perplexity.ablated"].value > 1
    assert result.tables["nulls_ablation"].cosine[1:].abs().max() < 1e-6
    figures = EXPERIMENT.plot(result)
    assert set(figures) <= set(result.tables)
    stored = "".join(table.to_csv() for table in result.tables.values())
    assert not any(prompt in stored for prompt in lab.harmful_test.texts)
    assert prompt_id(lab.harmful_test.texts[0]) in stored or len(lab.harmful_test.texts) > 6


def test_a_killed_run_resumes_to_the_same_result(lab: Lab, smoke) -> None:
    unbroken = EXPERIMENT.run(smoke, lab.for_experiment(MemoryCells()))

    class Dying(MemoryCells):
        left = 25

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
