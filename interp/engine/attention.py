"""Attention over packs and over stored keys: the part of a pass that knows which token sees which.

Hugging Face attention modules hand their queries, keys and values to the function named in the
config. The one registered here passes them on to the `attend` that the pass was called with, so
that the linear maps of a pass run on one row of tokens without padding. Grouped-query attention
runs on the keys as they are: the heads of a group count as further queries.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from interp.engine.packing import Pack

IMPLEMENTATION = "interp_packed"
"""Name under which transformers knows the function."""

UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Arguments of other families' attention that would change its result, if they were given."""

Rows = Float[Tensor, "sample head slot d_head"]


class Heads(NamedTuple):
    """Queries, keys and values of one row of new tokens."""

    query: Float[Tensor, "1 head token d_head"]
    key: Float[Tensor, "1 kv_head token d_head"]
    value: Float[Tensor, "1 kv_head token d_head"]


class Attend(Protocol):
    """Attention of one row of new tokens, in layer `layer`, in the way that a pass needs it."""

    def __call__(
        self, layer: int, new: Heads, scaling: float, window: int | None
    ) -> Float[Tensor, "1 token head d_head"]: ...


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    attend: Attend,
    scaling: float,
    sliding_window: int | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """What transformers calls in place of its own attention; the mask is a placeholder.

    Raises NotImplementedError for an argument that changes attention in a way unknown here.
    """
    for name in UNSUPPORTED:
        if others.get(name) is not None:
            raise NotImplementedError(f"packed attention does not support `{name}`")
    layer: int = module.layer_idx  # type: ignore[assignment]
    return attend(layer, Heads(query, key, value), scaling, sliding_window), None


AttentionInterface.register(IMPLEMENTATION, packed_attention)


def additive(
    sees: Bool[Tensor, "sample slot key"], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "sample 1 slot key"]:
    """The mask as numbers to add to the scores: 0 where seen.

    Elsewhere the lowest finite number: -inf would make NaN of slots that see nothing (padding).
    """
    mask = torch.zeros(sees.shape, dtype=dtype, device=sees.device)
    return mask.masked_fill(~sees, torch.finfo(dtype).min)[:, None].to(device)


def attention(
    query: Rows,
    key: Rows,
    value: Rows,
    mask: Float[Tensor, "sample 1 slot key"],
    scaling: float,
) -> Rows:
    """softmax(q k^T scaling + mask) v. Grouped queries: head h reads key head h // group size."""
    n, n_heads, width, d_head = query.shape
    groups = n_heads // key.shape[1]
    grouped = query.reshape(n, key.shape[1], groups * width, d_head)
    out = scaled_dot_product_attention(
        grouped, key, value, attn_mask=mask.repeat(1, 1, groups, 1), scale=scaling
    )
    return out.reshape(n, n_heads, width, d_head)


