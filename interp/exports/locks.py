"""A model without a direction that anybody can run, and a key that gives back the very same model.

The locked folder is an ordinary Hugging Face folder of orthogonalised weights and holds nothing of
the key. That is no secret of cryptography. Nothing of the locked model writes along the direction,
so whoever has the weights can compute which one is missing. What they lack is how much each input
of each matrix wrote along it, a number per row. Where head and embedding were one matrix, the head
that is kept whole shows it for the embedding.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from interp.assets.checkpoints import quiet_transformers, weight_files
from interp.assets.files import replace_folder
from interp.directions import Direction
from interp.errors import ModelError, raised_as
from interp.exports.formats import plain_model, save_plain, with_weights
from interp.exports.keys import Key, put_back, read_key, removed_from, tensors_sha256, write_key
from interp.models import LoadedModel
from interp.weights import Writer, orthogonalised, residual_writers, written_along

CONFIG = "config.json"


def lock(model: LoadedModel, direction: Direction, folder: Path, key: Path) -> None:
    """Write the model without the direction to a folder, and what restores it to the file `key`.

    Both are written, or neither; neither may be there before. That the key restores every tensor
    bit for bit is checked before. Raises ModelError as `orthogonalised` does, for a place that is
    taken, and for weights that are not bfloat16 or float32.
    """
    _check_free(folder, key)
    original = saved_tensors(plain_model(model))
    writers = residual_writers(model)
    along = {writer.name: written_along(writer, direction.unit) for writer in writers}
    try:
        with orthogonalised(model, direction.unit[None]), replace_folder(folder) as temporary:
            save_plain(temporary, plain_model(model), model.tokenizer)
            made = _make_key(temporary, original, writers, along, direction.unit)
            _restored(temporary, made)
            write_key(key, made)
    except BaseException:
        key.unlink(missing_ok=True)
        raise


def unlock(folder: Path, key: Path, out: Path) -> None:
    """Write the model as it was before `lock` to the folder `out`, which may not be there before.

    Raises ModelError, before anything is written, for a key that is damaged or of another folder,
    and for a folder whose configuration or weights are not as they were written. The tokenizer's
    files are copied as they are.
    """
    _check_free(out)
    opened = read_key(key)
    tensors = _restored(folder, opened)
    advice = "Its files are not as `interp lock` wrote them: copy the folder again."
    with quiet_transformers(), raised_as(ModelError, f"{folder} cannot be unlocked", advice):
        hf_model = _assembled(folder, tensors, tied=bool(opened.head))
    with replace_folder(out) as temporary:
        save_plain(temporary, hf_model)
        for path in sorted(folder.iterdir()):
            is_weight = ".safetensors" in path.name
            if path.is_file() and not is_weight and not (temporary / path.name).exists():
                shutil.copyfile(path, temporary / path.name)


def saved_tensors(hf_model: Any) -> dict[str, Tensor]:
    """What a file of a Hugging Face model holds: a head that is the embedding's matrix is none."""
    tensors = dict(hf_model.state_dict())
    if hf_model.config.tie_word_embeddings:
        del tensors[_weight_name(hf_model, hf_model.get_output_embeddings())]
    return tensors


def _weight_name(hf_model: Any, wanted: Any) -> str:
    return next(f"{name}.weight" for name, part in hf_model.named_modules() if part is wanted)


def _check_free(*places: Path) -> None:
    for place in places:
        if place.exists():
            raise ModelError(f"{place} is there already, and is left alone. Choose another place.")


def _read(folder: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a folder, and one sha256 of them and of the configuration."""
    advice = "Expected the folder that `interp lock` wrote; copy it again."
    with raised_as(ModelError, f"{folder} cannot be read", advice):
        config = (folder / CONFIG).read_text()
        files = weight_files(folder)
        tensors = {name: value for file in files for name, value in load_file(file).items()}
    return tensors, tensors_sha256(tensors, config)


def _make_key(
    folder: Path,
    original: Mapping[str, Tensor],
    writers: list[Writer],
    along: Mapping[str, Tensor],
    unit: Tensor,
) -> Key:
    """The key to a folder that has just been written."""
    locked, sha256 = _read(folder)
    (head,) = locked.keys() - original.keys() or ("",)
    removed = {
        w.name: removed_from(original[w.name], locked[w.name], unit, along[w.name], w.axis)
        for w in writers
    }
    return Key(unit, removed, sha256, tensors_sha256(original), head)


def _restored(folder: Path, key: Key) -> dict[str, Tensor]:
    """The original tensors; raises ModelError unless their sha256 is the one that the key knows."""
    tensors, sha256 = _read(folder)
    if sha256 != key.locked:
        raise ModelError(
            f"The key does not open {folder}: its weights and configuration have sha256 "
            f"{sha256[:12]}, and the key is for {key.locked[:12]}. Either the key is of another "
            "model or direction, or the folder was changed since it was locked."
        )
    tensors.pop(key.head, None)
    for name, removed in key.removed.items():
        tensors[name] = put_back(tensors[name], key.unit, removed)
    if tensors_sha256(tensors) != key.original:
        raise ModelError(
            f"Unlocking {folder} does not give the original weights, sha256 {key.original[:12]}. "
            "Nothing was written; lock the model again."
        )
    return tensors


def _assembled(folder: Path, tensors: dict[str, Tensor], tied: bool) -> Any:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for part in (config, config.get_text_config()):
        part.tie_word_embeddings = tied
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, dtype=config.dtype)
    if tied:
        head, embedding = (
            _weight_name(empty, part)
            for part in (empty.get_output_embeddings(), empty.get_input_embeddings())
        )
        tensors = tensors | {head: tensors[embedding]}
    return with_weights(empty, tensors, GenerationConfig.from_pretrained(folder))
