"""A model's name to the folder with its files, and to what identifies its weights.

A name is a registered model, a hub id, a folder, a `.gguf` file, or `tiny-random`. A GGUF file is
converted once to a folder in the cache.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interp.assets.cache import cache_root, locked, sha256_file
from interp.assets.checkpoints import weight_files
from interp.assets.fetch import fetch_model_file
from interp.assets.gguf_conversion import convert_gguf
from interp.assets.gguf_header import check_gguf
from interp.assets.hub import fetch_hub_snapshot
from interp.assets.registry import model_asset
from interp.assets.registry import models as registered_models
from interp.assets.tiny import TINY_RANDOM, TINY_SHA256
from interp.data.prompt_sets import unreadable_character
from interp.errors import ModelError, nearest, raised_as


def short_name(name: str) -> str:
    """The name used in results folders: the last part of a path or hub id, without suffix."""
    return name if name in registered_models() else Path(name).name.removesuffix(".gguf").lower()


def identity(name: str, *, offline: bool = False) -> str:
    """The sha256 that identifies a model's weights, without loading them."""
    if name == TINY_RANDOM:
        return TINY_SHA256
    if name in registered_models():
        return model_asset(name).sha256
    path = local_path(name)
    if os.path.isfile(path):
        check_gguf(path)
        return sha256_file(path)
    return read_identity(model_folder(name, offline=offline))["sha256"]


def local_path(name: str) -> Path:
    """Where a name would lie on this machine. Ask os.path about it: Path raises at odd names."""
    if found := unreadable_character(name):
        raise ModelError(f"The name {name!a} holds {found}. Rename the file or folder.")
    return Path(os.path.expanduser(name))


def model_folder(name: str, *, offline: bool = False) -> Path:
    """A folder of safetensors and tokenizer files for any kind of name; converts GGUF once."""
    path = local_path(name)
    if name in registered_models():
        asset = model_asset(name)
        return _converted(name, asset.sha256, lambda: fetch_model_file(name, offline=offline))
    if os.path.isfile(path):
        check_gguf(path)
        return _converted(path.stem, sha256_file(path), lambda: path)
    if os.path.isdir(path):
        return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return fetch_hub_snapshot(name, offline=offline)
    raise unknown_model(name)


def _converted(name: str, sha256: str, file: Callable[[], Path]) -> Path:
    """The folder that a GGUF file of this sha256 was converted to, by one process if by several."""
    folder = cache_root() / "models" / f"{name}-{sha256[:12]}"
    if not folder.is_dir():
        path = file()
        with locked(folder.name, f"The model {name!r}"):
            if not folder.is_dir():  # another process may have been faster
                convert_gguf(path, folder, sha256)
    return folder


def unknown_model(name: str) -> ModelError:
    """The error for a name that is nothing known, with the nearest registered name."""
    known = nearest(name, registered_models())
    return ModelError(
        f"'{name}' is not a registered model, a file or a folder{known} A hub id looks like "
        "owner/name, a file ends in .gguf."
    )


def read_identity(folder: Path) -> dict[str, Any]:
    """sha256 and quantisation of a model folder; a user's own folder is hashed file by file."""
    recorded = folder / "identity.json"
    if recorded.is_file():
        advice = "Remove the file if the folder is yours, else the folder; it is then made again."
        with raised_as(ModelError, f"{recorded} is damaged", advice):
            found = json.loads(recorded.read_text())
            return {name: found[name] for name in ("sha256", "quantisation")}
    weights = weight_files(folder)
    if not weights:
        raise ModelError(
            f"{folder} holds no .safetensors file. Give a folder saved with save_pretrained; "
            "pickled weights (.bin, .pt) are not read, because loading them can run code."
        )
    digest = hashlib.sha256("".join(sha256_file(path) for path in weights).encode())
    return {"sha256": digest.hexdigest(), "quantisation": None}
