"""Load a chat model by name into a TransformerLens bridge, and check that its hooks mean what
the rest of this library takes them to mean.

A name is a registered model, a hub id, a folder, a `.gguf` file, or `tiny-random`; which files it
stands for is known to `interp.assets.folders`. Only safetensors and GGUF are read.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.assets.checkpoints import quiet_transformers, read_folder
from interp.assets.folders import model_folder, read_identity, short_name
from interp.assets.tiny import TINY_RANDOM, TINY_SHA256, tiny_huggingface, tiny_sha256
from interp.engine.fingerprint import Fingerprint, fingerprint
from interp.engine.head import KeptHead
from interp.engine.self_check import self_check
from interp.engine.user_hooks import UserHooks
from interp.errors import ModelError, raised_as

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ModelInfo:
    """What a result must record about its model. `random` weights show mechanics, no findings."""

    name: str
    sha256: str
    dtype: str
    device: str
    quantisation: str | None
    tied: bool
    n_layers: int
    d_model: int
    context: int
    has_mid: bool
    has_template: bool
    family: str
    random: bool = False


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A TransformerLens bridge with its tokenizer and what is known about it."""

    bridge: TransformerBridge
    tokenizer: Any
    info: ModelInfo
    _weights: Fingerprint | None = None
    _kept_head: KeptHead = field(default_factory=KeptHead)

    @property
    def hf(self) -> Any:
        """The Hugging Face model inside the bridge; its blocks are the bridge's hooked blocks."""
        return self.bridge.original_model

    @property
    def sha256(self) -> str:
        """What identifies the weights; empty if that is unknown or they were changed in place, and
        while the user has hooks on the model."""
        unchanged = fingerprint(list(self.hf.parameters())) == self._weights
        hooked = UserHooks(self.bridge, self.hf).present()
        return self.info.sha256 if unchanged and not hooked else ""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.info.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.info.d_model

    @property
    def device(self) -> torch.device:
        """Where tokens have to be."""
        return self.head.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.head.dtype

    @property
    def unembedding(self) -> torch.nn.Linear:
        """The model's own head (the bridge's wrapper around it claims a bias of zeros)."""
        return self.hf.get_output_embeddings().original_component

    @property
    def head(self) -> Float[Tensor, "vocab d_model"]:
        """Unembedding matrix."""
        return self.unembedding.weight

    @property
    def exact_head(self) -> Float[Tensor, "vocab d_model"]:
        """The unembedding matrix in float32, kept: converting it costs more than using it."""
        return self._kept_head.of(self.head)

    @property
    def logit_cap(self) -> float | None:
        """Soft cap on the logits (Gemma 2), cap * tanh(logits / cap)."""
        return getattr(self.hf.config, "final_logit_softcapping", None)

    @property
    def end_tokens(self) -> set[int]:
        """Token ids that end an answer: of the tokenizer and of the model's own config."""
        generation = getattr(self.hf, "generation_config", None)
        listed = (
            self.tokenizer.eos_token_id,
            self.hf.config.eos_token_id,
            getattr(generation, "eos_token_id", None),
        )
        flat = [i for ids in listed for i in (ids if isinstance(ids, list) else [ids])]
        return {int(i) for i in flat if i is not None}


def load(
    name: str, *, dtype: str = "auto", device: str = "auto", offline: bool = False
) -> LoadedModel:
    """Load a model and check it.

    `dtype` is auto, float32 or bfloat16; auto takes bfloat16 where the processor multiplies it
    natively. Raises ModelError for an unknown name (with the nearest registered one), an unknown
    dtype, a device that is not there, a broken file, or a model whose residual identities do not
    hold.
    """
    target, precision = device_and_dtype(name, device, dtype)
    is_tiny = name == TINY_RANDOM
    if is_tiny:
        hf_model, tokenizer = tiny_huggingface(dtype=precision)
        identity = {"sha256": TINY_SHA256, "quantisation": None}
    else:
        folder = model_folder(name, offline=offline)
        with quiet_transformers():
            tokenizer, hf_model = read_folder(folder, name, precision)
        identity = read_identity(folder)
    hf_model = hf_model.to(target)
    advice = "Its architecture is unknown to TransformerLens, or a file of it is damaged."
    with raised_as(ModelError, f"'{name}' cannot be run", f"{advice} Choose another model."):
        return from_huggingface(
            hf_model,
            tokenizer,
            name=short_name(name),
            sha256=identity["sha256"],
            quantisation=identity["quantisation"],
            random=is_tiny,
        )


