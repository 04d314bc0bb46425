"""Prompts to tokens, in one place: template style, beginning-of-text once, left padding, mask.

A batch of prompts shares its leading tokens (a chat template's system prompt, say). They are kept
apart as `prefix`, so that they can be computed once per intervention and shared as a cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from interp.data.prompt_sets import unreadable_character
from interp.errors import PromptError, raised_as

if TYPE_CHECKING:
    from interp.models import LoadedModel

Style = Literal["template", "none", "newline"]

# The prefix always leaves this many tokens of every prompt outside, so that the template's last
# tokens and the end of the instruction can be read and written by position.
KEPT_TAIL = 8


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokenised prompts: a shared prefix, then left-padded remainders with their mask.

    The full sequence of row i is `prefix` followed by `ids[i]` where `mask[i]` is 1.
    """

    prefix: Int[Tensor, " prefix"]
    ids: Int[Tensor, "sample pos"]
    mask: Int[Tensor, "sample pos"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> "Tokens":
        """The chosen prompts, with columns that are padding for all of them cut off."""
        mask = self.mask[rows]
        width = int(mask.sum(1).max()) if len(mask) else 0
        columns = slice(self.ids.shape[1] - width, None)
        return Tokens(self.prefix, self.ids[rows][:, columns], mask[:, columns])

    @property
    def lengths(self) -> Int[Tensor, " sample"]:
        """Tokens of each prompt outside the prefix."""
        return self.mask.sum(1)

    def sequences(self) -> list[list[int]]:
        """Every prompt as the plain list of its token ids, prefix included."""
        prefix = self.prefix.tolist()
        rows = zip(self.ids, self.mask, strict=True)
        return [prefix + row[mask.bool()].tolist() for row, mask in rows]


def render(model: "LoadedModel", prompt: str, style: Style) -> str:
    """The text the model sees.

    Raises PromptError for an unknown style, and for `template` when it has none that works.
    """
    if style not in get_args(Style):
        raise PromptError(f"'{style}' is not a style; expected {', '.join(get_args(Style))}.")
    if style == "none":
        return prompt
    if style == "newline":
        return prompt + "\n"
    if not model.info.has_template:
        raise PromptError(
            f"{model.info.name} has no chat template (a base model). Use --style newline or "
            "--style none."
        )
    message = [{"role": "user", "content": prompt}]
    with raised_as(
        PromptError,
        f"The chat template of {model.info.name} cannot be filled in",
        "Use --style newline or --style none, or give the model with a template that is whole.",
    ):
        rendered = model.tokenizer.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True
        )
    return str(rendered)


def encode(model: "LoadedModel", text: str, style: Style) -> list[int]:
    """Token ids with the beginning-of-text token exactly once where the tokenizer uses one.

    A template writes its own special tokens, so none are added to templated text. Raises
    PromptError where the tokenizer fails.
    """
    what = f"The tokenizer of {model.info.name} cannot read {text[:40]!a}"
    with raised_as(PromptError, what, "Its files are damaged: give the model again."):
        ids = model.tokenizer(text, add_special_tokens=style != "template")["input_ids"]
    beginning = model.tokenizer.bos_token_id
    while len(ids) > 1 and ids[0] == ids[1] == beginning:
        ids = ids[1:]
    return list(ids)


