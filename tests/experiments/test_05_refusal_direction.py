"""Experiment 05: the verdicts, planted refusal, and a whole run on a tiny model."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.cells import MemoryCells
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.meter import FIRST_WORDS
from experiments.lab.selection import answering_prompts
from interp.directions import Direction, direction_from
from interp.errors import DataError
from interp.nulls import FAMILIES
from interp.predict import readout
from interp.scores import log_odds, refusal_scores, threshold_for
from interp.sites import Site

EXPERIMENT = find_experiment("05")
protocol = EXPERIMENT.protocol
run, measure = EXPERIMENT.part("run"), EXPERIMENT.part("measure")
estimates, tables = EXPERIMENT.part("estimates"), EXPERIMENT.part("tables")
ALL = ("05a", "05b", "05c", "05d")


# ---------------------------------------------------------------------------- coefficient, verdicts


def rates(refused: list[float], incoherent: list[float]) -> pd.DataFrame:
    columns = {"coefficient": [0.5, 1.0, 2.0, 4.0], "refused": refused, "incoherent": incoherent}
    return pd.DataFrame(columns)


def test_coefficient_is_the_smallest_near_the_best_coherent_rate() -> None:
    assert run.choose_coefficient(rates([0.1, 0.5, 0.8, 0.82], [0, 0, 0.1, 0.1])) == 2.0
    assert run.choose_coefficient(rates([0.1, 0.5, 0.8, 0.9], [0, 0, 0.2, 0.2])) == 1.0
    assert run.choose_coefficient(rates([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0])) == 0.5
    assert run.choose_coefficient(rates([0.1, 0.5, 0.8, 0.9], [0.5, 0.5, 0.5, 0.5])) == 0.5


def named(*changed: Estimate) -> dict[str, Estimate]:
    """A clear positive, with what the test changes."""
    found = [
        Estimate("selection.p", 0.001, n=16),
        Estimate("train.refused", 60, n=96, p=0.0001),
        Estimate("train.accepted", 90, n=96),
        Estimate("refusal_rate.harmful.base", 0.6, 0.5, 0.7, n=100),
        Estimate("refusal_rate.harmful.ablated", 0.05, 0.0, 0.1, n=100),
        Estimate("refusal_rate.harmful.difference", -0.55, -0.65, -0.45, n=100),
        Estimate("refusal_rate.harmful.excess", -0.25, -0.3, -0.2, n=100),
        Estimate("refusal_rate.harmless.base", 0.0, 0.0, 0.05, n=100),
        Estimate("refusal_rate.harmless.added", 0.6, 0.5, 0.7, n=100),
        Estimate("refusal_rate.harmless.difference", 0.6, 0.5, 0.7, n=100),
        Estimate("kl.harmless.ablated", 0.05, 0.03, 0.08, n=100),
        Estimate("effect.ablation", 6.0, n=24),
        Estimate("effect.ablation.largest_null", 1.0, n=40),
        Estimate("effect.addition", 6.0, n=24),
        Estimate("effect.addition.largest_null", 1.0, n=40),
    ]
    return {estimate.name: estimate for estimate in (*found, *changed)}


def verdicts(found: dict[str, Estimate]) -> dict[str, str]:
    return dict(EXPERIMENT.judge(found.values()))


def test_a_clear_positive_supports_every_claim() -> None:
    assert verdicts(named()) == dict.fromkeys(ALL, "supported")


@pytest.mark.parametrize(
    "changed",
    [
        Estimate("train.refused", 5, n=96, p=0.0001),
        Estimate("train.refused", 60, n=96, p=0.05),
        Estimate("train.accepted", 5, n=96),
        Estimate("selection.p", 0.05, n=16),
        Estimate("refusal_rate.harmful.base", 0.05, 0.01, 0.3, n=100),
    ],
)
def test_nothing_can_be_tested_without_behaviour_or_direction(changed: Estimate) -> None:
    assert verdicts(named(changed)) == dict.fromkeys(ALL, "untestable")


NO_FALL = Estimate("refusal_rate.harmful.ablated", 0.5, 0.4, 0.6, n=100)


@pytest.mark.parametrize(
    ("key", "verdict", "changed"),
    [
        ("05a", "inconclusive", [Estimate("refusal_rate.harmful.ablated", 0.31, 0.2, 0.4, n=100)]),
        ("05a", "inconclusive", [Estimate("refusal_rate.harmful.difference", -0.5, -0.9, 0.1)]),
        ("05a", "rejected", [NO_FALL, Estimate("refusal_rate.harmful.excess", 0.2, 0.01, 0.3)]),
        ("05a", "inconclusive", [NO_FALL, Estimate("refusal_rate.harmful.excess", 0.2, 0.0, 0.3)]),
        ("05b", "inconclusive", [Estimate("refusal_rate.harmless.difference", 0.25, 0.1, 0.4)]),
        ("05b", "rejected", [Estimate("refusal_rate.harmless.difference", 0.1, 0.0, 0.2)]),
        ("05c", "inconclusive", [Estimate("kl.harmless.ablated", 0.12, 0.09, 0.2, n=100)]),
        ("05c", "rejected", [Estimate("kl.harmless.ablated", 0.2, 0.15, 0.3, n=100)]),
        ("05d", "rejected", [Estimate("effect.ablation.largest_null", 6.0, n=40)]),
        ("05d", "rejected", [Estimate("effect.addition.largest_null", 6.1, n=40)]),
    ],
)
def test_a_verdict_follows_its_criterion(key: str, verdict: str, changed: list[Estimate]) -> None:
    expected = dict.fromkeys(ALL, "supported") | {key: verdict}
    assert verdicts(named(*changed)) == expected


def test_criteria_state_every_constant() -> None:
    criteria = {claim.key: claim.criterion for claim in EXPERIMENT.claims}
    for key, constants in {"05a": ["MAX_SHARE_LEFT"], "05b": ["MIN_RISE", "NEAR_BEST"]}.items():
        for constant in (*constants, "MIN_PAIRS", "SIGNIFICANCE"):
            assert f"{getattr(protocol, constant)}" in criteria[key]
    assert str(protocol.COEFFICIENTS) in criteria["05b"]
    assert f"{protocol.MAX_INCOHERENT} incoherent" in criteria["05b"]
    assert f"{protocol.MAX_KL} nats" in criteria["05c"]
    named_families = [f for f in FAMILIES if f.replace("_", "-") in criteria["05d"]]
    assert named_families == list(protocol.CRITERION_FAMILIES)
    for preset in ("quick", "full"):
        n = protocol.PRESETS[preset].n_harmful
        assert all(f"{n} in {preset}" in criterion for criterion in criteria.values())


# -------------------------------------------------------------- planted and shuffled measurements


def measurements(base: float, ablated: float, plain: float, added: float) -> pd.DataFrame:
    """Answers of 100 prompts per set with the given refusal rates."""
    plan = {
        ("harmful", "base"): base,
        ("harmful", "ablated"): ablated,
        ("harmless", "base"): plain,
        ("harmless", "added"): added,
    }
    parts = []
    for (on, condition), rate in plan.items():
        answers = ["refused" if i < rate * 100 else "complied" for i in range(100)]
        parts.append(pd.DataFrame({"set": on, "condition": condition, "answer": answers}))
    return pd.concat(parts, ignore_index=True)


NO_DRAWS = pd.DataFrame(
    {"family": ["isotropic"], "harmful_rate": [np.nan], "harmless_rate": [np.nan]}
)


def judged(prompts: pd.DataFrame) -> list[str]:
    """Verdicts on the two claims about rates."""
    found = verdicts(named(*estimates.rate_estimates(prompts, NO_DRAWS)))
    return [found["05a"], found["05b"]]


def test_planted_refusal_is_supported_and_its_absence_rejected() -> None:
    assert judged(measurements(0.63, 0.02, 0.04, 0.46)) == ["supported", "supported"]
    assert judged(measurements(0.63, 0.60, 0.04, 0.46)) == ["rejected", "supported"]
    assert judged(measurements(0.63, 0.02, 0.04, 0.05)) == ["supported", "rejected"]
    assert judged(measurements(0.05, 0.00, 0.04, 0.46)) == ["untestable", "untestable"]


def test_answers_without_any_relation_to_the_edit_are_hardly_ever_supported() -> None:
    rng = np.random.default_rng(0)
    prompts = measurements(0.63, 0.02, 0.04, 0.46)
    shuffled = (prompts.assign(answer=rng.permutation(prompts.answer)) for _ in range(40))
    found = np.array([judged(one) for one in shuffled]) == "supported"
    assert (found.mean(0) <= 0.05).all()


def test_only_declining_answers_count() -> None:
    prompts = measurements(0.5, 0.0, 0.0, 0.0)
    others = prompts.assign(answer=prompts.answer.replace("complied", "disclaimer"))
    found = {e.name: e for e in estimates.rate_estimates(others, NO_DRAWS)}
    assert found["refusal_rate.harmful.base"].value == 0.5
    assert found["refusal_rate.harmless.added"].value == 0.0
    assert found["refusal_rate.harmful.difference"].value == -0.5
    assert found["refusal_rate.harmful.excess"].value == pytest.approx(-0.25)


def test_a_rate_is_compared_with_the_answers_of_the_criterions_null_families() -> None:
    families = ["isotropic", "covariance_matched", "label_permuted", "isotropic"]
    draws = pd.DataFrame({"family": families, "harmful_rate": [0.2, 0.6, 0.9, np.nan]})
    assert estimates.null_rates(draws, "contrast") == pytest.approx((0.21, 0.59))
    assert estimates.null_rates(NO_DRAWS, "harmless") is None


def test_the_effect_stands_beside_the_draws_without_what_was_extracted_again() -> None:
    draws = pd.DataFrame(
        {"family": ["isotropic"] * 2 + ["again"], "draw": [0, 1, 0], "cosine": [0.0, 0.0, 0.9]}
    ).assign(ablation=[0.1, 0.2, 2.9])
    effect = Estimate("effect.ablation", 3.0, 2.0, 4.0, n=2)
    table = tables.null_table("ablation", {effect.name: effect}, draws)
    assert table.effect.tolist() == [3.0, 0.1, 0.2]
    assert table.family.tolist() == ["observed", "isotropic", "isotropic"]
    assert table.cosine.tolist() == [1.0, 0.0, 0.0]


# ------------------------------------------------------------------------------------------ passes


@pytest.fixture
def direction() -> Direction:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    return direction_from(20 * vector, "made up", Site(1, "pre"), -1)


def test_half_of_the_prompts_gives_nearly_the_same_direction() -> None:
    states = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(0))
    direction = direction_from(states[0].mean(0) + 2, "mean_difference", Site(1, "pre"), -1)
    chosen = SimpleNamespace(direction=direction, positive=states[0] + 2, negative=states[1])
    rng = np.random.default_rng(0)
    again, other = measure.from_halves(chosen, rng), measure.from_halves(chosen, rng)
    assert 0.5 < float(again.unit @ direction.unit) < 1.0
    assert not torch.equal(again.unit, other.unit)
    assert (again.site, again.position) == (direction.site, direction.position)


def test_effects_are_wanted_changes(lab: Lab, direction: Direction) -> None:
    meter = measure.meter_for(protocol.PRESETS["smoke"], lab, answering_prompts(lab, 12, 3))
    edits = measure.edits_of(direction, 2.0)
    found = measure.effects(meter, edits)
    base = {on: meter.scores(f"{on}/few").openings for on in ("harmful", "harmless")}
    fallen = base["harmful"] - meter.scores("harmful/few", edits["ablation"]).openings
    risen = meter.scores("harmless/few", edits["addition"]).openings - base["harmless"]
    assert found["ablation"].tolist() == fallen.tolist()
    assert found["addition"].tolist() == risen.tolist()
    assert min(np.abs(fallen).max(), np.abs(risen).max()) > 0


def test_every_prompt_is_scored_under_every_edit(lab: Lab, direction: Direction) -> None:
    meter = measure.meter_for(protocol.PRESETS["smoke"], lab, answering_prompts(lab, 12, 3))
    edits = measure.tested_edits(lab, direction, 2.0)
    table = measure.scored(meter, edits, [40, 70])
    found = {key: len(rows) for key, rows in estimates.by_condition(table).items()}
    assert found == {
        ("harmful", "base"): 6, ("contrast", "base"): 4, ("harmless", "base"): 6,
        ("harmful", "ablated"): 6, ("contrast", "ablated"): 4, ("harmless", "ablated"): 6,
        ("harmless", "added"): 6, ("harmful", "orthogonalised"): 6,
    }  # fmt: skip
    unanswered = table[table.answer.isna()]
    assert set(zip(unanswered["set"], unanswered.condition, strict=True)) == {
        ("harmless", "ablated")
    }
    added = table[table.condition == "added"]
    plain = refusal_scores(lab.model, meter.tokens("harmless"), edits["addition"].placements)
    assert added.openings.tolist() == plain.openings.tolist()
    assert added.log_odds.tolist() == log_odds(plain.log_probs, [40, 70]).tolist()
    assert measure.scored(meter, edits, []).log_odds.isna().all()


def test_refusal_tokens_divide_the_validation_prompts(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = answering_prompts(lab, 12, 4)
    meter = measure.meter_for(protocol.PRESETS["smoke"], lab, replace(prompts, filtered=True))
    no_tokens, no_threshold = measure.refusal_tokens(meter, prompts)
    assert no_tokens == [] and math.isnan(no_threshold)  # nothing is refused

    def learn(log_probs: torch.Tensor, refused: torch.Tensor) -> list[int]:
        assert log_probs.shape[0] == 24
        assert refused.tolist() == [True] * 12 + [False] * 12
        return [40, 70]

    monkeypatch.setattr(measure, "learn_refusal_tokens", learn)
    tokens, threshold = measure.refusal_tokens(meter, replace(prompts, filtered=True))
    validation = [*prompts.validation[0], *prompts.validation[1]]
    log_probs = readout(lab.model, lab.tokens(validation)).log_probs
    harmful = np.arange(8) < 4
    expected = threshold_for(log_odds(log_probs, [40, 70]).numpy(), harmful)
    assert tokens == [40, 70]
    assert threshold == pytest.approx(expected, abs=1e-4)


def test_refusals_that_show_in_no_first_token_have_no_threshold(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> list[int]:
        raise DataError("no first token")

    monkeypatch.setattr(measure, "learn_refusal_tokens", none)
    prompts = replace(answering_prompts(lab, 12, 4), filtered=True)
    meter = measure.meter_for(protocol.PRESETS["smoke"], lab, prompts)
    tokens, threshold = measure.refusal_tokens(meter, prompts)
    assert tokens == [] and math.isnan(threshold)


# ------------------------------------------------------------------------------------- a whole run


@pytest.fixture
def smoke():
    return replace(protocol.PRESETS["smoke"], n_nulls=2, n_reextractions=2)


def test_a_run_has_every_named_estimate_and_draws_every_figure(lab: Lab, smoke) -> None:
    result = EXPERIMENT.run(smoke, lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    assert result.observation.startswith("Behaviour absent")
    assert {
        "refusal_rate.harmful.base", "refusal_rate.harmful.ablated", "refusal_rate.harmless.base",
        "refusal_rate.harmless.added", "refusal_rate.harmful.orthogonalised", "kl.harmless.ablated",
        "kl.harmless.added", "openings.harmful.base", "openings.harmful.ablated",
        "openings.harmless.base", "openings.harmless.added", "perplexity.base",
        "perplexity.ablated", "perplexity.added", "classifier.accuracy", "coefficient",
        "effect.ablation.reextracted", "reextraction.cosine",
    } <= set(result.by_name())  # fmt: skip
    assert result["kl.orthogonalised_from_ablated"].value < 1e-6
    assert result["perplexity.ablated"].value > 1
    assert result.tables["nulls_ablation"].cosine[1:].abs().max() < 1e-6
    assert result.tables["dose_response"].null.tolist() == [False] * 3 + [True] * 4
    assert set(EXPERIMENT.plot(result)) <= set(result.tables)


def test_prompts_are_named_by_their_hash_and_answers_by_their_first_words(lab: Lab, smoke) -> None:
    found = EXPERIMENT.run(smoke, lab).tables
    stored = "".join(table.to_csv() for table in found.values())
    assert not any(prompt in stored for prompt in lab.harmful_test.texts)
    words, prompts = found["first_words"], found["prompts"]
    assert words["set"].tolist() == ["harmful"] * 6 + ["harmless"] * 6
    answered = prompts[(prompts.condition == "base") & (prompts["set"] != "contrast")]
    assert words.prompt.tolist() == answered.prompt.tolist()
    assert (words.base != words.edited).any()
    for answer in (*words.base, *words.edited):
        assert len(answer.split()) <= FIRST_WORDS


def test_the_saved_direction_says_where_it_is_from(lab: Lab, smoke) -> None:
    EXPERIMENT.run(smoke, lab)
    (direction,) = lab.directions.values()
    assert direction.provenance["model"] == lab.model.info.name
    assert direction.provenance["contrast"] == "planted"
    assert direction.provenance["style"] == "template"
    assert float(direction.provenance["p"]) > 0.05
    assert direction.provenance["found"].startswith("no")


def test_a_killed_run_resumes_to_the_same_result(lab: Lab, smoke) -> None:
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
