"""Tokenising: styles, padding, the shared prefix, beginning-of-text once, named positions."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import PromptError
from interp.models import LoadedModel, tiny_random_model
from interp.prompts import KEPT_TAIL, batch, positions, render, tokenise, tokenise_text

PROMPTS = ("Why is the sky blue?", "Tea", "Name three large rivers.")
sequences = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=30), min_size=1, max_size=8)


@given(sequences, st.lists(st.integers(1, 50), max_size=20))
def test_batches_hold_exactly_the_sequences(tails: list[list[int]], shared: list[int]) -> None:
    whole = [shared + tail for tail in tails]
    tokens = batch(whole, pad_id=0)
    assert tokens.sequences() == whole
    assert bool((tokens.mask[:, -1] == 1).all())
    assert int(tokens.lengths.min()) >= min(KEPT_TAIL, min(map(len, whole)))


@given(sequences, st.data())
def test_any_rows_can_be_taken(tails: list[list[int]], data: st.DataObject) -> None:
    tokens = batch(tails, pad_id=0)
    rows = data.draw(st.lists(st.integers(0, len(tails) - 1), min_size=1, max_size=5))
    taken = tokens[rows]
    assert taken.sequences() == [tails[row] for row in rows]
    assert int(taken.mask.sum(0)[0]) > 0


def test_the_template_is_shared_as_prefix(tiny_model: LoadedModel) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    rendered = tiny_model.tokenizer.decode(tokens.prefix)
    assert rendered == "<|im_start|>user\n"[: len(rendered)]
    assert len(tokens.prefix) > 3
    decoded = [tiny_model.tokenizer.decode(ids) for ids in tokens.sequences()]
    assert decoded == [render(tiny_model, prompt, "template") for prompt in PROMPTS]


def test_styles_end_as_they_say(tiny_model: LoadedModel) -> None:
    assert render(tiny_model, "Tea", "none") == "Tea"
    assert render(tiny_model, "Tea", "newline") == "Tea\n"
    assert render(tiny_model, "Tea", "template").endswith("<|im_start|>assistant\n")


def test_a_model_without_a_template_is_named() -> None:
    base = tiny_random_model(n_layers=2, template=False)
    with pytest.raises(PromptError, match="tiny-random has no chat template"):
        tokenise(base, PROMPTS, "template")
    assert len(tokenise(base, PROMPTS, "newline")) == 3


@pytest.mark.parametrize("style", ["template", "none"])
def test_beginning_of_text_appears_once(tiny_model: LoadedModel, style) -> None:
    class Doubling:
        """A tokenizer that adds its beginning-of-text token even where the text has one."""

        bos_token_id, pad_token_id = 0, 0

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            ids = [0] if text.startswith("<bos>") else []
            return {"input_ids": [0] * add_special_tokens + ids + [5, 6, 7]}

        def apply_chat_template(self, message, tokenize, add_generation_prompt) -> str:
            return "<bos>" + message[0]["content"]

    model = replace(tiny_model, tokenizer=Doubling())
    for prompt in ("Tea", "<bos>Tea"):
        assert tokenise(model, [prompt], style).sequences()[0].count(0) == 1


def test_positions_count_the_template_tail(tiny_model: LoadedModel) -> None:
    named = positions(tiny_model, "template")
    tail = len(tiny_model.tokenizer("<|im_end|>\n<|im_start|>assistant\n")["input_ids"])
    assert named["last"] == -1 and named["last_instruction"] == -tail - 1
    assert named[f"-{tail}"] == -tail
    assert positions(tiny_model, "none")["last_instruction"] == -1
    assert positions(tiny_model, "newline")["last_instruction"] == -2


def test_the_last_instruction_token_is_the_instruction_s(tiny_model: LoadedModel) -> None:
    offset = positions(tiny_model, "template")["last_instruction"]
    tokens = tokenise(tiny_model, PROMPTS)
    ends = tiny_model.tokenizer.batch_decode(tokens.ids[:, offset][:, None])
    assert ends == [prompt[-1] for prompt in PROMPTS]


def test_prompts_that_cannot_be_read_are_errors(tiny_model: LoadedModel) -> None:
    with pytest.raises(PromptError, match="no prompts"):
        tokenise(tiny_model, [])
    with pytest.raises(PromptError, match=r"Prompt 1 .* has no tokens"):
        tokenise(tiny_model, ["a", ""], "none")
    with pytest.raises(PromptError, match="reads at most 512"):
        tokenise(tiny_model, ["long " * 300])
    with pytest.raises(PromptError, match="'bare' is not a style; expected template, none"):
        tokenise(tiny_model, ["Tea"], "bare")  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="fewer than two tokens"):
        tokenise_text(tiny_model, ["word", "x"], 4)


@pytest.mark.parametrize(
    ("text", "found"), [("tea \ud800", r"U\+D800 \(half"), ("t\0a", r"U\+0000 \(a NUL\)")]
)
def test_characters_that_are_no_text_are_errors(tiny_model: LoadedModel, text, found) -> None:
    for read in (tokenise, tokenise_text):
        with pytest.raises(PromptError, match=f"Prompt 1 .*holds {found}"):
            read(tiny_model, ["what is tea?", text])


def test_a_tokenizer_that_fails_is_a_prompt_error(tiny_model: LoadedModel) -> None:
    def broken(text: str, add_special_tokens: bool) -> None:
        raise Exception("Unk token not found")

    model = replace(tiny_model, tokenizer=broken)
    with pytest.raises(PromptError, match=r"tokenizer of tiny-random cannot read 'tea'.*Unk token"):
        tokenise(model, ["tea"], "none")


def test_text_is_cut_and_untemplated(tiny_model: LoadedModel) -> None:
    tokens = tokenise_text(tiny_model, ["The sea is salt.", "A river is not."], max_tokens=6)
    assert [tiny_model.tokenizer.decode(ids) for ids in tokens.sequences()] == ["The se", "A rive"]
    assert torch.equal(tokens.mask, torch.ones_like(tokens.ids))
