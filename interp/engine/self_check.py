"""Do the hooks of a model mean what the rest of this library takes them to mean?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from interp.assets.checkpoints import quiet_transformers
from interp.engine.head import unembed
from interp.errors import ModelError

if TYPE_CHECKING:
    from interp.models import LoadedModel

IDENTITY_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


@torch.inference_mode()
def self_check(model: "LoadedModel") -> None:
    """Check pre + attn_out = mid, mid + mlp_out = post = next pre, and logits = head(body).

    Architectures with residual multipliers or hidden norms fail here, by name, instead of giving
    interventions that quietly mean something else. Raises ModelError for them, and for weights that
    are neither float32 nor bfloat16.
    """
    if model.dtype not in IDENTITY_TOLERANCE:
        raise ModelError(
            f"{model.info.name} is in {model.info.dtype}; expected float32 or bfloat16. Load it "
            "in one of them."
        )
    ids = torch.arange(3, 11, device=model.device)[None] % model.head.shape[0]
    with quiet_transformers():
        logits, cache = model.bridge.run_with_cache(ids, names_filter=is_residual_hook)
        body = model.hf.base_model(input_ids=ids, use_cache=False).last_hidden_state
    tolerance = IDENTITY_TOLERANCE[model.dtype]
    for identity, expected, found in residual_identities(model, cache):
        check_identity(model, identity, expected, found, tolerance)
    check_identity(model, "logits = head(body)", unembed(model, body), logits.float(), tolerance)


def is_residual_hook(name: str) -> bool:
    """Whether a hook point reads the residual stream or what a block adds to it."""
    return name.startswith("blocks.") and (
        ".hook_resid_" in name or name.endswith(("hook_attn_out", "hook_mlp_out"))
    )


def residual_identities(model: "LoadedModel", cache: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, expected and found value of every identity of every layer."""
    for layer in range(model.n_layers):
        block = f"blocks.{layer}"
        pre, post = cache[f"{block}.hook_resid_pre"], cache[f"{block}.hook_resid_post"]
        attention, mlp = cache[f"{block}.hook_attn_out"], cache[f"{block}.hook_mlp_out"]
        if model.info.has_mid:
            mid = cache[f"{block}.hook_resid_mid"]
            yield f"{block}: pre + attn_out = mid", pre.float() + attention.float(), mid
            yield f"{block}: mid + mlp_out = post", mid.float() + mlp.float(), post
        else:
            total = pre.float() + attention.float() + mlp.float()
            yield f"{block}: pre + attn_out + mlp_out = post", total, post
        if layer + 1 < model.n_layers:
            following = cache[f"blocks.{layer + 1}.hook_resid_pre"]
            yield f"{block}: post = next pre", post, following


def check_identity(
    model: "LoadedModel", identity: str, expected: Tensor, found: Tensor, tolerance: float
) -> None:
    """Raise ModelError when the relative error of an identity is above the tolerance, or NaN."""
    scale = found.float().abs().max()
    error = float((expected.float() - found.float()).abs().max() / scale)
    if not error <= tolerance:
        raise ModelError(
            f"{model.info.name} ({model.info.family}) fails the residual self-check: '{identity}' "
            f"is off by {error:.2g} of the largest value, expected at most {tolerance:g}. Its "
            "blocks are not plain residual additions (or its weights are damaged), so directions "
            "and interventions would not mean what they say. Choose another model."
        )
