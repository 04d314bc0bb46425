"""Answers under interventions, token by token on stored keys and values."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.engine.attention import Stored
from interp.engine.batching import in_batches
from interp.engine.body import Body
from interp.engine.packing import pack
from interp.interventions import Placement
from interp.models import LoadedModel, unembed
from interp.predict import check_placements
from interp.prompts import Prompts, Tokens, tokens_of

ROWS_PER_BATCH = 64
KEPT_WHILE = 0.75  # finished answers are dropped from a batch when fewer than this share go on

Choose = Callable[[Float[Tensor, "sample vocab"]], Int[Tensor, " sample"]]


def greedy(logits: Float[Tensor, "sample vocab"]) -> Int[Tensor, " sample"]:
    """The likeliest token of each row."""
    return logits.argmax(-1)


def sampler(temperature: float, seed: int) -> Choose:
    """Draws from softmax(logits / temperature) with a generator of its own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: Float[Tensor, "sample vocab"]) -> Int[Tensor, " sample"]:
        """One token per row."""
        probabilities = (logits / temperature).softmax(-1).cpu()
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    return draw


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
    `progress` is called with the number of answers finished, whenever some are.
    """
    tokens = tokens_of(model, prompts)
    check_placements(tokens, edits)
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
    """Greedy answers as text, without special tokens; 24 tokens or more are classified reliably."""
    generated = generate(model, prompts, edits, max_new_tokens=max_new_tokens)
    return [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in generated]


class Sequences(Protocol):
    """Sequences that grow by a token at a time; `states` are the final ones of the last tokens."""

    states: Float[Tensor, "sample d_model"]

    def grow(self, ids: Int[Tensor, " sample"], rows: Int[Tensor, " row"]) -> None:
        """Take up one token per sequence, then go on with the given rows only."""


class Cached:
    """Growing on stored keys and values."""

    def __init__(self, body: Body, tokens: Tokens, room: int):
        self.body, row = body, pack(tokens)
        self.stored = Stored(row, room, body.model.dtype, body.model.device)
        self.states = body.fill(row, self.stored)[row.last]

    def grow(self, ids: Int[Tensor, " sample"], rows: Int[Tensor, " row"]) -> None:
        """See `Sequences`."""
        if len(rows) < len(ids):
            self.stored.select(rows)
        self.states = self.body.step(ids[rows], self.stored)


class Recomputed:
    """Growing by running every sequence anew, where passes are plain."""

    def __init__(self, body: Body, tokens: Tokens, room: int):
        self.body, self.tokens, self.n_grown = body, tokens, 0
        self._run()

    def _run(self) -> None:
        row = pack(self.tokens)
        row = replace(row, offsets=row.offsets + self.n_grown)
        self.states = self.body.run(row)[row.last]

    def grow(self, ids: Int[Tensor, " sample"], rows: Int[Tensor, " row"]) -> None:
        """See `Sequences`."""
        grown = torch.cat([self.tokens.ids, ids[:, None]], dim=1)
        mask = torch.nn.functional.pad(self.tokens.mask, (0, 1), value=1)
        self.tokens = Tokens(self.tokens.prefix, grown, mask)[rows]
        self.n_grown += 1
        self._run()


def complete(
    model: LoadedModel,
    sequences: Sequences,
    max_new_tokens: int,
    min_new_tokens: int,
    choose: Choose,
    progress: Callable[[int], None] | None,
) -> list[list[int]]:
    """Grow sequences until all have ended or are long enough; their new tokens."""
    ends = torch.tensor(sorted(model.end_tokens))
    places = torch.arange(len(sequences.states))  # which answer each sequence under way belongs to
    answers: list[list[int]] = [[] for _ in places]
    running = torch.ones(len(places), dtype=torch.bool)
    for step in range(max_new_tokens):
        logits = unembed(model, sequences.states)
        if step < min_new_tokens:
            logits[:, ends.to(logits.device)] = float("-inf")
        chosen = choose(logits).cpu()
        before = int(running.sum())
        running = running & ~torch.isin(chosen, ends)
        for row in running.nonzero()[:, 0].tolist():
            answers[places[row]].append(int(chosen[row]))
        left = int(running.sum())
        if progress is not None and left < before:
            progress(before - left)
        if not left or step + 1 == max_new_tokens:
            break
        kept = running if left < KEPT_WHILE * len(running) else torch.ones_like(running)
        rows = kept.nonzero()[:, 0]
        sequences.grow(chosen, rows)
        places, running = places[rows], running[rows]
    if progress is not None and running.any():
        progress(int(running.sum()))
    return answers
