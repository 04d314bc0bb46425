"""A direction as files that other programs read: safetensors, llama.cpp, Hugging Face.

Every function writes whole or not at all. A LoRA is written by `interp.exports.adapters`.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from interp.assets.checkpoints import quiet_transformers
from interp.assets.files import replace_file, replace_folder
from interp.directions import Direction
from interp.errors import ActivationError, ModelError
from interp.models import LoadedModel
from interp.sites import Site
from interp.weights import orthogonalised, published_tensors

CONTROL_VECTOR = "controlvector"
# What llama.cpp calls a family of transformers, where leaving out underscores does not give it.
LLAMA_CPP_NAMES = {
    "gemma3_text": "gemma3",
    "gpt_oss": "gpt-oss",
    "mistral": "llama",
    "mixtral": "llama",
    "phi": "phi2",
}


def write_vector(path: Path, direction: Direction) -> None:
    """Write one tensor `direction`, float32 [d_model], of unit length, with its facts as metadata.

    The metadata are text: site, norm (of the raw vector, in units of the residual stream), model
    and method; what is not known is left out.
    """
    known = {
        "site": str(direction.site) if direction.site else "",
        "norm": repr(direction.norm),
        "model": direction.provenance.get("model", ""),
        "method": direction.method,
    }
    metadata = {name: value for name, value in known.items() if value}
    tensors = {"direction": direction.unit.float().contiguous()}
    replace_file(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def control_vector_site(direction: Direction, n_layers: int) -> Site:
    """The `post` site at which llama.cpp adds the control vector of a direction.

    It adds `direction.N` to what leaves block N, counted from 0, and reads N from 1 to n_layers - 1
    (llama.cpp: common_control_vector_load, llama_adapter_cvec). What enters block L leaves block
    L - 1; a `mid` state is no end of a block, so its direction goes to the end of its own. Raises
    ActivationError for a direction without a site, or one that would need another N.
    """
    site = direction.site
    if site is None:
        raise ActivationError(
            "This direction has no site of its own, so a control vector cannot say where it is "
            "added. Take a direction from a site, or export it --to safetensors."
        )
    layer = site.layer - (site.stream == "pre")
    if not 1 <= layer < n_layers:
        raise ActivationError(
            f"A direction of {site} cannot be a control vector of a model of {n_layers} blocks: "
            f"llama.cpp adds at the end of blocks 1 to {n_layers - 1}, and this is the end of "
            f"block {layer}. Take a direction from a deeper site of this model, or export --to hf."
        )
    return Site(layer, "post")


def llama_cpp_name(family: str) -> str:
    """The architecture of llama.cpp for a `model_type` of transformers.

    Raises ModelError where it has none of that name.
    """
    name = LLAMA_CPP_NAMES.get(family, family.replace("_", ""))
    if name not in gguf.MODEL_ARCH_NAMES.values():
        raise ModelError(
            f"llama.cpp has no architecture for the family '{family}' (looked for '{name}'), so it "
            "reads no control vector for it. Export --to hf or --to peft."
        )
    return name


def write_control_vector(path: Path, direction: Direction, n_layers: int, family: str) -> Site:
    """Write a control vector of llama.cpp, and return the site at which it is added.

    One tensor `direction.N`, float32 [d_model]: the raw vector, so that scale 1 is `add(1.0)`.
    Raises as `control_vector_site` and `llama_cpp_name` do.
    """
    site = control_vector_site(direction, n_layers)
    name = llama_cpp_name(family)
    vector = direction.vector.float().numpy()

    def write(temporary: Path) -> None:
        """The whole file, to a path that is renamed when it is done."""
        writer = gguf.GGUFWriter(temporary, CONTROL_VECTOR)
        writer.add_string(f"{CONTROL_VECTOR}.model_hint", name)
        writer.add_int32(f"{CONTROL_VECTOR}.layer_count", n_layers - 1)
        writer.add_tensor(f"direction.{site.layer}", np.ascontiguousarray(vector))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    replace_file(path, write)
    return site


def write_huggingface(folder: Path, model: LoadedModel, direction: Direction) -> None:
    """Write the model without the direction as a folder that transformers loads by itself.

    In the dtype in which it is loaded, with tokenizer and chat template. A head that shares the
    embedding's matrix gets one of its own. Raises ModelError as `orthogonalised` does.
    """
    with orthogonalised(model, direction.unit[None]), replace_folder(folder) as temporary:
        save_plain(temporary, plain_model(model), model.tokenizer)


def save_plain(folder: Path, *parts: Any) -> None:
    """Write a Hugging Face model, and its tokenizer if that is given, into an existing folder."""
    with quiet_transformers():
        for part in parts:
            part.save_pretrained(folder)


def plain_model(model: LoadedModel) -> Any:
    """The Hugging Face model as it now is, without a bridge; the weights are shared, not copied.

    It is tied if its head and its embedding are one matrix. For writing files: buffers that files
    do not hold, such as rotary frequencies, are empty.
    """
    config = _plain_config(model)
    with torch.device("meta"):
        empty = type(model.hf)(config)
    return with_weights(empty, published_tensors(model), model.hf.generation_config)


def with_weights(empty: Any, tensors: Mapping[str, Tensor], generation_config: Any) -> Any:
    """A Hugging Face model that was made without weights, with those of its names; not copied."""
    empty.load_state_dict({name: tensors[name] for name in empty.state_dict()}, assign=True)
    empty.generation_config = copy.deepcopy(generation_config)
    empty.tie_weights()
    return empty.eval()


def _plain_config(model: LoadedModel) -> Any:
    """A copy of the configuration that says nothing of packed weights or of a folder of yours."""
    config = copy.deepcopy(model.hf.config)
    config.name_or_path = model.info.name
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model.hf).__name__]
    embedding = model.hf.get_input_embeddings().weight
    for part in (config, config.get_text_config()):
        part.tie_word_embeddings = model.head.data_ptr() == embedding.data_ptr()
    return config