def tiny_random_model(family: str = "llama", n_layers: int = 4, **options: Any) -> LoadedModel:
    """A seeded random model of width 32, booted and self-checked; options of `tiny_huggingface`."""
    hf_model, tokenizer = tiny_huggingface(family, n_layers, **options)
    sha256 = tiny_sha256(family, n_layers, **options)
    return from_huggingface(hf_model, tokenizer, TINY_RANDOM, sha256, random=True)


def from_huggingface(
    hf_model: Any,
    tokenizer: Any,
    name: str,
    sha256: str = "",
    quantisation: str | None = None,
    random: bool = False,
) -> LoadedModel:
    """Boot the bridge around a loaded Hugging Face model and run the self-check.

    The bridge is used raw: folding norms and centring weights would change the geometry.
    """
    if not hf_model.config.architectures:
        hf_model.config.architectures = [type(hf_model).__name__]
    dtype, device = hf_model.dtype, hf_model.device
    with quiet_transformers():
        bridge = TransformerBridge.boot_transformers(
            hf_model.config.name_or_path or name,
            hf_model=hf_model,
            tokenizer=tokenizer,
            dtype=dtype,
            device=str(device),
        )
    return wrap(bridge, name, sha256=sha256, quantisation=quantisation, random=random)


def wrap(
    bridge: TransformerBridge,
    name: str | None = None,
    *,
    sha256: str = "",
    quantisation: str | None = None,
    random: bool = False,
) -> LoadedModel:
    """A bridge that you have booted, ready for every function of this library.

    Raises ModelError for a bridge whose weights were processed (`enable_compatibility_mode` folds
    norms and centres weights), and for a model whose residual identities do not hold.
    """
    if getattr(bridge, "compatibility_mode", False):
        raise ModelError(
            "This bridge is in compatibility mode: its norms are folded and its weights centred, "
            "which changes the geometry. Boot it anew without enable_compatibility_mode()."
        )
    tokenizer, hf_model = bridge.tokenizer, bridge.original_model
    hf_model.eval().requires_grad_(False)
    config, head = hf_model.config, hf_model.get_output_embeddings().weight
    info = ModelInfo(
        name=name or short_name(config.name_or_path or config.model_type),
        sha256=sha256,
        dtype=str(head.dtype).removeprefix("torch."),
        device=str(head.device),
        quantisation=quantisation,
        tied=head.data_ptr() == hf_model.get_input_embeddings().weight.data_ptr(),
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        context=config.max_position_embeddings,
        has_mid="blocks.0.hook_resid_mid" in bridge.hook_dict,
        has_template=bool(getattr(tokenizer, "chat_template", None)),
        family=config.model_type,
        random=random,
    )
    model = LoadedModel(bridge, tokenizer, info, fingerprint(list(hf_model.parameters())))
    self_check(model)
    return model


def device_and_dtype(name: str, device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """What `load` puts the model `name` on and in, known without loading it.

    With `auto` the tiny random model is on the processor in float32, the same on every machine.
    """
    if name == TINY_RANDOM:
        device = "cpu" if device == "auto" else device
        dtype = "float32" if dtype == "auto" else dtype
    target = choose_device(device)
    return target, choose_dtype(dtype, target)


def choose_device(device: str) -> torch.device:
    """The device asked for, or with `auto` CUDA, then MPS, then CPU.

    Raises ModelError for a device that this machine, or its build of torch, does not have.
    """
    if device != "auto":
        advice = "Expected auto, cpu, cuda, cuda:N or mps."
        with raised_as(ModelError, f"'{device}' is not a device of this machine", advice):
            return torch.empty(0, device=device).device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype asked for; `auto` is bfloat16 where the hardware multiplies it natively."""
    if dtype in DTYPES:
        return DTYPES[dtype]
    if dtype != "auto":
        raise ModelError(f"'{dtype}' is not a dtype; expected auto, {' or '.join(DTYPES)}.")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32
