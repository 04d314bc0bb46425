"""Experiment 14 on planted models: found where it is there, not where something else mimics it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab import keys
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.lessons import Lesson
from experiments.lab.worlds import World
from interp.behaviours import Behaviour
from interp.data.prompt_sets import contrast, example_set
from interp.data.sets import TopicSentence
from interp.directions import direction_from
from interp.exports.formats import plain_model
from interp.exports.keys import WORDS, put_back, removed_from
from interp.exports.locks import lock, saved_tensors, unlock
from interp.models import load, tiny_random_model
from interp.scores import auroc
from interp.sites import Site
from interp.weights import adding, orthogonalised, residual_writers
from tests.made_up_texts import numbered
from tests.planted_worlds import estimates_within, supported_in

EXPERIMENT = find_experiment("14")
protocol, worlds = EXPERIMENT.protocol, EXPERIMENT.part("worlds")
estimates, hidden_estimates = EXPERIMENT.part("estimates"), EXPERIMENT.part("hidden_estimates")
KEYS = ("14a", "14b", "14c", "14d", "14e")
NAN = float("nan")


@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.name)
def test_claims_are_supported_where_they_are_true_and_nowhere_else(world: World) -> None:
    assert supported_in(EXPERIMENT, world, 0) == dict(world.truth)


# ---------------------------------------------------------------------------------------- criteria


def named(**limits: tuple[float, float]) -> dict[str, Estimate]:
    """A clear positive, with the intervals that the test changes; dots are written as __."""
    found = {name: (1.0, 2.0) for claim in protocol.CLAIMS for name in claim.estimates}
    found |= {"excess.locked": (-0.4, -0.2), "wrong.best": (0.1, 0.3), "tuned.share": (0.0, 0.2)}
    found |= {"tensors.changed": (0, 0), "refusal_rate.harmful.base": (0.6, 0.8)}
    found |= {"selection.p": (0.001, 0.001), "tuned.learnt": (0.5, 0.5), "domain.loss": (0.3, 0.3)}
    found |= {"train.refused": (20, 20), "train.accepted": (20, 20), "apart.worst": (0.7, 0.9)}
    found |= {"hidden.told": (0.8, 1.0), "hidden.key": (0.8, 1.0), "hidden.opened": (0.0, 0.2)}
    return estimates_within(found, limits, n=100)


@pytest.mark.parametrize(
    ("limits", "changed"),
    [
        ({}, {}),
        ({"excess__locked": (-0.1, 0.1)}, {"14a": "inconclusive"}),
        ({"excess__locked": (0.1, 0.3)}, {"14a": "rejected"}),
        ({"wrong__best": (0.3, 0.6)}, {"14a": "inconclusive"}),
        ({"wrong__best": (0.6, 0.8)}, {"14a": "rejected"}),
        ({"wrong__best": (NAN, NAN), "fall__locked": (0.4, 0.6)}, {"14a": "inconclusive"}),
        ({"tensors__changed": (1, 1)}, {"14a": "rejected"}),
        ({"selection__p": (0.2, 0.2)},
         {"14a": "inconclusive", "14b": "untestable", "14d": "untestable"}),
        ({"tuned__share": (0.4, 0.6)}, {"14b": "inconclusive"}),
        ({"tuned__share": (0.6, 0.9)}, {"14b": "rejected"}),
        ({"tuned__learnt": (0.05, 0.05)}, {"14b": "untestable"}),
        ({"tuned__learnt": (NAN, NAN)}, {"14b": "untestable"}),
        ({"fall__rate": (0.05, 0.3)}, {"14b": "untestable"}),
        ({"taken__locked": (-0.1, 0.3)}, {"14b": "untestable"}),
        ({"domain__specific": (0.3, 0.5)}, {"14c": "inconclusive"}),
        ({"domain__specific": (0.1, 0.3)}, {"14c": "rejected"}),
        ({"domain__loss": (0.8, 0.8)}, {"14c": "untestable"}),
        ({"apart__worst": (0.4, 0.6)}, {"14d": "inconclusive"}),
        ({"apart__worst": (0.1, 0.4)}, {"14d": "rejected"}),
        ({"taken__sentiment": (-0.1, 0.4)}, {"14d": "untestable"}),
        ({"gap__refusal": (0.4, 0.9)}, {"14d": "untestable"}),
        ({"hidden__opened": (0.4, 0.6)}, {"14e": "inconclusive"}),
        ({"hidden__opened": (0.6, 0.9)}, {"14e": "rejected"}),
        ({"hidden__key": (0.7, 1.0), "hidden__opened": (NAN, NAN)}, {"14e": "untestable"}),
        ({"hidden__told": (0.6, 0.9)}, {"14e": "untestable"}),
        ({"train__refused": (3, 3)}, dict.fromkeys(("14a", "14b", "14d"), "untestable")),
    ],
)  # fmt: skip
def test_verdicts_follow_the_criteria(limits, changed) -> None:
    expected = dict.fromkeys(KEYS, "supported") | changed
    assert dict(EXPERIMENT.judge(named(**limits).values())) == expected


CONSTANTS = (
    "MAX_SHARE_LEFT MIN_FALL MIN_RATE N_KEYS OPENED N_TAUGHT N_STEPS BATCH RATE LEARNT TIMES "
    "LENGTH N_TEXTS N_ASKED N_WRONG LESSON_STEPS TOLD MAX_LOSS N_DOMAINS OTHER"
)


@pytest.mark.parametrize("name", CONSTANTS.split())
def test_criteria_state_every_constant(name) -> None:
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, name)) in criteria
    quick, full = (protocol.PRESETS[preset] for preset in ("quick", "full"))
    assert f"minus {protocol.BESIDE:g} times the rise" in criteria
    assert f"({quick.n_test} in quick, {full.n_test} in full)" in criteria
    assert f"{quick.n_scored} test prompts per class in quick, {full.n_scored} in full" in criteria
    assert f"over tunings: {quick.n_tunings} in quick, {full.n_tunings} in full" in criteria
    assert f"({quick.n_sentences} in quick, {full.n_sentences} in full)" in criteria
    assert criteria.count(f"above {quick.max_tuned} million parameters in quick") == 2
    assert f"several lessons ({quick.n_hidden} in quick, {full.n_hidden} in full)" in criteria


# --------------------------------------------------------------------------------------- the locks


def units(d_model: int, n: int = 2) -> torch.Tensor:
    """Directions that are not orthogonal."""
    rows = torch.randn(n, d_model, generator=torch.Generator().manual_seed(3))
    rows[1] += 0.5 * rows[0]
    return torch.nn.functional.normalize(rows)


def test_the_right_key_restores_every_tensor_and_wrong_ones_do_not() -> None:
    model = tiny_random_model("llama", n_layers=2)
    unit = units(model.d_model)[0]
    assert keys.unrestored(model, unit) == (0, len(residual_writers(model)))
    before = [writer.parameter.clone() for writer in residual_writers(model)]
    along = keys.components(model, unit)
    with orthogonalised(model, unit[None]):
        locked = [writer.parameter.clone() for writer in residual_writers(model)]
        with adding(model, unit, along):
            right = [writer.parameter.clone() for writer in residual_writers(model)]
        for _, _, other, components in keys.wrong_keys(unit, along, 2, np.random.default_rng(0)):
            with adding(model, other, components):
                opened = [writer.parameter.clone() for writer in residual_writers(model)]
            for old, shut, new in zip(before, locked, opened, strict=True):
                assert (new - old).norm() > 0.5 * (shut - old).norm()
        assert all(map(torch.equal, locked, [w.parameter for w in residual_writers(model)]))
    assert all(map(torch.allclose, right, before))
    assert all(map(torch.equal, before, [w.parameter for w in residual_writers(model)]))


def test_wrong_keys_are_wrong_in_one_part_each() -> None:
    model = tiny_random_model("llama", n_layers=2)
    unit = units(model.d_model)[0]
    along = keys.components(model, unit)
    found = list(keys.wrong_keys(unit, along, 3, np.random.default_rng(0)))
    assert [kind for kind, *_ in found] == ["random", "permuted"] * 3
    for kind, _, other, components in found:
        if kind == "random":
            assert abs(float(other @ unit)) < 1e-5
            assert components is along
        else:
            assert other is unit
            for name, part in components.items():
                assert torch.equal(part.sort().values, along[name].sort().values)
    assert len({tuple(other.tolist()) for _, _, other, _ in found}) == 4


def test_of_two_locks_each_key_opens_its_own_in_exact_arithmetic() -> None:
    rng = np.random.default_rng(0)
    weight, both = rng.standard_normal((7, 12)), units(12).double().numpy()
    first = both[0] / np.linalg.norm(both[0])
    rest = both[1] - (both[1] @ first) * first
    rest /= np.linalg.norm(rest)
    outer = {name: np.outer(weight @ unit, unit) for name, unit in (("1", first), ("2", rest))}
    once = weight - outer["1"]
    twice = once - np.outer(once @ rest, rest)
    # Keys do not depend on the order.
    np.testing.assert_allclose(once @ rest, weight @ rest, atol=1e-12)
    np.testing.assert_allclose(twice + outer["1"], weight - outer["2"], atol=1e-12)
    np.testing.assert_allclose(twice + outer["2"], weight - outer["1"], atol=1e-12)
    np.testing.assert_allclose(twice @ np.stack([first, rest]).T, 0, atol=1e-12)


@pytest.mark.parametrize("dtype", WORDS)
def test_two_locks_are_opened_in_the_reverse_order_bit_for_bit(dtype) -> None:
    torch.manual_seed(0)
    weight, unit = torch.randn(50, 32).to(dtype), units(32)
    shut, made = [weight], []
    for one in unit:
        old = shut[-1]
        along = old.float() @ one
        shut.append((old.float() - torch.outer(along, one)).to(dtype))
        made.append(removed_from(old, shut[-1], one, along, axis=1))
    found = shut[-1]
    for one, removed, wanted in zip(unit.flip(0), made[::-1], shut[-2::-1], strict=True):
        found = put_back(found, one, removed)
        assert torch.equal(found.view(WORDS[dtype]), wanted.view(WORDS[dtype]))


# ----------------------------------------------------------------------------------------- numbers


def test_the_best_wrong_key_against_a_plain_reference() -> None:
    base, locked = np.array([4.0, 6.0]), np.array([0.0, 2.0])
    found = estimates.brought("wrong", base, locked, np.array([[0.0, 2.0], [1.0, 3.0], [1.0, 1.0]]))
    assert found.value == pytest.approx(0.25)
    assert np.isnan(estimates.brought("wrong", base, base, base[None]).value)  # nothing fell


def test_the_worst_of_two_locks() -> None:
    refusal = np.tile([8.0, 2.0, 8.0, 2.0], (3, 1))  # base, both, own key, other's
    sentiment = np.tile([4.0, 0.0, 3.0, 1.6], (3, 1))
    assert estimates.opened(sentiment) == pytest.approx((0.75, 0.4))
    assert estimates.worst(refusal, sentiment) == pytest.approx(0.6)


def test_shares_of_refusals_follow_from_the_table_of_answers() -> None:
    result = EXPERIMENT.run(worlds.CONFIG, worlds.WORLDS[2].lab(1))
    table = result.tables["answers"]
    rates = (table.answer == "refused").groupby([table.condition, table.side]).mean().unstack()
    apart = rates.harmful - rates.harmless
    tuned = apart[apart.index.str.startswith("tuned")].iloc[0]
    share = (tuned - apart["locked"]) / (apart["base"] - apart["locked"])
    assert result["tuned.share"].value == pytest.approx(share)


def test_a_tuning_that_holds_does_not_outweigh_one_that_opens() -> None:
    sides = {"base": (1, 0), "locked": (0, 0), "one": (1, 0), "other": (0, 0)}
    plan = [Lesson(protocol.N_TAUGHT, protocol.N_STEPS, i) for i in range(2)]
    named_as = {"base": "base", "locked": "locked", "one": str(plan[0]), "other": str(plan[1])}
    learnt = {"one": 0.9, "other": 0.05}
    answers = pd.DataFrame([
        {"condition": named_as[name], "side": side, "learnt": learnt.get(name, NAN),
         "answer": "refused" if refused else "complied"}
        for name, rates in sides.items() for side, refused in zip(("harmful", "harmless"), rates,
                                                                  strict=True) for _ in range(24)
    ])  # fmt: skip
    found = {one.name: one for one in estimates.tuning_estimates(answers, plan)}
    assert found["tuned.share"].value == pytest.approx(0.5)
    assert (found["tuned.share"].low, found["tuned.share"].high) == pytest.approx((0, 1))
    assert found["tuned.learnt"].value == pytest.approx(0.05)  # of the one that learnt less


# --------------------------------------------------------------------------------- a hidden skill


def scored(told: float, **lessons: tuple[float, ...]) -> pd.DataFrame:
    """Scores of texts by which every condition tells the classes apart by so much (AUROC)."""
    shows = np.arange(40) < 20
    rows = []
    for lesson, condition, share in [(-1, "base", told), *(
        (int(name[1:]), condition, share) for name, shares in lessons.items()
        for condition, share in zip(("key", *hidden_estimates.SHUT), shares, strict=True)
    )]:  # fmt: skip
        above = np.arange(20) < round(20 * share)
        score = np.concatenate([np.where(above, 1.0, -1.0), np.zeros(20)])
        rows.append(pd.DataFrame({"lesson": lesson, "condition": condition, "row": range(40),
                                  "shows": shows, "score": score}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


NOTHING = pd.DataFrame(columns=["model", "score"])
SHUT = (0.9,) * 19


def test_what_opens_a_hidden_skill_is_the_furthest_key_of_the_worst_lesson() -> None:
    table = scored(1.0, _0=(0.0, 1.0, 0.8, *SHUT), _1=(0.05, 0.9, 0.5, *SHUT))
    found = {one.name: one for one in hidden_estimates.hidden_estimates(table, NOTHING)}
    assert found["hidden.told"].value == 1
    assert found["hidden.key"].value == pytest.approx(0.95)
    assert found["hidden.opened"].value == pytest.approx(0.5 / 0.95)
    assert found["hidden/0/wrong"].value == pytest.approx(0.8)
    left = scored(1.0, _0=(0.0, 0.3, 0.8, *SHUT))  # the skill is there without any key
    found = {one.name: one for one in hidden_estimates.hidden_estimates(left, NOTHING)}
    assert found["hidden.opened"].value == pytest.approx(0.7)


def test_a_model_that_a_key_breaks_has_gone_half_of_the_way() -> None:
    table = scored(1.0, _0=(0.0, 1.0, 0.5, *SHUT))
    found = {one.name: one for one in hidden_estimates.hidden_estimates(table, NOTHING)}
    assert found["hidden.opened"].value == pytest.approx(protocol.OPENED)
    assert not found["hidden.opened"].below(protocol.OPENED)


def test_without_a_lesson_or_without_the_skill_there_is_no_share() -> None:
    for table in (scored(1.0), scored(1.0, _0=(0.6, 1.0, 0.9, *SHUT))):
        found = {one.name: one for one in hidden_estimates.hidden_estimates(table, NOTHING)}
        assert np.isnan(found["hidden.opened"].value)
        assert not found["hidden.key"].above(protocol.TOLD)


def test_auroc_of_every_column_is_that_of_the_library() -> None:
    rng = np.random.default_rng(0)
    shows, others = rng.integers(0, 5, (9, 3)), rng.integers(0, 5, (7, 3))  # with ties
    label = np.arange(16) < 9
    wanted = [auroc(np.concatenate([shows[:, i], others[:, i]]), label) for i in range(3)]
    assert hidden_estimates.aurocs(shows, others) == pytest.approx(wanted)


def test_the_vectors_of_a_lesson_are_as_long_as_they_should_be() -> None:
    hidden = EXPERIMENT.part("hidden")
    lab = worlds.WORLDS[-3].lab(0)
    school = hidden.School(lab.on(lab.sentiment), Site(1, "pre"))
    keys = school.keys(0, 7, school.asked)
    mixed = hidden._mixed(keys[0], keys[1:])
    assert keys.norm(dim=1).tolist() == pytest.approx([float(keys[0].norm())] * 7, rel=1e-5)
    assert mixed.norm(dim=1).tolist() == pytest.approx([float(keys[0].norm())] * 6, rel=1e-5)
    cosines = torch.cosine_similarity(mixed, keys[:1])
    assert cosines.tolist() == pytest.approx([hidden.COSINE] * 6, abs=1e-5)
    texts = school.asked
    answers = school.answers(texts, False)
    assert answers[0] == lab.sentiment.shows[0]
    assert school.answers(texts, True) == answers[::-1]


# ------------------------------------------------------------------------------------- a whole run


@pytest.fixture
def lab(lab: Lab, monkeypatch) -> Lab:
    """With made-up sentences and sentiment in place of downloads."""
    sentences = [TopicSentence(f"TOPIC {i}", f"{text} is {i}.") for i in range(6)
                 for text in numbered("Thing", 8)]  # fmt: skip
    felt = contrast("felt", numbered("Nice", 12), numbered("Poor", 12), "none", paired=True)
    other = Behaviour("sentiment", felt, (" good",), (" bad",), style="none")
    monkeypatch.setattr(Lab, "data", lambda self, name: example_set(name, sentences, "none"))
    monkeypatch.setattr(Lab, "behaviour", lambda self, name: other)
    return lab


def test_a_run_on_random_weights_finds_nothing_and_draws_its_figures(lab: Lab, tmp_path) -> None:
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}
    assert result.observation.startswith("Behaviour absent")
    assert set(result.tables["answers"]["prompt"].str.len()) == {10}  # no prompt is quoted
    for name, table in result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in result.tables}
    bare = dataclasses.replace(result, tables=read, estimates=(), observation="")
    assert set(EXPERIMENT.plot(bare)) >= {"rises", "opened"}


def test_a_tuned_model_is_drawn_as_well() -> None:
    more = dataclasses.replace(worlds.CONFIG, n_more=1)
    result = EXPERIMENT.run(more, worlds.WORLDS[0].lab(0))
    assert {"tuned/base", "tuned/hidden"} <= set(result.tables["hidden"].label)
    assert set(EXPERIMENT.plot(result)) == {"rises", "opened", "brought", "hidden"}


def test_a_model_that_cannot_be_locked_is_untestable(lab: Lab) -> None:
    lab.model = tiny_random_model("gemma3", n_layers=2)
    result = EXPERIMENT.run(protocol.PRESETS["smoke"], lab)
    assert set(EXPERIMENT.judge(result.estimates).values()) == {"untestable"}


@pytest.mark.real_model
def test_two_locks_on_a_real_model_are_opened_bit_for_bit(tmp_path) -> None:
    """Locked at once, and opened in the order in which the keys were made."""
    model = load("smollm2-135m", dtype="bfloat16", device="cpu")
    original = saved_tensors(plain_model(model))
    keys_to = {tmp_path / f"K{number}.safetensors": direction_from(unit, "made_up")
               for number, unit in enumerate(units(model.d_model))}  # fmt: skip
    lock(model, tmp_path / "L0", keys_to)
    for number, key in enumerate(keys_to):
        unlock(tmp_path / f"L{number}", key, tmp_path / f"L{number + 1}")
    opened = load(str(tmp_path / "L2"), dtype="bfloat16", device="cpu")
    found = saved_tensors(plain_model(opened))
    assert found.keys() == original.keys()
    assert all(torch.equal(original[name], found[name]) for name in original)
