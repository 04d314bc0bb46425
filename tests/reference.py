"""A forward pass written out by hand, one unpadded sequence at a time, to judge the fast paths by.

It uses the plain Hugging Face modules without any bridge or hook, and applies a function to the
residual stream where the text of a transformer block says it should be applied.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.sites import Site, Stream

Edits = Mapping[Site, Callable[[Tensor], Tensor]]


@torch.no_grad()
def plain_forward(
    hf_model: Any, ids: list[int], edits: Edits | None = None
) -> tuple[Float[Tensor, "pos vocab"], dict[Site, Float[Tensor, "pos d_model"]]]:
    """Logits of one sequence, and the (edited) residual stream at every site."""
    edits = edits or {}
    states: dict[Site, Tensor] = {}
    body = hf_model.base_model
    gpt2 = hf_model.config.model_type == "gpt2"
    position_ids = torch.arange(len(ids))[None]
    if gpt2:
        h = body.wte(torch.tensor([ids])) + body.wpe(position_ids)
        blocks = body.h
    else:
        h = body.embed_tokens(torch.tensor([ids]))
        blocks = body.layers

    def visit(layer: int, stream: Stream, h: Tensor) -> Tensor:
        site = Site(layer, stream)
        edited = edits[site](h) if site in edits else h
        states[site] = edited[0]
        return edited

    for layer, block in enumerate(blocks):
        h = visit(layer, "pre", h)
        h = visit(layer, "mid", h + attention(body, block, h, position_ids))
        h = visit(layer, "post", h + mlp(block, h))
    final_norm = body.ln_f if gpt2 else body.norm
    return hf_model.lm_head(final_norm(h))[0], states


def attention(body: Any, block: Any, h: Tensor, position_ids: Tensor) -> Tensor:
    """What the attention half of a block adds to the stream."""
    length, window = h.shape[1], getattr(body.config, "sliding_window", None)
    if hasattr(block, "ln_1"):
        return block.attn(block.ln_1(h), attention_mask=None)[0]
    if not hasattr(block, "pre_feedforward_layernorm"):
        rotary = body.rotary_emb(h, position_ids)
        mask = None if window is None else banded_mask(length, window).to(h.dtype)
        return block.self_attn(block.input_layernorm(h), rotary, mask)[0]
    kind = block.self_attn.layer_type
    width = window if kind == "sliding_attention" else length
    rotary = body.rotary_emb(h, position_ids, kind)
    mask = banded_mask(length, width).to(h.dtype)
    out = block.self_attn(block.input_layernorm(h), rotary, mask)[0]
    return block.post_attention_layernorm(out)


def banded_mask(length: int, window: int) -> Float[Tensor, "1 1 pos pos"]:
    """Causal attention to the last `window` tokens, itself included, as an additive mask."""
    distance = torch.arange(length)[:, None] - torch.arange(length)[None]
    allowed = (distance >= 0) & (distance < window)
    return torch.where(allowed, 0.0, float("-inf"))[None, None]


def mlp(block: Any, h: Tensor) -> Tensor:
    """What the MLP half of a block adds to the stream."""
    if hasattr(block, "ln_2"):
        return block.mlp(block.ln_2(h))
    if hasattr(block, "pre_feedforward_layernorm"):
        return block.post_feedforward_layernorm(block.mlp(block.pre_feedforward_layernorm(h)))
    return block.mlp(block.post_attention_layernorm(h))
