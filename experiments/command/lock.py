"""`interp lock` and `interp unlock`: a model without a direction, and the key that restores it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from interp.directions import Direction

NewFolder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
Several = tyro.conf.UseAppendAction[tuple[Path, ...]]
KeyFile = Annotated[Path, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class LockOptions:
    """Write a model without a direction as an ordinary folder, and a key that restores it exactly.

    Nothing of the key is in the folder. The direction itself can be computed from the locked
    weights, in which nothing writes along it; how much each matrix wrote along it cannot. Several
    directions, each with a key of its own, are opened apart, in any order.
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]]
    """A registered name, a hub id, a folder or a .gguf file."""
    direction: Annotated[Several, tyro.conf.arg(metavar="DIRECTION")]
    """A file of directions, of which the first is taken, or a folder with direction.safetensors.
    Once for every direction."""
    out: NewFolder
    """The folder of the locked model; nothing may be there."""
    key: Annotated[Several, tyro.conf.arg(metavar="FILE")]
    """The key to it, a .safetensors file outside that folder; nothing may be there. Once for every
    direction, in the same order."""


@dataclass(frozen=True)
class UnlockOptions:
    """Write the model as it was without this lock, bit for bit; other locks stay closed."""

    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="LOCKED")]]
    """The folder of the locked model, as it was written."""
    key: KeyFile
    """The key that was written with it."""
    out: NewFolder
    """The folder of the restored model; nothing may be there."""


def lock(options: LockOptions) -> list[str]:
    """Lock, and return the lines to print. Every mistake is found before anything is written."""
    out = options.out
    keys = keys_of(options, out)
    for place in (out, *keys):
        check_writable(place.parent)
    dtype = stored_dtype(options.model)
    from interp.exports.locks import lock as write_locked
    from interp.models import load

    write_locked(load(options.model, dtype=dtype, device="cpu"), out, keys)
    size = size_of(out)
    sizes = {key: size_of(key) for key in keys}
    notes = [other_weights(options.model, direction) for direction in keys.values()]
    return [
        f"Wrote: {out} ({size:,} bytes), without the direction{'s' if len(keys) > 1 else ''}",
        *(f"Key:   {key} ({n:,} bytes, {n / size:.1%} of the model)" for key, n in sizes.items()),
        *(note for note in notes if note is not None),
        f"Use:   interp unlock {out} --key {next(iter(keys))} --out FOLDER",
    ]


def keys_of(options: LockOptions, out: Path) -> dict[Path, Direction]:
    """The direction of every key.

    Raises ExperimentError where they do not fit together, and ModelError for a place of no use.
    """
    keys = options.key
    if not keys or len(keys) != len(options.direction):
        raise ExperimentError(
            f"{len(options.direction)} directions and {len(keys)} keys: give --key a file of "
            "its own for every direction, in the same order."
        )
    from interp.exports.locks import check_places

    check_places(out, keys)
    shape = read_shape(options.model)
    directions = [read_directions(path)[0] for path in options.direction]
    for direction in directions:
        check_fit(options.model, shape, direction)
    return dict(zip(keys, directions, strict=True))


def unlock(options: UnlockOptions) -> list[str]:
    """Unlock, and return the lines to print."""
    out = options.out
    check_writable(out.parent)
    from interp.exports.locks import unlock as write_unlocked

    write_unlocked(options.folder, options.key, out)
    return [
        f"Wrote: {out} ({size_of(out):,} bytes), every weight as it was without this lock",
        f"Use:   transformers.AutoModelForCausalLM.from_pretrained('{out}')",
    ]