def common_prefix_length(sequences: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all sequences share."""
    # Of sequences in lexical order the first and the last differ soonest.
    ordered = sorted(map(list, sequences))
    for index, (first, second) in enumerate(zip(ordered[0], ordered[-1], strict=False)):
        if first != second:
            return index
    return min(map(len, sequences))


def batch(sequences: Sequence[Sequence[int]], pad_id: int) -> Tokens:
    """Split off the shared prefix and left-pad the remainders."""
    kept = min(len(sequence) for sequence in sequences) - KEPT_TAIL
    prefix_length = max(0, min(common_prefix_length(sequences), kept))
    remainders = [list(sequence[prefix_length:]) for sequence in sequences]
    prefix = torch.tensor(list(sequences[0][:prefix_length]), dtype=torch.long)
    return Tokens(prefix, *left_padded(remainders, pad_id))


def left_padded(
    rows: Sequence[list[int]], pad_id: int
) -> tuple[Int[Tensor, "sample pos"], Int[Tensor, "sample pos"]]:
    """Token ids of the rows, padded on the left to the longest, and their mask."""
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    ids = [[pad_id] * pad + row for pad, row in zip(padding, rows, strict=True)]
    mask = [[0] * pad + [1] * len(row) for pad, row in zip(padding, rows, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


def pad_token(model: "LoadedModel") -> int:
    """A token id to pad with; never attended to, so any id will do where none is defined."""
    pad = model.tokenizer.pad_token_id
    return 0 if pad is None else int(pad)


def check_characters(texts: Sequence[str]) -> None:
    """Raise PromptError for a text with a character that no tokenizer takes for text."""
    for number, text in enumerate(texts):
        if found := unreadable_character(text):
            raise PromptError(f"Prompt {number} ({text[:40]!a}) holds {found}. Remove it.")


def tokenise(model: "LoadedModel", prompts: Sequence[str], style: Style = "template") -> Tokens:
    """Tokenise prompts in a style.

    Raises PromptError on an empty list, an unknown style, a character that is no text, a prompt
    without tokens, or one longer than the context.
    """
    if not prompts:
        raise PromptError("There are no prompts to tokenise; expected at least one.")
    check_characters(prompts)
    sequences = [encode(model, render(model, prompt, style), style) for prompt in prompts]
    context = model.info.context
    for number, (prompt, sequence) in enumerate(zip(prompts, sequences, strict=True)):
        if not sequence:
            raise PromptError(f"Prompt {number} ('{prompt[:40]}') has no tokens; remove it.")
        if len(sequence) > context:
            raise PromptError(
                f"Prompt {number} ('{prompt[:40]}...') has {len(sequence)} tokens, but "
                f"{model.info.name} reads at most {context}. Shorten or remove it."
            )
    return batch(sequences, pad_token(model))


def tokenise_text(model: "LoadedModel", texts: Sequence[str], max_tokens: int = 64) -> Tokens:
    """Ordinary text, each cut to its first `max_tokens` tokens and without any template.

    Raises PromptError on an empty list, a character that is no text, or a text of one token.
    """
    if not texts:
        raise PromptError("There is no text to tokenise; expected at least one passage.")
    check_characters(texts)
    sequences = [encode(model, text, "none")[:max_tokens] for text in texts]
    short = sum(len(sequence) < 2 for sequence in sequences)
    if short:
        raise PromptError(
            f"{short} passages have fewer than two tokens; there is nothing to predict."
        )
    return batch(sequences, pad_token(model))


Prompts = Tokens | Sequence[str] | str
"""Tokens, or texts, which are put into the model's chat template if it has one"""


def tokens_of(model: "LoadedModel", prompts: Prompts) -> Tokens:
    """The prompts as tokens; texts in the model's chat template, as they are if it has none.

    Raises PromptError as `tokenise` does.
    """
    if isinstance(prompts, Tokens):
        return prompts
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    return tokenise(model, texts, "template" if model.info.has_template else "none")


def texts_of(model: "LoadedModel", texts: Prompts) -> Tokens:
    """Ordinary text as tokens, see `tokenise_text`."""
    if isinstance(texts, Tokens):
        return texts
    return tokenise_text(model, [texts] if isinstance(texts, str) else list(texts))


def positions(model: "LoadedModel", style: Style = "template") -> dict[str, int]:
    """Named positions as negative offsets from the prompt's end.

    `last` is the last token, `last_instruction` the last one of the user's own text, and `-1`,
    `-2`, ... are the tokens that the style puts after it.
    """
    probes = ("Name a colour", "Explain how tides work")
    sequences = [encode(model, render(model, probe, style), style) for probe in probes]
    tail = common_prefix_length([sequence[::-1] for sequence in sequences])
    named = {"last": -1, "last_instruction": -tail - 1}
    return named | {str(-offset): -offset for offset in range(1, tail + 1)}
