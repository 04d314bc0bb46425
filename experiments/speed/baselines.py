"""The plain ways that the engine is timed against: whole padded batches, logits at every token.

Two of them intervene: `run_with_hooks` of the TransformerLens bridge, and PyTorch hooks on the
modules of a freshly loaded Hugging Face model that no bridge wraps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig

from interp.assets.checkpoints import quiet_transformers, read_folder
from interp.assets.tiny import tiny_huggingface
from interp.errors import ExperimentError
from interp.interventions import Intervention, Placement, compose
from interp.models import LoadedModel
from interp.prompts import Tokens, left_padded, pad_token
from interp.sites import Site
from interp.writes import hooks


@dataclass(frozen=True, eq=False)
class Batch:
    """Whole prompts, left-padded, on the model's device; mask is 1 at tokens and 0 at padding."""

    ids: Int[Tensor, "sample pos"]
    mask: Int[Tensor, "sample pos"]


def plain_batch(model: LoadedModel, tokens: Tokens) -> Batch:
    """The prompts as one batch, each with the prefix that the engine runs only once."""
    ids, mask = left_padded(tokens.sequences(), pad_token(model))
    return Batch(ids.to(model.device), mask.to(model.device))


def model_folder(model: LoadedModel) -> Path | None:
    """The folder that a model was loaded from; None for random weights, which have none."""
    return None if model.info.random else Path(model.hf.config.name_or_path)


def plain_model(model: LoadedModel) -> Any:
    """The same weights once more, as Hugging Face loads them, without a bridge around them."""
    folder = model_folder(model)
    if folder is None:
        return tiny_huggingface(model.info.family, model.n_layers, dtype=model.dtype)[0]
    with quiet_transformers():
        _, plain = read_folder(folder, model.info.name, model.dtype)
    return plain.to(model.device).eval().requires_grad_(False)


def blocks_of(plain: Any) -> Sequence[Any]:
    """The decoder blocks of a Hugging Face model."""
    body = plain.base_model
    for name in ("layers", "h"):
        if hasattr(body, name):
            return list(getattr(body, name))
    raise ExperimentError(
        f"{type(plain).__name__} keeps its blocks neither in `layers` nor in `h`, so the plain "
        "hooks do not know where to write."
    )


@torch.inference_mode()
def body_states(plain: Any, batch: Batch) -> Float[Tensor, "sample pos d_model"]:
    """Final-norm states of a bare forward of the body, without the head."""
    output = plain.base_model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    return output.last_hidden_state


@torch.inference_mode()
def bridge_log_probs(
    model: LoadedModel, batch: Batch, placements: Sequence[Placement]
) -> Float[Tensor, "sample vocab"]:
    """Next-token log probabilities by `run_with_hooks` with the exact writes of the engine."""
    logits = model.bridge.run_with_hooks(
        batch.ids, attention_mask=batch.mask, fwd_hooks=hooks(model, placements)
    )
    return logits[:, -1].float().log_softmax(-1).cpu()


@torch.inference_mode()
def hooked_log_probs(
    plain: Any, batch: Batch, placements: Sequence[Placement]
) -> Float[Tensor, "sample vocab"]:
    """Next-token log probabilities by PyTorch hooks on the modules of the model."""
    with module_hooks(plain, placements):
        output = plain(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    return output.logits[:, -1].float().log_softmax(-1).cpu()


@contextmanager
def module_hooks(plain: Any, placements: Sequence[Placement]) -> Iterator[None]:
    """Writes placements at every token; the hooks are gone afterwards."""
    by_site: dict[Site, list[Intervention]] = {}
    for placement in placements:
        if placement.positions != "all" or placement.sites is None:
            raise ExperimentError("The plain hooks write at named sites and at every token.")
        for site in placement.sites:
            by_site.setdefault(site, []).append(placement.intervention)
    blocks = blocks_of(plain)
    handles = [
        handle
        for site in sorted(by_site)
        for handle in _register(blocks[site.layer], site, compose(*by_site[site]))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _register(block: Any, site: Site, act: Intervention) -> list[Any]:
    if site.stream == "pre":
        return [block.register_forward_pre_hook(lambda _, inputs: (act(inputs[0]), *inputs[1:]))]
    if site.stream == "post":
        return [block.register_forward_hook(lambda _, __, output: _first(output, act))]
    entering: list[Tensor] = []

    def write(_: Any, __: Any, output: Any) -> Any:
        pre = entering.pop().float()
        return _first(output, lambda added: (act(pre + added.float()) - pre).to(added.dtype))

    return [
        block.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0])),
        _attention_output(block).register_forward_hook(write),
    ]


def _first(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Some modules return a state, others a tuple that begins with it."""
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


def _attention_output(block: Any) -> Any:
    """The module whose output is added to the stream as attention: a norm where one follows it."""
    if hasattr(block, "pre_feedforward_layernorm"):
        return block.post_attention_layernorm
    return block.self_attn if hasattr(block, "self_attn") else block.attn


@torch.inference_mode()
def plain_generate(plain: Any, batch: Batch, n_new: int) -> list[list[int]]:
    """Greedy answers of exactly `n_new` tokens by Hugging Face's own `generate`."""
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=n_new,
        min_new_tokens=n_new,
        eos_token_id=plain.config.eos_token_id,
        pad_token_id=0,
    )
    found = plain.generate(batch.ids, attention_mask=batch.mask, generation_config=settings)
    return found[:, batch.ids.shape[1] :].tolist()
