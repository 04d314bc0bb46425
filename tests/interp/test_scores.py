"""Scores against plain recomputation, their algebra, and the pinned agreement with readers."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from interp import generation, scores
from interp.data import sets as data
from interp.data.refusal_labels import labels
from interp.errors import AssetError, DataError, PromptError
from interp.prompts import tokenise
from interp.refusal_classifier import ANSWER_CLASSES, classify

PROMPTS = ["Name a river", "Tell me how tides work, please", "Hi"]
SPLITS = ("development", "held_out", "fresh")
AGREEMENT = [
    # model, split, agreed on refused against not, agreed on all five classes, answers
    ("qwen2.5-coder-0.5b", "development", 91, 91, 91),
    ("qwen2.5-coder-0.5b", "held_out", 90, 89, 91),
    ("qwen2.5-coder-0.5b", "fresh", 63, 63, 64),
    ("qwen2.5-coder-1.5b", "development", 51, 51, 51),
    ("qwen2.5-coder-1.5b", "held_out", 49, 49, 49),
    ("smollm2-135m", "development", 53, 51, 53),
    ("smollm2-135m", "held_out", 45, 45, 45),
]
LOGITS = arrays(np.float64, 7, elements=st.floats(-30, 30))


def full_log_prob(model, prompt_ids, continuation):
    """log p(continuation | prompt) from one plain forward over the whole sequence."""
    ids = torch.tensor([[*prompt_ids, *continuation]])
    with torch.inference_mode():
        log_probs = model.hf(input_ids=ids).logits[0].double().log_softmax(-1)
    start = len(prompt_ids) - 1
    return torch.stack([log_probs[start + i, t] for i, t in enumerate(continuation)]).sum()


def prompt_ids(tokens, row):
    return [*tokens.prefix.tolist(), *tokens.ids[row][tokens.mask[row].bool()].tolist()]


def test_openings_score_equals_plain_recomputation(tiny_model):
    tokens = tokenise(tiny_model, PROMPTS)
    found = scores.refusal_scores(tiny_model, tokens)
    refusal, compliance = scores.opening_tokens(tiny_model)
    for row in range(len(PROMPTS)):
        ids = prompt_ids(tokens, row)
        probability = [
            torch.stack([full_log_prob(tiny_model, ids, opening).exp() for opening in group]).sum()
            for group in (refusal, compliance)
        ]
        expected = torch.log(probability[0]) - torch.log(probability[1])
        odds = torch.log(probability[0] + 1e-8) - torch.log(1 - probability[0] + 1e-8)
        torch.testing.assert_close(found.openings[row], expected, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(found.opening_odds[row], odds, atol=1e-4, rtol=1e-5)


def test_readout_holds_next_token_log_probabilities(tiny_model):
    tokens = tokenise(tiny_model, PROMPTS)
    found = scores.refusal_scores(tiny_model, tokens)
    assert found.log_probs.exp().sum(1).numpy() == pytest.approx(np.ones(3), abs=1e-5)
    assert found.openings.dtype == torch.float64


def test_openings_do_not_begin_with_one_another():
    texts = [*scores.REFUSAL_OPENINGS, *scores.COMPLIANCE_OPENINGS]
    assert len(scores.REFUSAL_OPENINGS) == len(scores.COMPLIANCE_OPENINGS) == 5
    assert not [(a, b) for a in texts for b in texts if a != b and b.startswith(a)]


def test_openings_that_share_their_tokens_are_refused(tiny_model, monkeypatch):
    monkeypatch.setattr(scores, "COMPLIANCE_OPENINGS", ("Sure", "Surely"))
    with pytest.raises(PromptError, match="'Surely' begins with 'Sure'"):
        scores.opening_tokens(tiny_model)


def test_openings_score_of_known_probabilities():
    continuations = torch.tensor([[0.2, 0.1, 0.1], [0.0, 0.1, 0.4]]).log()
    expected = torch.tensor([np.log(3.0), np.log(0.25)], dtype=torch.float64)
    torch.testing.assert_close(scores.openings_score(continuations, 2), expected)
    odds = scores.opening_odds(continuations[:, :2])
    assert odds.tolist() == pytest.approx([np.log(3 / 7), np.log(1 / 9)], abs=1e-6)
    for n_refusal in (0, 3):
        with pytest.raises(DataError, match="both kinds"):
            scores.openings_score(continuations, n_refusal)


@settings(deadline=None)
@given(LOGITS, st.sets(st.integers(0, 6), min_size=1, max_size=6))
def test_log_odds_inverts_the_sigmoid(logits, ids):
    log_probs = torch.tensor(logits).log_softmax(0)[None]
    probability = log_probs[0, list(ids)].exp().sum()
    found = scores.log_odds(log_probs, sorted(ids))
    assert float(torch.sigmoid(found)[0]) == pytest.approx(float(probability), abs=3e-8)


def test_log_odds_are_finite_and_bounded_at_certainty():
    log_probs = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    found = scores.log_odds(log_probs, [0])
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([18.42068, -18.42068], abs=1e-4)


@settings(deadline=None)
@given(LOGITS, LOGITS)
def test_kl_is_not_negative_and_matches_its_definition(first, second):
    p, q = torch.tensor(first).softmax(0), torch.tensor(second).softmax(0)
    found = float(scores.kl_divergence(p.log(), q.log()))
    assert found >= 0
    assert found == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-9)


@settings(deadline=None)
@given(LOGITS, st.integers(0, 6), st.floats(0.01, 5))
def test_kl_is_zero_only_for_equal_distributions(logits, index, shift):
    log_probs = torch.tensor(logits).clamp(-5, 5).log_softmax(0)
    changed = log_probs.clone()
    changed[index] += shift
    assert float(scores.kl_divergence(log_probs, log_probs)) == 0
    assert float(scores.kl_divergence(log_probs, changed)) > 0


def test_kl_at_tokens_of_probability_zero():
    point, even = torch.tensor([0.0, -torch.inf]), torch.tensor([0.5, 0.5]).log()
    assert float(scores.kl_divergence(point, even)) == pytest.approx(np.log(2))
    assert float(scores.kl_divergence(even, point)) == np.inf
    assert float(scores.kl_divergence(point, point)) == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.booleans())
def test_auroc_equals_sklearn(seed, n, rounded):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(n) < rng.integers(1, n))
    values = rng.normal(size=n) + positive
    values = values.round() if rounded else values
    assert scores.auroc(values, positive) == pytest.approx(roc_auc_score(positive, values))


def test_one_class_and_bad_scores_are_errors():
    with pytest.raises(DataError, match="Both classes"):
        scores.auroc(np.array([1.0, 2.0]), np.array([True, True]))
    with pytest.raises(DataError, match="finite"):
        scores.auroc(np.array([1.0, np.nan]), np.array([True, False]))


def test_answers_are_decoded_in_prompt_order(tiny_model):
    tokens = tokenise(tiny_model, PROMPTS)
    together = generation.answers(tiny_model, tokens, max_new_tokens=5)
    alone = [generation.answers(tiny_model, tokens[[i]], max_new_tokens=5)[0] for i in range(3)]
    assert together == alone
    assert all(isinstance(answer, str) for answer in together)


@pytest.mark.parametrize(("model", "split", "binary", "classes", "n"), AGREEMENT)
def test_agreement_with_blind_labels_is_as_measured(model, split, binary, classes, n):
    rows = [row for row in labels(split) if row.model == model]
    found = [classify(row.first_words) for row in rows]
    same = [f == row.label for f, row in zip(found, rows, strict=True)]
    refused = [(f == "refused") == (r.label == "refused") for f, r in zip(found, rows, strict=True)]
    assert (sum(refused), sum(same), len(rows)) == (binary, classes, n)


def test_labels_are_well_formed():
    rows = labels()
    assert {row.label for row in rows} == set(ANSWER_CLASSES)
    assert {row.condition for row in rows} == {"base", "ablated", "added"}
    assert all(0 < len(row.first_words.split()) <= 20 for row in rows)
    prompts = {split: {r.prompt_id for r in labels(split)} for split in SPLITS}
    assert not prompts["development"] & (prompts["held_out"] | prompts["fresh"])


def test_accuracy_of_a_labelled_model():
    found = scores.classifier_accuracy("qwen2.5-coder-0.5b")
    assert found["low"] < found["value"] < found["high"] <= 1
    assert found["n"] == sum(
        n
        for model, split, _, _, n in AGREEMENT
        if model == "qwen2.5-coder-0.5b" and split != "development"
    )


def test_accuracy_of_an_unlabelled_model_is_an_error():
    with pytest.raises(DataError, match=r"No answers of llama .* qwen2.5-coder-0.5b"):
        scores.classifier_accuracy("llama")


def test_out_of_domain_accuracy_counts_refused_against_not(monkeypatch):
    texts = [("I'm sorry, I can't.", True), ("Sure, here you are.", False), ("Blue.", True)]
    responses = tuple(data.LabelledResponse("", text, refused) for text, refused in texts)
    monkeypatch.setattr(data, "refusal_responses", lambda: responses)
    found = scores.classifier_accuracy(scores.OUT_OF_DOMAIN)
    assert (found["value"], found["n"]) == (pytest.approx(2 / 3), 3)
    assert (found["precision"], found["recall"]) == (1, 0.5)


def test_out_of_domain_accuracy_is_as_measured():
    try:
        responses = data.refusal_responses(offline=True)
    except AssetError:
        pytest.skip("the advbench asset is not cached")
    agreed = [(classify(r.response) == "refused") == r.refused for r in responses]
    assert (sum(agreed), len(agreed)) == (120, 169)
