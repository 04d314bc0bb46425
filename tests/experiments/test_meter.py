"""The Meter: every quantity is that of the plain function, and every one is a cell."""

import numpy as np
import pytest
import torch

from experiments.lab.cells import FileCells, MemoryCells
from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, FIRST_WORDS, Edit, Meter, share
from experiments.lab.passages import Passages
from interp.directions import Direction, direction_from
from interp.errors import ExperimentError
from interp.generation import answers, generate
from interp.predict import continuation_kl, readout
from interp.prompts import tokenise
from interp.scores import classify, kl_divergence, log_odds, refusal_scores
from interp.sites import Site
from interp.weights import orthogonalised

N_TOKENS = 6
FIRST_TOKENS = [40, 70, 101]


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


def test_scores_are_those_of_the_plain_functions(meter: Meter, edits: list[Edit]) -> None:
    model = meter.lab.model
    tokens = tokenise(model, list(meter.prompts["harmful"]))
    base = refusal_scores(model, tokens)
    for edit in edits:
        plain = refusal_scores(model, tokens, edit.placements)
        found = meter.scores("harmful", edit, kl=True, first_tokens=FIRST_TOKENS)
        assert found.openings.tolist() == plain.openings.tolist()
        assert found.odds.tolist() == plain.opening_odds.tolist()
        assert found.log_odds.tolist() == log_odds(plain.log_probs, FIRST_TOKENS).tolist()
        assert found.kl.tolist() == kl_divergence(base.log_probs, plain.log_probs).tolist()
        assert (found.kl.max() > 0) == (edit is not BASE)


def test_what_was_not_asked_for_is_empty(meter: Meter, edits: list[Edit]) -> None:
    found = meter.scores("harmful", edits[1])
    assert len(found.openings) == len(found.odds) == 4
    assert len(found.kl) == len(found.log_odds) == 0


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
    assert meter.refused("harmless") == share(["refused", "complied", "none"], "refused") == 1 / 3


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
    before = meter.scores("harmful").openings
    assert edit.basis is not None
    with orthogonalised(model, edit.basis):
        plain = refusal_scores(model, tokens)
        said = answers(model, tokens, max_new_tokens=N_TOKENS)
    found = meter.scores("harmful", edit, kl=True)
    assert found.openings.tolist() == plain.openings.tolist() != before.tolist()
    assert meter.first_words("harmful", edit) == [" ".join(answer.split()) for answer in said]
    assert meter.kl("harmful", edit, Edit.ablating(direction.unit)).max() < 1e-6 < found.kl.min()
    assert refusal_scores(model, tokens).openings.tolist() == before.tolist()


def everything(meter: Meter, edits: list[Edit]) -> list[object]:
    """Whatever a meter measures, of every edit."""
    found: list[object] = []
    for edit in edits:
        scores = meter.scores("harmful", edit, kl=True)
        arrays = (scores.openings, scores.kl, meter.kl("harmful", edit), *meter.text(edit).values())
        found += [array.tolist() for array in (*arrays, meter.answer_kl("harmless", edit))]
        found += [meter.answers("harmless", edit), meter.first_words("harmless", edit)]
    return found


def test_what_was_measured_is_read_back(
    lab: Lab, edits: list[Edit], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cells.jsonl"
    found = everything(meter_on(lab.for_experiment(FileCells(file, "f"))), edits)
    for name in ("answers", "generate", "readout", "refusal_scores", "continuation_kl"):
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
    openings = [m.scores("harmful", edits[1]).openings.tolist() for m in (first, second, unnamed)]
    assert openings[0] != openings[1] == openings[2]


def test_only_a_shared_meter_serves_other_experiments(
    lab: Lab, edits: list[Edit], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = meter_on(lab, shared=True).scores("harmful", edits[1])
    monkeypatch.setattr(
        "experiments.lab.meter.refusal_scores", lambda *_, **__: pytest.fail("ran again")
    )
    other = lab.for_experiment(MemoryCells())
    again = meter_on(other, shared=True).scores("harmful", edits[1])
    assert np.array_equal(again.openings, found.openings)
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
