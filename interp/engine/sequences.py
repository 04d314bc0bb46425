"""Sequences that grow by a token at a time: on stored keys and values, or computed anew."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.engine.attention import Stored
from interp.engine.body import Body
from interp.engine.head import unembed
from interp.engine.packing import pack
from interp.models import LoadedModel
from interp.prompts import Tokens

KEPT_WHILE = 0.75  # finished answers are dropped from a batch when fewer than this share go on

Choose = Callable[[Float[Tensor, "sample vocab"]], Int[Tensor, " sample"]]


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
