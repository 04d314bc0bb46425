"""Answers under interventions, token by token on stored keys and values."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.engine.batching import in_batches
from interp.engine.body import Body
from interp.engine.sequences import Cached, Choose, Recomputed, complete
from interp.engine.writing import check_placements
from interp.errors import ActivationError, PromptError
from interp.interventions import Placement
from interp.models import LoadedModel
from interp.prompts import Prompts, Tokens, tokens_of

ROWS_PER_BATCH = 64


def greedy(logits: Float[Tensor, "sample vocab"]) -> Int[Tensor, " sample"]:
    """The likeliest token of each row."""
    return logits.argmax(-1)


def sampler(temperature: float, seed: int) -> Choose:
    """Draws from softmax(logits / temperature) with a generator of its own.

    Raises ActivationError for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ActivationError(
            f"The temperature is {temperature}; expected 0 (greedy) or a number above it."
        )
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: Float[Tensor, "sample vocab"]) -> Int[Tensor, " sample"]:
        """One token per row."""
        probabilities = (logits / temperature).softmax(-1).cpu()
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    return draw


def check_room(model: LoadedModel, tokens: Tokens, max_new_tokens: int) -> None:
    """Raise PromptError where the longest prompt leaves no room for so many tokens after it."""
    longest, context = len(tokens.prefix) + int(tokens.lengths.max()), model.info.context
    # The last new token is predicted and not read.
    if longest + max_new_tokens - 1 > context:
        raise PromptError(
            f"A prompt of {longest} tokens and {max_new_tokens} new ones do not fit: "
            f"{model.info.name} reads at most {context}. Shorten the prompt or ask for fewer."
        )


@torch.inference_mode()
def generate(
    model: LoadedModel,
    prompts: Prompts,
    edits: Sequence[Placement] = (),
    *,
    max_new_tokens: int = 32,
    progress: Callable[[int], None] | None = None,
    min_new_tokens: int = 0,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Answers as lists of new token ids, without the end-of-text token.

    Greedy at temperature 0, else sampled with a seed. An answer does not end before
    `min_new_tokens`. Nothing of the model's own generation config applies (no repetition penalty).
    `progress` is called with the number of answers finished, whenever some are. Raises PromptError
    as `tokenise` does, and where an answer would not fit into the context; ActivationError for an
    edit or a temperature that cannot be.
    """
    tokens = tokens_of(model, prompts)
    check_placements(tokens, edits)
    check_room(model, tokens, max_new_tokens)
    choose = greedy if temperature == 0 else sampler(temperature, seed)
    answers: list[list[int]] = [[] for _ in range(len(tokens))]
    with Body(model, edits) as body:

        def compute(rows: list[int]) -> list[list[int]]:
            """Answers to one batch of prompts."""
            sequences = Cached if body.packs else Recomputed
            found = sequences(body, tokens[rows], max_new_tokens)
            return complete(model, found, max_new_tokens, min_new_tokens, choose, progress)

        budget = ROWS_PER_BATCH * int(tokens.lengths.max())
        for rows, found in in_batches(tokens, budget, compute):
            for row, answer in zip(rows, found, strict=True):
                answers[row] = answer
    return answers


def answers(
    model: LoadedModel,
    prompts: Prompts,
    edits: Sequence[Placement] = (),
    *,
    max_new_tokens: int = 32,
) -> list[str]:
    """Greedy answers as text, without special tokens; 24 tokens or more are classified reliably.

    Raises what `generate` raises.
    """
    generated = generate(model, prompts, edits, max_new_tokens=max_new_tokens)
    return [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in generated]
