"""The Meter: every quantity is that of the plain function, and every one is a cell."""

import numpy as np
import pytest
import torch

from experiments.lab.cells import FileCells, MemoryCells
from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, FIRST_WORDS, SHOWING, Edit, Meter, share
from experiments.lab.passages import Passages
from interp.behaviours import Behaviour
from interp.data.prompt_sets import contrast
from interp.directions import Direction, direction_from
from interp.errors import ExperimentError
from interp.generation import answers, generate
from interp.predict import continuation_kl, readout
from interp.prompts import tokenise
from interp.scores import classify, kl_divergence, refusal_scores
from interp.sites import Site
from interp.weights import orthogonalised

N_TOKENS = 6


def ran_again(*_: object, **__: object) -> None:
    pytest.fail("ran again")


@pytest.fixture
def direction() -> Direction:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    return direction_from(vector, "made up", Site(2, "pre"), -1)


def meter_on(lab: Lab, **options) -> Meter:
    prompts = {"harmful": lab.harmful_test.texts[:4], "harmless": lab.harmless_test.texts[:3]}
    return Meter(lab, prompts, Passages(lab.model, lab.text[:2], 8), N_TOKENS, **options)


@pytest.fixture
def meter(lab: Lab) -> Meter:
    return meter_on(lab)


@pytest.fixture
def edits(direction: Direction) -> list[Edit]:
    added = Edit.adding(direction.vector, Site(2, "pre"))
    return [BASE, Edit.ablating(direction.unit), added]


def test_scores_are_the_refusal_odds(meter: Meter, edits: list[Edit]) -> None:
    model = meter.lab.model
    tokens = tokenise(model, list(meter.prompts["harmful"]))
    for edit in edits:
        plain = refusal_scores(model, tokens, edit.placements)
        found = meter.scores("harmful", edit)
        assert found == pytest.approx(plain.opening_odds.numpy(), abs=1e-6)
        assert found.dtype == np.float64


def test_another_behaviour_is_measured_by_its_own_score(lab: Lab, edits: list[Edit]) -> None:
    texts = contrast("mood", lab.harmful_test.texts[:4], lab.harmless_test.texts[:4], "")
    mood = Behaviour("mood", texts, (" a",), (" b",), style="none")
    meter = meter_on(lab.on(mood))
    for edit in edits:
        wanted = mood.scores(lab.model, meter.prompts["harmful"], edit.placements)
        assert meter.scores("harmful", edit).tolist() == wanted.tolist()
        assert meter.shown("harmful", edit) == [x > 0 for x in wanted.tolist()]
        assert set(meter.answers("harmful", edit)) <= {"shown", "not shown"}
    assert lab.studied.name == "refusal" != meter.lab.studied.name


def test_of_a_choice_the_question_is_asked(lab: Lab) -> None:
    sides = ["Yes or no? yes", "No or yes? no"], ["Yes or no? no", "No or yes? yes"]
    choice = Behaviour("agrees", contrast("agrees", *sides, "", paired=True), choice=True,
                       style="none")  # fmt: skip
    meter = Meter(lab.on(choice), {"positive": tuple(sides[0]), "negative": tuple(sides[1])})
    wanted = choice.scores(lab.model, sides[0]).tolist()
    assert meter.scores("positive").tolist() == wanted == meter.scores("negative").tolist()


def test_kl_of_the_next_token_is_from_the_base_or_from_an_edit(
    meter: Meter, edits: list[Edit]
) -> None:
    model, tokens = meter.lab.model, meter.tokens("harmless")
    base, ablated, added = (readout(model, tokens, e.placements).log_probs for e in edits)
    assert meter.kl("harmless", edits[2]).tolist() == kl_divergence(base, added).tolist()
    between = meter.kl("harmless", edits[2], edits[1])
    assert between.tolist() == kl_divergence(ablated, added).tolist()
    assert meter.kl("harmless", edits[1], edits[2]).tolist() != between.tolist()


def test_answers_are_classes_and_first_words_of_the_greedy_ones(
    meter: Meter, edits: list[Edit], monkeypatch: pytest.MonkeyPatch
) -> None:
    for edit in edits:
        whole = answers(
            meter.lab.model, meter.tokens("harmful"), edit.placements, max_new_tokens=N_TOKENS
        )
        assert meter.answers("harmful", edit) == [classify(answer) for answer in whole]
        assert meter.first_words("harmful", edit) == [" ".join(a.split()) for a in whole]
    whole = ["I'm sorry, but I cannot help\nwith any of that", "Certainly! Take", ""]
    monkeypatch.setattr("experiments.lab.meter.answers", lambda *_, **__: whole)
    assert meter.answers("harmless") == [classify(answer) for answer in whole]
    words = meter.first_words("harmless")
    assert words == ["I'm sorry, but I cannot help with any", "Certainly! Take", ""]
    assert max(len(answer.split()) for answer in words) == FIRST_WORDS
    assert meter.shown("harmless") == [True, False, False]
    assert share(meter.answers("harmless"), SHOWING) == 1 / 3


