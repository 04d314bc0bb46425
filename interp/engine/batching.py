"""Prompts in batches of similar length that fit into memory; halved when they do not."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from interp.errors import ActivationError, is_out_of_memory
from interp.models import LoadedModel
from interp.prompts import Tokens

TOKENS_ON_CPU = 1024  # beyond this a processor's matrix products get no faster
TOKENS_ON_GPU = 16384
FREE_SHARE = 0.25  # of the free memory of a GPU that one pass may take
WORKING_STATES = 40  # a pass holds about this many times d_model numbers per token at once

T = TypeVar("T")


def token_budget(model: LoadedModel) -> int:
    """How many tokens to run in one pass: on a GPU by its free memory."""
    if model.device.type != "cuda":
        return TOKENS_ON_CPU
    free, _ = torch.cuda.mem_get_info(model.device)
    per_token = WORKING_STATES * model.d_model * model.dtype.itemsize
    return max(256, min(TOKENS_ON_GPU, int(FREE_SHARE * free / per_token)))


def batches(tokens: Tokens, budget: int, following: int = 0) -> Iterator[list[int]]:
    """Rows in batches of at most `budget` tokens, shortest first.

    `following` is the number of tokens that each prompt is followed by. A single longer prompt is a
    batch of its own.
    """
    lengths = tokens.lengths.tolist()
    rows: list[int] = []
    used = 0
    for row in tokens.lengths.argsort(stable=True).tolist():
        size = lengths[row] + following
        if rows and used + size > budget:
            yield rows
            rows, used = [], 0
        rows.append(row)
        used += size
    if rows:
        yield rows


def halving(rows: list[int], compute: Callable[[list[int]], T]) -> Iterator[tuple[list[int], T]]:
    """Rows with what is computed of them, in halves of halves if they do not fit into memory.

    Raises ActivationError when a single row does not fit.
    """
    try:
        found = compute(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(rows) == 1:
            raise ActivationError(
                "A single prompt does not fit into memory; use a shorter one, a smaller model or "
                "--dtype bfloat16."
            ) from error
        middle = len(rows) // 2
        yield from halving(rows[:middle], compute)
        yield from halving(rows[middle:], compute)
    else:
        yield rows, found


def in_batches(
    tokens: Tokens, budget: int, compute: Callable[[list[int]], T], following: int = 0
) -> Iterator[tuple[list[int], T]]:
    """Rows and results, batch by batch; see `batches` and `halving`."""
    for rows in batches(tokens, budget, following):
        yield from halving(rows, compute)
