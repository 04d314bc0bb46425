"""Weight orthogonalisation: take a subspace out of every matrix that writes to the residual stream.

With U the orthonormal rows of the subspace, each writer W (embedding, position embedding, attention
output, MLP output) and each of their biases b becomes W - W U^T U and b - b U^T U, with W written
as [inputs, d_model] (Arditi et al. 2024, arXiv 2406.11717, eq. 5). No state of the stream then has
a part in the subspace, so the model computes what ablation at every state computes. This holds
only if the head is not one of the matrices: a head tied to the embedding is untied first.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from interp.engine.body import Body
from interp.engine.packing import pack
from interp.errors import ModelError
from interp.interventions import outside
from interp.models import LoadedModel
from interp.prompts import batch
from interp.sites import everywhere

# Share of a state's norm that rounding may leave in the subspace: weights in bf16 hold 8 bits.
LEFT_IN_SUBSPACE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
ROWS_AT_ONCE = 32768  # of an embedding: bounds the float32 copies of a large vocabulary


@dataclass(frozen=True, eq=False)
class Writer:
    """A parameter whose axis `axis` runs along d_model; `name` is its Hugging Face name."""

    name: str
    module: nn.Module
    attribute: str
    axis: int

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter as it now is."""
        return getattr(self.module, self.attribute)


def residual_writers(model: LoadedModel) -> list[Writer]:
    """Every parameter that writes to the residual stream.

    Raises ModelError, by name, for a model whose writes are normalised after the matrix (Gemma 2
    and 3) or that has no single output matrix per attention and MLP (mixtures of experts).
    """
    bridge = model.bridge
    names = _module_names(model.hf)
    embeddings = [component for component in ("embed", "pos_embed") if hasattr(bridge, component)]
    writers = [w for c in embeddings for w in _writers(model, getattr(bridge, c), names, c)]
    for layer, block in enumerate(bridge.blocks):
        _refuse_norm_after_write(model, layer, block)
        for part, projection in (("attn", "o"), ("mlp", "out")):
            role = f"blocks.{layer}.{part}.{projection}"
            component = getattr(getattr(block, part, None), projection, None)
            writers += _writers(model, component, names, role)
    return writers


def orthogonalised_state(
    model: LoadedModel, basis: Float[Tensor, "k d_model"]
) -> dict[str, Tensor]:
    """The changed parameters by their Hugging Face names; the model is left as it is.

    `basis` has orthonormal rows. A head that shares the embedding's matrix is among them under its
    own name, with its old values: a model that takes this state must not be tied. Raises ModelError
    as `residual_writers` does, and for a basis that is not orthonormal.
    """
    _check_basis(model, basis)
    state = {
        writer.name: _without_subspace(writer.parameter, basis, writer.axis)
        for writer in residual_writers(model)
    }
    head = _original(model.hf.get_output_embeddings())
    embedding = _original(model.hf.get_input_embeddings())
    if head.weight.data_ptr() == embedding.weight.data_ptr():
        state[f"{_module_names(model.hf)[id(head)]}.weight"] = head.weight.detach().clone()
    return state