def test_damage_is_that_of_the_plain_functions(meter: Meter, edits: list[Edit]) -> None:
    model, tokens = meter.lab.model, meter.tokens("harmless")
    assert meter.passages is not None
    for edit in edits[1:]:
        plain = meter.passages.damage(edit.placements)
        text = meter.text(edit)
        assert text["kl"].tolist() == plain.kl.tolist()
        assert text["loss"].tolist() == plain.loss.tolist()
        assert text["base_loss"].tolist() == plain.base_loss.tolist()
        greedy = generate(model, tokens, max_new_tokens=N_TOKENS)
        kl = continuation_kl(model, tokens, edit.placements, answers=greedy)
        assert meter.answer_kl("harmless", edit).tolist() == kl.tolist()


def test_an_orthogonalising_edit_changes_the_weights_while_it_measures(
    meter: Meter, direction: Direction
) -> None:
    model, tokens = meter.lab.model, meter.tokens("harmful")
    edit = Edit.orthogonalising(direction.unit)
    before = meter.scores("harmful")
    assert edit.basis is not None
    with orthogonalised(model, edit.basis):
        plain = refusal_scores(model, tokens)
        said = answers(model, tokens, max_new_tokens=N_TOKENS)
    found, kl = meter.scores("harmful", edit), meter.kl("harmful", edit)
    assert found == pytest.approx(plain.opening_odds.numpy(), abs=1e-6)
    assert found.tolist() != before.tolist()
    assert meter.first_words("harmful", edit) == [" ".join(answer.split()) for answer in said]
    assert meter.kl("harmful", edit, Edit.ablating(direction.unit)).max() < 1e-6 < kl.min()
    after = refusal_scores(model, tokens).opening_odds.numpy()
    assert after == pytest.approx(before, abs=1e-6)


def everything(meter: Meter, edits: list[Edit]) -> list[object]:
    """Whatever a meter measures, of every edit."""
    found: list[object] = []
    for edit in edits:
        arrays = (meter.scores("harmful", edit), meter.kl("harmful", edit))
        arrays += tuple(meter.text(edit).values())
        found += [array.tolist() for array in (*arrays, meter.answer_kl("harmless", edit))]
        found += [meter.answers("harmless", edit), meter.first_words("harmless", edit)]
    return found


def test_what_was_measured_is_read_back(
    lab: Lab, edits: list[Edit], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cells.jsonl"
    found = everything(meter_on(lab.for_experiment(FileCells(file, "f"))), edits)
    monkeypatch.setattr(Behaviour, "read", ran_again)
    for name in ("answers", "generate", "readout", "continuation_kl"):
        monkeypatch.setattr(
            f"experiments.lab.meter.{name}", lambda *_, **__: pytest.fail("ran again")
        )
    monkeypatch.setattr(Passages, "damage", ran_again)
    assert everything(meter_on(lab.for_experiment(FileCells(file, "f"))), edits) == found


def test_no_whole_answer_is_kept(lab: Lab, edits: list[Edit], tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "experiments.lab.meter.answers", lambda *_, **__: ["one two three " * 5] * 3
    )
    monkeypatch.setattr("experiments.lab.meter.generate", lambda *_, **__: [[77, 78, 79]] * 3)
    file = tmp_path / "cells.jsonl"
    everything(meter_on(lab.for_experiment(FileCells(file, "f"))), edits)
    kept = file.read_text()
    assert "one two three one two three one two" in kept
    assert "one two three one two three one two three" not in kept
    assert "77, 78, 79" not in kept


def test_meters_of_one_experiment_have_names(lab: Lab, edits: list[Edit]) -> None:
    first = meter_on(lab, name="validation")
    second = Meter(lab, {"harmful": lab.harmless_test.texts[:4]}, name="test")
    unnamed = Meter(lab, {"harmful": lab.harmless_test.texts[:4]})
    openings = [m.scores("harmful", edits[1]).tolist() for m in (first, second, unnamed)]
    assert openings[0] != openings[1] == openings[2]


def test_only_a_shared_meter_serves_other_experiments(
    lab: Lab, edits: list[Edit], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = meter_on(lab, shared=True).scores("harmful", edits[1])
    monkeypatch.setattr(Behaviour, "read", ran_again)
    other = lab.for_experiment(MemoryCells())
    again = meter_on(other, shared=True).scores("harmful", edits[1])
    assert np.array_equal(again, found)
    with pytest.raises(pytest.fail.Exception, match="ran again"):
        meter_on(lab.for_experiment(MemoryCells())).scores("harmful", edits[1])


def test_damage_needs_passages_and_placements(lab: Lab, meter: Meter, direction: Direction) -> None:
    bare = Meter(lab, meter.prompts)
    with pytest.raises(ExperimentError, match="no passages"):
        bare.text(Edit.ablating(direction.unit))
    in_weights = Edit.orthogonalising(direction.unit)
    with pytest.raises(ExperimentError, match="'orthogonalised' edits weights"):
        meter.answer_kl("harmless", in_weights)
    with pytest.raises(ExperimentError, match="'orthogonalised' edits weights"):
        meter.text(in_weights)
