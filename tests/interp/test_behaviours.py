"""Behaviours: what is asked, how it is scored, and what a file of one has to hold."""

from pathlib import Path

import numpy as np
import pytest
import torch

from interp.behaviours import REGISTERED, Behaviour, behaviour, framed, question_of
from interp.data.prompt_sets import contrast
from interp.errors import DataError, PromptError
from interp.interventions import Add, Placement
from interp.prompts import tokenise
from interp.scores import refusal_scores
from interp.sites import Site

GOOD = ("The soup was hot", "The room was clean", "The staff were kind")
BAD = ("The soup was cold", "The room was dirty", "The staff were rude")
PAIRS = contrast("mood", GOOD, BAD, "", paired=True)


def log_prob(model, prompt: str, opening: str, style: str) -> float:
    """log p(opening | prompt) by a plain forward."""
    tokens = tokenise(model, [prompt], style).sequences()[0]
    ids = model.tokenizer.encode(opening, add_special_tokens=False)
    with torch.inference_mode():
        logits = model.hf(torch.tensor([tokens + ids])).logits.float().log_softmax(-1)[0]
    start = len(tokens) - 1
    return sum(float(logits[start + i, token]) for i, token in enumerate(ids))


@pytest.mark.parametrize("style", ["none", "newline"])
def test_openings_are_scored_as_by_a_plain_forward(tiny_model, style):
    both = Behaviour("mood", PAIRS, (" a", " the one"), (" b", " c"), style=style)
    shown = both.scores(tiny_model, GOOD).numpy()
    openings = (" a", " the one", " b", " c")
    by_hand = [[log_prob(tiny_model, text, one, style) for one in openings] for text in GOOD]
    columns = np.exp(by_hand)
    assert shown == pytest.approx(np.log(columns[:, :2].sum(1) / columns[:, 2:].sum(1)), abs=1e-4)
    alone = (
        Behaviour("mood", PAIRS, (" a", " the one"), style=style).scores(tiny_model, GOOD).numpy()
    )
    p = columns[:, :2].sum(1)
    assert alone == pytest.approx(np.log((p + 1e-8) / (1 - p + 1e-8)), abs=1e-4)


def test_refusal_is_scored_as_everywhere(tiny_model):
    one = Behaviour("refusal", PAIRS, REGISTERED["refusal"]().shows, style="none")
    tokens = tokenise(tiny_model, GOOD, "none")
    assert torch.equal(
        one.scores(tiny_model, GOOD), refusal_scores(tiny_model, tokens).opening_odds
    )


def test_an_edit_changes_the_score(tiny_model):
    one = Behaviour("mood", PAIRS, (" a",), style="none")
    vector = 20 * torch.ones(tiny_model.d_model)
    edit = Placement(Add(vector), (Site(1, "pre"),))
    assert (one.scores(tiny_model, GOOD, [edit]) - one.scores(tiny_model, GOOD)).abs().min() > 1e-3


def test_of_a_choice_the_question_is_asked_and_both_prompts_score_alike(tiny_model):
    stems = ["One or two? Answer:", "Two or one?\nAnswer:"]
    pairs = contrast("choice", [f"{stems[0]} (A)", f"{stems[1]} (B)"],
                     [f"{stems[0]} (B)", f"{stems[1]} (A)"], "", paired=True)  # fmt: skip
    one = Behaviour("choice", pairs, choice=True, style="none")
    assert one.asked(pairs.positive) == one.asked(pairs.negative) == stems
    scores = one.scores(tiny_model, pairs.positive)
    assert torch.equal(scores, one.scores(tiny_model, pairs.negative))
    a, b = ([log_prob(tiny_model, stem, f" ({x})", "none") for stem in stems] for x in "AB")
    by_hand = [a[0] - b[0], b[1] - a[1]]
    assert scores.numpy() == pytest.approx(by_hand, abs=1e-4)
    found = one.validity(tiny_model)
    assert (found.value, found.n) == (float((scores > 0).double().mean()), 2)


def test_under_a_template_an_answer_begins_without_a_space():
    question = question_of("Is it so?\n (A)", "Is it so?\n (B)", "template")
    assert (question.text, question.shows, question.other) == ("Is it so?\n", "(A)", "(B)")


