"""A model without a direction that anybody can run, and a key that gives back the very same model.

The locked folder is an ordinary Hugging Face folder of orthogonalised weights and holds nothing of
the key. That is no secret of cryptography. Nothing of the locked model writes along the direction,
so whoever has the weights can compute which one is missing. What they lack is how much each input
of each matrix wrote along it, a number per row. Where head and embedding were one matrix, the head
that is kept whole shows it for the embedding.

Several directions are locked at once, each with a key of its own, and opened apart.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from interp.assets.checkpoints import quiet_transformers, weight_files
from interp.assets.files import replace_folder
from interp.directions import Direction
from interp.errors import ModelError, raised_as
from interp.exports.formats import plain_model, save_plain, with_weights
from interp.exports.keys import Key, put_back, read_key, removed_from, tensors_sha256, write_key
from interp.interventions import ablate, outside
from interp.models import LoadedModel
from interp.weights import orthogonalised, residual_writers, written_along

CONFIG = "config.json"
MOST_LOCKS = 4


def lock(model: LoadedModel, folder: Path, keys: Mapping[Path, Direction]) -> None:
    """Write the model without the directions to a folder, and to each path the key to its own.

    Each key opens its own lock and leaves the others closed, in any order: for every set of locks
    that may be closed beside it, it has a part, so that k locks double its size k - 1 times.
    All is written, or nothing; nothing may be there before. That the keys restore every tensor
    bit for bit is checked before. Raises ModelError as `orthogonalised` and `check_places` do, for
    more than MOST_LOCKS, and for weights that are not bfloat16 or float32; ActivationError for
    directions that lie in the span of the others.
    """
    check_places(folder, list(keys))
    if not 1 <= len(keys) <= MOST_LOCKS:
        raise ModelError(f"{len(keys)} locks at once; expected 1 to {MOST_LOCKS}.")
    directions = list(keys.values())
    every = tuple(range(len(directions)))
    states = {closed: _state(model, directions, closed) for closed in _subsets(every)}
    try:
        with replace_folder(folder) as temporary:
            with _without(model, directions, every):
                save_plain(temporary, plain_model(model), model.tokenizer)
            config = (temporary / CONFIG).read_text()
            for own, path in enumerate(keys):
                parts = [
                    _part(model, directions, closed, own, states, config)
                    for closed in states
                    if own in closed
                ]
                _restored(temporary, parts)
                write_key(path, parts)
    except BaseException:
        for path in keys:
            path.unlink(missing_ok=True)
        raise


def unlock(folder: Path, key: Path, out: Path) -> None:
    """Write the model as it was without this lock to the folder `out`, which may not be there.

    Raises ModelError, before anything is written, for a key that is damaged or of another folder,
    and for a folder whose configuration or weights are not as they were written. The tokenizer's
    files are copied as they are.
    """
    _check_free(out)
    tensors, tied = _restored(folder, read_key(key))
    advice = "Its files are not as `interp lock` wrote them: copy the folder again."
    with quiet_transformers(), raised_as(ModelError, f"{folder} cannot be unlocked", advice):
        hf_model = _assembled(folder, tensors, tied)
    with replace_folder(out) as temporary:
        save_plain(temporary, hf_model)
        for path in sorted(folder.iterdir()):
            is_weight = ".safetensors" in path.name
            if path.is_file() and not is_weight and not (temporary / path.name).exists():
                shutil.copyfile(path, temporary / path.name)


def check_places(folder: Path, keys: Sequence[Path]) -> None:
    """Raise ModelError for a place that is taken, and for a key that would be lost.

    That is one in the locked folder, or of one path with another, however the paths are written.
    """
    _check_free(folder, *keys)
    if len({key.resolve() for key in keys}) < len(keys):
        raise ModelError(
            f"The keys {', '.join(map(str, keys))} are not all different files; give every "
            "direction a key of its own."
        )
    for key in keys:
        if key.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"The key {key} would lie in the locked folder {folder}. Move it out.")


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


Closed = tuple[int, ...]
"""The numbers of the locks that are closed, ascending"""


def _subsets(locks: Closed) -> Iterator[Closed]:
    return chain.from_iterable(combinations(locks, n) for n in range(len(locks) + 1))


@contextmanager
def _without(
    model: LoadedModel, directions: Sequence[Direction], closed: Closed
) -> Iterator[LoadedModel]:
    """The model with these locks closed, inside a `with` block only."""
    with ExitStack() as stack:
        if closed:
            stack.enter_context(orthogonalised(model, _basis(directions, closed)))
        yield model


def _basis(directions: Sequence[Direction], closed: Closed) -> Float[Tensor, "k d_model"]:
    """Orthonormal rows that span the directions of these locks."""
    units = [directions[i].unit for i in closed]
    return ablate(*units).basis if len(units) > 1 else torch.stack(units)


def _state(
    model: LoadedModel, directions: Sequence[Direction], closed: Closed
) -> dict[str, Tensor]:
    """What a file would hold with these locks closed."""
    with _without(model, directions, closed):
        return saved_tensors(plain_model(model))


def _part(
    model: LoadedModel,
    directions: Sequence[Direction],
    closed: Closed,
    own: int,
    states: Mapping[Closed, dict[str, Tensor]],
    config: str,
) -> Key:
    """What opens one lock where these are closed; see the top of `interp.exports.keys`.

    Both states differ along one vector, that part of the direction which the others leave.
    """
    others = tuple(i for i in closed if i != own)
    locked, opened, unit = states[closed], states[others], directions[own].unit
    if others:
        unit = outside(unit.double(), _basis(directions, others).double())
        unit = (unit / unit.norm()).float()
    (head,) = locked.keys() - opened.keys() or ("",)
    with _without(model, directions, others):
        removed = {
            w.name: removed_from(
                opened[w.name], locked[w.name], unit, written_along(w, unit), w.axis
            )
            for w in residual_writers(model)
        }
    return Key(unit, removed, tensors_sha256(locked, config), tensors_sha256(opened), head)


def _restored(folder: Path, key: Sequence[Key]) -> tuple[dict[str, Tensor], bool]:
    """The tensors without this lock, and whether head and embedding are one matrix.

    Raises ModelError unless their sha256 is the one that the key knows.
    """
    tensors, sha256 = _read(folder)
    part = next((part for part in key if part.locked == sha256), None)
    if part is None:
        raise ModelError(
            f"The key does not open {folder}: its weights and configuration have sha256 "
            f"{sha256[:12]}, and the key is for {' or '.join(part.locked[:12] for part in key)}. "
            "Either the key is of another model or direction, or the folder was changed since it "
            "was locked."
        )
    tensors.pop(part.head, None)
    for name, removed in part.removed.items():
        tensors[name] = put_back(tensors[name], part.unit, removed)
    if tensors_sha256(tensors) != part.original:
        raise ModelError(
            f"Unlocking {folder} does not give the original weights, sha256 {part.original[:12]}. "
            "Nothing was written; lock the model again."
        )
    return tensors, bool(part.head)


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
