"""From final states to logits."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.engine.fingerprint import Fingerprint, fingerprint

if TYPE_CHECKING:
    from interp.models import LoadedModel


@dataclass(eq=False)
class KeptHead:
    """A matrix in float32, made again when the matrix has changed."""

    _made_of: Fingerprint | None = None
    _matrix: Tensor | None = None

    def of(self, head: Float[Tensor, "vocab d_model"]) -> Float[Tensor, "vocab d_model"]:
        """The matrix in float32; itself if it is that already."""
        if head.dtype == torch.float32:
            return head
        found = fingerprint([head])
        if self._matrix is None or found != self._made_of:
            self._made_of, self._matrix = found, head.float()
        return self._matrix


def unembed(
    model: "LoadedModel", states: Float[Tensor, "*batch d_model"], exact: bool = False
) -> Float[Tensor, "*batch vocab"]:
    """Logits in float32. `exact` also sums in float32: bf16 logits are only good to .06."""
    head = model.exact_head if exact else model.head
    bias = None if model.unembedding.bias is None else model.unembedding.bias.to(head.dtype)
    with bf16_factors() if exact and model.dtype == torch.bfloat16 else nullcontext():
        # A slice that is not contiguous would be multiplied state by state.
        rows = states.to(head.dtype).contiguous()
        logits = torch.nn.functional.linear(rows, head, bias).float()
    cap = model.logit_cap
    return logits if cap is None else cap * torch.tanh(logits / cap)


@contextmanager
def bf16_factors() -> Iterator[None]:
    """Let oneDNN round the factors of float32 products to bf16, but not their sums.

    Where the factors are bf16 numbers to begin with nothing is lost, and processors that multiply
    bf16 natively take a third of the time.
    """
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before
