"""How fast a pass can be at best: the matrix products that no algorithm can skip.

Counted are the linear layers of the blocks and the head, two operations per weight and token; the
products of attention itself, which are small at these lengths, are left out on both sides. The
plain way runs every prompt whole, padded to the longest, with logits at every token. The engine has
to run the shared prefix once, each prompt's own tokens, the blocks from the intervention on, and
the head at one token per prompt. `padded` bounds pad the prompts' own tokens to the longest of the
batch, `packed` ones hold no padding at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from interp.prompts import Tokens


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens: the shared prefix, and what each prompt has beside it."""

    prefix: int
    own: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of prompts."""
        return len(self.own)

    @property
    def plain(self) -> int:
        """Tokens of the whole batch, prefix and padding included."""
        return self.n * (self.prefix + max(self.own))

    @property
    def padded(self) -> int:
        """The prefix once, and the prompts' own tokens padded to the longest."""
        return self.prefix + self.n * max(self.own)

    @property
    def packed(self) -> int:
        """The prefix once, and the prompts' own tokens."""
        return self.prefix + sum(self.own)


@dataclass(frozen=True)
class Cost:
    """Operations per token of one block and of the head, and the number of blocks."""

    block: float
    head: float
    n_layers: int


@dataclass(frozen=True)
class Bounds:
    """The best ratio that the padded and the packed token count allow; NaN where none is known."""

    padded: float = nan
    packed: float = nan


UNKNOWN = Bounds()


def lengths_of(tokens: Tokens) -> Lengths:
    """Token counts of tokenised prompts."""
    return Lengths(len(tokens.prefix), tuple(tokens.lengths.tolist()))


def cost_of(plain: Any, blocks: Sequence[Any]) -> Cost:
    """Operations per token of a Hugging Face model, from the shapes of its own matrices."""
    weights = [w.numel() for block in blocks for w in block.parameters() if w.dim() == 2]
    head = plain.get_output_embeddings().weight.numel()
    return Cost(2 * sum(weights) / len(blocks), 2 * head, len(blocks))


def plain_work(lengths: Lengths, cost: Cost) -> float:
    """Operations of a pass the plain way: every block and the head at every padded token."""
    return lengths.plain * (cost.n_layers * cost.block + cost.head)


def needed_work(n_tokens: int, n_prompts: int, cost: Cost, first_layer: int = 0) -> float:
    """Operations of a pass that cannot be skipped: blocks from one on, the head once a prompt."""
    return n_tokens * (cost.n_layers - first_layer) * cost.block + n_prompts * cost.head


def speed_up_bounds(passes: Sequence[tuple[Lengths, int]], cost: Cost) -> Bounds:
    """How many times faster than the plain way, over passes of (prompts, first layer changed)."""
    plain = sum(plain_work(lengths, cost) for lengths, _ in passes)
    padded = sum(needed_work(x.padded, x.n, cost, first) for x, first in passes)
    packed = sum(needed_work(x.packed, x.n, cost, first) for x, first in passes)
    return Bounds(plain / padded, plain / packed)


def capture_bounds(lengths: Lengths) -> Bounds:
    """Share of the body's time on the whole padded batch; neither side runs the head."""
    return Bounds(lengths.padded / lengths.plain, lengths.packed / lengths.plain)


def generation_bounds(lengths: Lengths, cost: Cost, n_new: int) -> Bounds:
    """Share of the time of plain generation; both sides decode alike, and only prompts differ."""
    body = cost.n_layers * cost.block
    decoding = lengths.n * ((n_new - 1) * body + n_new * cost.head)
    plain = lengths.plain * body + decoding
    return Bounds(
        (lengths.padded * body + decoding) / plain, (lengths.packed * body + decoding) / plain
    )
