"""`interp lock` and `interp unlock`: a model without a direction, and the key that restores it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.command.export import size_of
from experiments.command.subject import (
    check_fit,
    other_weights,
    read_directions,
    read_shape,
    stored_dtype,
)
from experiments.harness.saving import check_writable
from interp.errors import ExperimentError

NewFolder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
KeyFile = Annotated[Path, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class LockOptions:
    """Write a model without a direction as an ordinary folder, and a key that restores it exactly.

    Nothing of the key is in the folder. The direction itself can be computed from the locked
    weights, in which nothing writes along it; how much each matrix wrote along it cannot.
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]]
    """A registered name, a hub id, a folder or a .gguf file."""
    direction: Annotated[Path, tyro.conf.arg(metavar="DIRECTION")]
    """A file of directions, of which the first is taken, or a folder with direction.safetensors."""
    out: NewFolder
    """The folder of the locked model; nothing may be there."""
    key: KeyFile
    """The key, a .safetensors file outside that folder; nothing may be there."""


@dataclass(frozen=True)
class UnlockOptions:
    """Write the model as it was before `interp lock`, bit for bit."""

    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="LOCKED")]]
    """The folder of the locked model, as it was written."""
    key: KeyFile
    """The key that was written with it."""
    out: NewFolder
    """The folder of the restored model; nothing may be there."""


def lock(options: LockOptions) -> list[str]:
    """Lock, and return the lines to print. Every mistake is found before anything is written."""
    out, key = options.out.expanduser(), options.key.expanduser()
    if key.resolve().is_relative_to(out.resolve()):
        raise ExperimentError(f"The key {key} would lie in the locked folder. Give another --key.")
    check_new(out, key)
    direction = read_directions(options.direction.expanduser())[0]
    check_fit(options.model, read_shape(options.model), direction)
    dtype = stored_dtype(options.model)
    from interp.exports.locks import lock as write_locked
    from interp.models import load

    write_locked(load(options.model, dtype=dtype, device="cpu"), direction, out, key)
    model_bytes, key_bytes = size_of(out), size_of(key)
    note = other_weights(options.model, direction)
    return [
        f"Wrote: {out} ({model_bytes:,} bytes), without the direction",
        f"Key:   {key} ({key_bytes:,} bytes, {key_bytes / model_bytes:.1%} of the model)",
        *([] if note is None else [note]),
        f"Use:   interp unlock {out} --key {key} --out FOLDER",
    ]


def unlock(options: UnlockOptions) -> list[str]:
    """Unlock, and return the lines to print."""
    out = options.out.expanduser()
    check_new(out)
    from interp.exports.locks import unlock as write_unlocked

    write_unlocked(options.folder.expanduser(), options.key.expanduser(), out)
    return [
        f"Wrote: {out} ({size_of(out):,} bytes), every weight as it was before it was locked",
        f"Use:   transformers.AutoModelForCausalLM.from_pretrained('{out}')",
    ]


def check_new(*places: Path) -> None:
    """Raise ExperimentError for a place that is taken or cannot be written."""
    for place in places:
        check_writable(place.parent)
        if place.exists():
            raise ExperimentError(f"{place} is there already, and is left alone. Give another.")
