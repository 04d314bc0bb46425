"""Prompts and what follows them as one row of tokens, without padding and each token once.

A pack holds the prefix that all prompts share, then every prompt's own tokens, each followed by
the tree of its continuations. What sees what is kept beside the row: a token sees the prefix, its
own prompt up to itself, and in the tree the path that leads to it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.prompts import Tokens

PREFIX_OFFSET = -1_000_000
"""Offset given to prefix tokens: before any position that can be named."""


@dataclass(frozen=True)
class PrefixTree:
    """The proper prefixes of several continuations, each token run once.

    tokens: one id per node. ancestors: for every node, the nodes on its path, itself last.
    following: for every node, the continuations that go on from there, each with its next token.
    """

    tokens: tuple[int, ...] = ()
    ancestors: tuple[tuple[int, ...], ...] = ()
    following: tuple[tuple[tuple[int, int], ...], ...] = ()

    @property
    def depths(self) -> list[int]:
        """Offset of every node after the prompt; 0 for a first token."""
        return [len(path) - 1 for path in self.ancestors]


EMPTY_TREE = PrefixTree()


def prefix_tree(continuations: Sequence[Sequence[int]]) -> PrefixTree:
    """Merge what continuations have in common: `I'm sorry` and `I cannot` share their `I`."""
    nodes: dict[tuple[int, ...], int] = {}
    following: list[list[tuple[int, int]]] = []
    for index, continuation in enumerate(continuations):
        for step in range(1, len(continuation)):
            begun = tuple(continuation[:step])
            if begun not in nodes:
                nodes[begun] = len(nodes)
                following.append([])
            following[nodes[begun]].append((index, continuation[step]))
    paths = [tuple(nodes[begun[: n + 1]] for n in range(len(begun))) for begun in nodes]
    tokens = tuple(begun[-1] for begun in nodes)
    return PrefixTree(tokens, tuple(paths), tuple(tuple(pairs) for pairs in following))


@dataclass(frozen=True, eq=False)
class Pack:
    """One row of tokens with the places of its prompts in it.

    positions: of each token in its own sequence, prefix included. offsets: from the end of its
    prompt, -1 for the last token, 0 for the first that follows, PREFIX_OFFSET in the prefix.
    slots: where each prompt's own tokens and nodes stand in the row, padded with -1. sees: which
    slot sees which. last: where each prompt's last token stands. nodes: where its nodes stand.
    """

    ids: Int[Tensor, " token"]
    positions: Int[Tensor, " token"]
    offsets: Int[Tensor, " token"]
    n_prefix: int
    slots: Int[Tensor, "sample slot"]
    sees: Bool[Tensor, "sample slot slot"]
    last: Int[Tensor, " sample"]
    nodes: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, offset: int) -> Int[Tensor, " sample"]:
        """Where the token at a negative offset from each prompt's end stands in the row."""
        return self.last + 1 + offset

    def sequences(self, every_end: bool = False) -> list[Int[Tensor, " token"]]:
        """Where each whole sequence stands: prefix, prompt and one path to a leaf of its tree.

        With `every_end` also those that end at an inner node or with the prompt, after the longer
        ones that they begin.
        """
        found = []
        for row, slots in enumerate(self.slots):
            own = slots[slots >= 0]
            sees = self.sees[row, : len(own), : len(own)]
            # A leaf is seen by itself alone.
            ends = own >= self.last[row] if every_end else sees.sum(0) == 1
            for end in ends.nonzero()[:, 0].flip(0).tolist():
                found.append(torch.cat([torch.arange(self.n_prefix), own[sees[end]]]))
        return found

    @cached_property
    def key(self) -> bytes:
        """Names the contents: two packs with the same key give the same states."""
        digest = hashlib.sha256(str((self.n_prefix, self.slots.shape)).encode())
        for part in (self.ids, self.positions, self.slots, self.sees):
            digest.update(part.numpy().tobytes())
        return digest.digest()


def pack(tokens: Tokens, trees: Sequence[PrefixTree] | None = None) -> Pack:
    """The prompts in one row, each followed by its tree of continuations if any are given."""
    trees = [EMPTY_TREE] * len(tokens) if trees is None else trees
    n_prefix = len(tokens.prefix)
    ids = tokens.prefix.tolist()
    positions = list(range(n_prefix))
    offsets = [PREFIX_OFFSET] * n_prefix
    slots, last, nodes = [], [], []
    for row, length, tree in zip(tokens.ids.tolist(), tokens.lengths.tolist(), trees, strict=True):
        start = len(ids)
        ids += [*row[len(row) - length :], *tree.tokens]
        depths = [*range(-length, 0), *tree.depths]
        offsets += depths
        positions += [n_prefix + length + depth for depth in depths]
        slots.append(torch.arange(start, len(ids)))
        last.append(start + length - 1)
        nodes.append(tuple(range(start + length, len(ids))))
    padded = torch.nn.utils.rnn.pad_sequence(slots, batch_first=True, padding_value=-1)
    return Pack(
        torch.tensor(ids),
        torch.tensor(positions),
        torch.tensor(offsets),
        n_prefix,
        padded,
        visible_slots(padded.shape[1], tokens.lengths.tolist(), trees),
        torch.tensor(last),
        tuple(nodes),
    )


def visible_slots(
    width: int, lengths: Sequence[int], trees: Sequence[PrefixTree]
) -> Bool[Tensor, "sample slot slot"]:
    """Which slot of a prompt sees which: causal in the prompt, its own path in the tree."""
    sees = torch.ones(width, width, dtype=torch.bool).tril().repeat(len(lengths), 1, 1)
    for row, (length, tree) in enumerate(zip(lengths, trees, strict=True)):
        sees[row, :, length + len(tree.tokens) :] = False
        for node, path in enumerate(tree.ancestors):
            sees[row, length + node, length:] = False
            sees[row, length + node, [length + other for other in path]] = True
    return sees