@contextmanager
def orthogonalised(model: LoadedModel, basis: Float[Tensor, "k d_model"]) -> Iterator[LoadedModel]:
    """The model with orthogonalised weights, its head untied, inside a `with` block only.

    The old parameters are put aside as objects and put back on leaving, also by an exception: they
    are the same to the last bit, and a tied head is tied again. Costs the memory of the changed
    matrices. Raises ModelError as `orthogonalised_state` does, and when the states still have a
    part in the subspace, which says that something else writes to the stream.
    """
    state = orthogonalised_state(model, basis)
    modules = {name: module for module, name in _named_modules(model.hf)}
    targets = [(modules[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in state]
    originals = [getattr(module, attribute) for module, attribute in targets]
    try:
        for (module, attribute), values in zip(targets, state.values(), strict=True):
            setattr(module, attribute, nn.Parameter(values, requires_grad=False))
        _check_removed(model, basis)
        yield model
    finally:
        for (module, attribute), original in zip(targets, originals, strict=True):
            setattr(module, attribute, original)


@contextmanager
def adding(
    model: LoadedModel, unit: Float[Tensor, " d_model"], along: Mapping[str, Tensor]
) -> Iterator[LoadedModel]:
    """The model with c u^T added to every writer, inside a `with` block only.

    `along` holds c, a number per input of a writer, by the writer's name. Sums are those of the
    weights' dtype: good enough to try keys, not to restore bits (`interp.exports.keys` does).
    """
    writers = residual_writers(model)
    originals = [writer.parameter for writer in writers]
    try:
        for writer in writers:
            values = _with_added(writer, unit, along[writer.name])
            setattr(writer.module, writer.attribute, nn.Parameter(values, requires_grad=False))
        yield model
    finally:
        for writer, original in zip(writers, originals, strict=True):
            setattr(writer.module, writer.attribute, original)


def _with_added(writer: Writer, unit: Tensor, along: Tensor) -> Tensor:
    weight = writer.parameter.detach().movedim(writer.axis, -1)
    rows = weight.reshape(-1, len(unit))
    both = (part.to(rows.device, rows.dtype) for part in (along[:, None], unit))
    return torch.addcmul(rows, *both).reshape(weight.shape).movedim(-1, writer.axis)


def published_tensors(model: LoadedModel) -> dict[str, Tensor]:
    """Every parameter and saved buffer by its Hugging Face name; a tied head has the embedding's.

    The tensors are the model's own: without the bridge's wrappers, not copied.
    """
    found: dict[str, Tensor] = {}
    for module, name in _named_modules(model.hf):
        own: dict[str, Tensor | None] = {**module._parameters, **module._buffers}
        for key, tensor in own.items():
            if tensor is not None and key not in module._non_persistent_buffers_set:
                found[f"{name}.{key}" if name else key] = tensor
    return found


def _original(module: Any) -> Any:
    """The Hugging Face module inside a bridge component; any other module is itself."""
    while getattr(module, "original_component", None) is not None:
        module = module.original_component
    return module


def _named_modules(module: Any, name: str = "") -> Iterator[tuple[nn.Module, str]]:
    """Hugging Face modules and their own names: the bridge has put its wrappers in between."""
    original = _original(module)
    yield original, name
    for key, child in original.named_children():
        yield from _named_modules(child, f"{name}.{key}" if name else key)


def _module_names(hf_model: Any) -> dict[int, str]:
    return {id(module): name for module, name in _named_modules(hf_model)}


def _refuse_norm_after_write(model: LoadedModel, layer: int, block: Any) -> None:
    for norm in ("ln1_post", "ln2_post"):
        if hasattr(block, norm):
            raise ModelError(
                f"{model.info.name} ({model.info.family}) cannot be orthogonalised: in block "
                f"{layer} the norm {norm} follows the output matrix, and its gain writes the "
                "direction back. "
                "Ablate the direction at every site instead."
            )


def _writers(model: LoadedModel, component: Any, names: dict[int, str], role: str) -> list[Writer]:
    """Weight and bias of one component, each with the axis along which it writes."""
    module = _original(component)
    if isinstance(module, nn.Embedding):
        weight_axis = 1
    elif isinstance(module, nn.Linear):
        weight_axis = 0
    elif isinstance(module, Conv1D):  # GPT-2 keeps its matrices as [in, out]
        weight_axis = 1
    else:
        kind = "nothing" if module is None else type(module).__name__
        raise ModelError(
            f"{model.info.name} ({model.info.family}) cannot be orthogonalised: {role} is {kind}, "
            "expected an embedding or a linear map (a mixture of experts has none). Ablate the "
            "direction at every site instead."
        )
    if module.weight.shape[weight_axis] != model.d_model:
        raise ModelError(
            f"{model.info.name} ({model.info.family}) cannot be orthogonalised: {role} writes "
            f"{module.weight.shape[weight_axis]} numbers, expected {model.d_model} (d_model)."
        )
    name = names[id(module)]
    writers = [Writer(f"{name}.weight", module, "weight", weight_axis)]
    if getattr(module, "bias", None) is not None:
        writers.append(Writer(f"{name}.bias", module, "bias", 0))
    return writers


@torch.no_grad()
def written_along(writer: Writer, unit: Float[Tensor, " d_model"]) -> Float[Tensor, " inputs"]:
    """How much each input of a writer writes along a unit vector: W u in float32, W [inputs, d]."""
    rows = writer.parameter.detach().movedim(writer.axis, -1).reshape(-1, len(unit))
    along = unit.to(rows.device, torch.float32)
    return torch.cat([part.float() @ along for part in rows.split(ROWS_AT_ONCE)])


def _without_subspace(parameter: Tensor, basis: Tensor, axis: int) -> Tensor:
    """The parameter minus its projection on the basis along one axis, in float32."""
    basis = basis.to(parameter.device, torch.float32)
    rows = parameter.detach().movedim(axis, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    parts = [outside(part.float(), basis) for part in flat.split(ROWS_AT_ONCE)]
    changed = torch.cat([part.to(parameter.dtype) for part in parts]).reshape(rows.shape)
    return changed.movedim(-1, axis).contiguous()


def _check_basis(model: LoadedModel, basis: Float[Tensor, "k d_model"]) -> None:
    expected = torch.eye(len(basis), dtype=torch.float64)
    fits = basis.ndim == 2 and basis.shape[1] == model.d_model
    if not fits or not torch.allclose(_gram(basis), expected, atol=1e-4):
        raise ModelError(
            f"A basis {list(basis.shape)} cannot be taken out of {model.info.name}: expected "
            f"orthonormal rows [k, {model.d_model}]; interp.interventions.ablate makes one."
        )


def _gram(basis: Tensor) -> Tensor:
    rows = basis.detach().cpu().double()
    return rows @ rows.T


@torch.inference_mode()
def _check_removed(model: LoadedModel, basis: Float[Tensor, "k d_model"]) -> None:
    """Run eight tokens and look for the subspace in every state of the stream."""
    sites = everywhere(model.n_layers, model.info.has_mid)
    tokens = batch([[token % model.head.shape[0] for token in range(3, 11)]], pad_id=0)
    row = pack(tokens)
    with Body(model, (), sites) as body:
        body.run(row)
    shares = {
        str(site): float(
            ((h.float() @ basis.to(h.device).float().T).norm(dim=-1) / h.float().norm(dim=-1)).max()
        )
        for site, h in body.read.items()
    }
    worst = max(shares, key=lambda name: shares[name])
    if shares[worst] > LEFT_IN_SUBSPACE[model.dtype]:
        raise ModelError(
            f"{model.info.name} ({model.info.family}) cannot be orthogonalised: "
            f"{shares[worst]:.2g} of the state at {worst} is still in the subspace, so something "
            "besides its output matrices writes to the stream. Ablate the direction at every site "
            "instead."
        )