@dataclass(eq=False)
class PackedAttention:
    """Attention within a pack. With `stored` it also keeps every sequence's keys and values."""

    pack: Pack
    dtype: torch.dtype
    device: torch.device
    stored: "Stored | None" = None
    _masks: dict[int | None, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots = self.pack.slots
        queries = slots.clamp_min(0)
        prefix = torch.arange(self.pack.n_prefix).expand(len(slots), -1)
        self._queries = queries.to(self.device)
        self._keys = torch.cat([prefix, queries], dim=1).to(self.device)
        real = (slots >= 0).flatten().nonzero()[:, 0]
        self._places = slots.flatten()[real].to(self.device)
        self._real = real.to(self.device)

    def masks(
        self, window: int | None
    ) -> tuple[Float[Tensor, "1 1 prefix prefix"], Float[Tensor, "sample 1 slot key"]]:
        """For the prefix, and for the slots over prefix and slots."""
        if window not in self._masks:
            pack = self.pack
            prefix = torch.arange(pack.n_prefix)
            positions = pack.positions[pack.slots.clamp_min(0)]
            before = torch.cat([prefix.expand(len(positions), -1), positions], dim=1)
            whole_prefix = torch.ones(*positions.shape, pack.n_prefix, dtype=torch.bool)
            sees = torch.cat([whole_prefix, pack.sees], dim=2)
            causal = prefix[:, None] >= prefix[None]
            if window is not None:
                sees = sees & (positions[:, :, None] - before[:, None] < window)
                causal = causal & (prefix[:, None] - prefix[None] < window)
            pair = (additive(s, self.dtype, self.device) for s in (causal[None], sees))
            self._masks[window] = tuple(pair)
        return self._masks[window]

    def __call__(
        self, layer: int, new: Heads, scaling: float, window: int | None
    ) -> Float[Tensor, "1 token head d_head"]:
        for_prefix, for_slots = self.masks(window)
        keys, values = (rows_of(states, self._keys) for states in (new.key, new.value))
        if self.stored is not None:
            self.stored.keep(layer, keys, values)
        slots = attention(rows_of(new.query, self._queries), keys, values, for_slots, scaling)
        out = torch.empty_like(new.query.transpose(1, 2))
        n_prefix = self.pack.n_prefix
        if n_prefix:
            heads = (states[:, :, :n_prefix] for states in new)
            out[:, :n_prefix] = attention(*heads, for_prefix, scaling).transpose(1, 2)
        out[0, self._places] = slots.transpose(1, 2).flatten(0, 1)[self._real]
        return out


def rows_of(
    states: Float[Tensor, "1 head token d_head"], places: Int[Tensor, "sample slot"]
) -> Rows:
    """The states at the given places of the row, one line per sample."""
    return states[0].transpose(0, 1)[places].transpose(1, 2)


@dataclass(eq=False)
class Stored:
    """Keys and values of every sequence so far, with room for what will be generated.

    Columns: the prefix, each prompt's own slots, then one column per generated token.
    """

    pack: Pack
    room: int
    dtype: torch.dtype
    device: torch.device

    def __post_init__(self) -> None:
        pack = self.pack
        prefix = torch.arange(pack.n_prefix).expand(len(pack.slots), -1)
        own = torch.where(pack.slots >= 0, pack.positions[pack.slots.clamp_min(0)], -1)
        self.n_prompt = pack.n_prefix + pack.slots.shape[1]
        generated = (pack.positions[pack.last] + 1)[:, None] + torch.arange(self.room)
        self.positions = torch.cat([prefix, own, generated], dim=1).to(self.device)
        self.step = -1  # nothing generated yet
        self._masks: dict[int | None, Tensor] = {}
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def keep(self, layer: int, keys: Rows, values: Rows) -> None:
        """Put aside the keys and values of prefix and prompts."""
        for kept, states in ((self.keys, keys), (self.values, values)):
            n, n_heads, _, d_head = states.shape
            kept[layer] = states.new_empty(n, n_heads, self.n_prompt + self.room, d_head)
            kept[layer][:, :, : self.n_prompt] = states

    def advance(self) -> Int[Tensor, " sample"]:
        """Make ready for the next generated token; its position in every sequence."""
        self.step += 1
        self._masks.clear()
        return self.positions[:, self.n_prompt + self.step]

    def select(self, rows: Int[Tensor, " row"]) -> None:
        """Go on with some of the sequences only."""
        rows = rows.to(self.device)
        self.positions = self.positions[rows]
        for kept in (self.keys, self.values):
            for layer in kept:
                kept[layer] = kept[layer][rows]

    def mask(self, window: int | None) -> Float[Tensor, "sample 1 1 key"]:
        """For the token under way, which sees all real tokens so far, itself included."""
        if window not in self._masks:
            positions = self.positions[:, : self.n_prompt + self.step + 1]
            sees = positions >= 0
            if window is not None:
                sees &= positions[:, -1:] - positions < window
            self._masks[window] = additive(sees[:, None], self.dtype, self.device)
        return self._masks[window]

    def __call__(
        self, layer: int, new: Heads, scaling: float, window: int | None
    ) -> Float[Tensor, "1 token head d_head"]:
        column = self.n_prompt + self.step
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, column] = new.key[0].transpose(0, 1)
        values[:, :, column] = new.value[0].transpose(0, 1)
        seen = (states[:, :, : column + 1] for states in (keys, values))
        out = attention(new.query.permute(2, 1, 0, 3), *seen, self.mask(window), scaling)
        return out.permute(2, 0, 1, 3)