def test_validity_is_the_auroc_of_the_classes(tiny_model):
    from sklearn.metrics import roc_auc_score

    one = Behaviour("mood", PAIRS, (" a",), (" b",), style="none")
    scores = [one.scores(tiny_model, side).numpy() for side in (GOOD, BAD)]
    expected = roc_auc_score([1] * 3 + [0] * 3, np.concatenate(scores))
    found = one.validity(tiny_model)
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    assert one.validity(tiny_model, GOOD[:2], BAD[:2]).value in (0, 0.25, 0.5, 0.75, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shows": ()}, "name openings"),
        ({"choice": True}, "a choice needs pairs"),
        ({"shows": (), "choice": True, "contrast": contrast("x", GOOD, BAD, "")}, "a choice needs"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message):
    given = {"name": "mood", "contrast": PAIRS, "shows": (" a",)} | change
    with pytest.raises(DataError, match=message):
        Behaviour(**given)


def test_what_it_is_measured_by_changes_its_sha256():
    found = [Behaviour("a", PAIRS, (" a",)), Behaviour("a", PAIRS, (" a",), (" b",)),
             Behaviour("a", PAIRS, (" a", " b")),
             Behaviour("a", framed(PAIRS, "-{prompt}"), (" a",)),
             Behaviour("a", PAIRS, choice=True)]  # fmt: skip
    assert len({one.sha256 for one in found}) == len(found)


def test_openings_have_to_exclude_each_other(tiny_model):
    one = Behaviour("mood", PAIRS, (" a",), (" a",), style="none")
    with pytest.raises(PromptError, match="exclude each other"):
        one.scores(tiny_model, GOOD)


@pytest.mark.parametrize(
    "pair", [("Yes", "No"), ("Is it? Yes", "Is it?"), ("Is it? ", "Is it? No")]
)
def test_a_choice_without_a_question_or_an_answer_is_refused(pair):
    with pytest.raises(DataError, match="one question with two answers"):
        question_of(*pair, "none")


def test_a_frame_holds_the_prompt_once():
    assert framed(PAIRS, "<{prompt}>").positive[0] == f"<{GOOD[0]}>"
    for frame in ("none", "{prompt} {prompt}"):
        with pytest.raises(DataError, match=r"holds \{prompt\} once"):
            framed(PAIRS, frame)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Prompt files and a behaviour that is whole."""
    (tmp_path / "good.txt").write_text("\n".join(GOOD))
    (tmp_path / "bad.txt").write_text("\n".join(BAD))
    (tmp_path / "mood.yaml").write_text(
        "positive: good.txt\nnegative: bad.txt\nframe: '{prompt}. It was'\n"
        "shows: [' good']\nothers: [' bad']\nstyle: none\n"
    )
    return tmp_path


def test_a_file_is_read(folder):
    found = behaviour(folder / "mood.yaml")
    assert (found.name, found.style, found.choice) == ("mood", "none", False)
    assert found.contrast.positive == tuple(f"{text}. It was" for text in GOOD)
    assert (found.shows, found.others) == ((" good",), (" bad",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("positive: good.txt", "", "positive is missing"),
        ("positive: good.txt", "positive: [1]", "positive is missing"),
        ("good.txt", "none.txt", "There is no file"),
        ("bad.txt", "good.txt", "are the same"),
        ("shows: [' good']", "", "name openings"),
        ("shows: [' good']", "shows: good", "expected a list of texts"),
        ("shows: [' good']", "shows: [1]", "expected a list of texts"),
        ("shows: [' good']", "shows: ['']", "expected a list of texts"),
        ("style: none", "style: chat", "style is 'chat'"),
        ("style: none", "styel: none", "no key 'styel'.*style"),
        ("style: none", "choice: 1", "choice is 1"),
        ("style: none", "choice: true", "a choice needs"),
        ("style: none", "name: [a]", "name is"),
        ("{prompt}. It was", "It was", r"mood.yaml: frame is .* holds \{prompt\} once"),
        ("positive: good.txt\n", "positive: 'good.txt\n", "is no YAML"),
    ],
)
def test_a_faulty_file_gives_one_error_that_names_the_fault(folder, old, new, message):
    path = folder / "mood.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        behaviour(path)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_without_keys_is_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(DataError, match="holds no keys"):
        behaviour(tmp_path / "x.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    for name in ("nowhere", "x" * 300):
        with pytest.raises(DataError, match=rf"no file .*{name}\.yaml\. Give a \.yaml file"):
            behaviour(tmp_path / f"{name}.yaml")


def test_an_unknown_behaviour_names_the_nearest():
    with pytest.raises(DataError, match="sentiment"):
        behaviour("sentimant")
