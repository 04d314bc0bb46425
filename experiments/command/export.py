"""`interp export`: a direction, or the model without it, as files that other programs load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from experiments.command.subject import (
    DirectionPath,
    check_fit,
    load_as_stored,
    model_name,
    other_weights,
    read_directions,
    read_shape,
)
from experiments.harness.run import Name
from experiments.harness.saving import check_writable
from interp.errors import ExperimentError

if TYPE_CHECKING:
    from experiments.command.subject import Shape
    from interp.directions import Direction

MARKS = {"hf": "config.json", "peft": "adapter_config.json"}
"""The formats that are folders, and the file by which such a folder is known"""


@dataclass(frozen=True)
class Options:
    """Write a direction, or its model without it, as files that other programs load.

    DIRECTION is a .safetensors file of directions, or a folder with direction.safetensors; of
    several directions in a file the first is taken.
    """

    direction: DirectionPath
    """A file of directions, or a folder that holds direction.safetensors."""
    to: Literal["safetensors", "gguf", "peft", "hf"]
    """safetensors: one tensor, the unit vector. gguf: a control vector of llama.cpp. peft: a LoRA
    that takes the direction out of the model. hf: the model without it, for transformers."""
    out: Annotated[Path, tyro.conf.arg(metavar="PATH")]
    """The file to write (safetensors, gguf), or the folder (peft, hf)."""
    model: Name = None
    """The direction's model: a registered name, a hub id, a folder or a .gguf file. Default: the
    one that the direction says it is of."""
    force: bool = False
    """Replace what lies at --out: a file, or a folder of the same format."""


def export(options: Options) -> list[str]:
    """Write it, and return the lines to print: what, how large, and how to use it."""
    direction = read_directions(options.direction)[0]
    out = options.out
    check_free(out, options)
    if options.to == "safetensors":
        from interp.exports.formats import write_vector

        write_vector(out, direction)
        return _report(out, [f"Use:   safetensors.torch.load_file('{out}')['direction']"])
    name = model_name(options.model, direction)
    check_not_the_model(out, name)
    shape = read_shape(name)
    check_fit(name, shape, direction)
    lines = WRITERS[options.to](out, name, shape, direction)
    note = other_weights(name, direction)
    return _report(out, lines if note is None else [note, *lines])


def check_free(out: Path, options: Options) -> None:
    """Raise ExperimentError for a place that is taken, unless --force may take it, or is barred."""
    check_writable(out.parent)
    if not out.exists():
        return
    if not options.force:
        raise ExperimentError(f"{out} is there already. Give another --out, or --force.")
    mark = MARKS.get(options.to)
    replaceable = out.is_file() if mark is None else (out / mark).is_file()
    if not replaceable:
        wanted = "a file" if mark is None else f"a folder with {mark}"
        raise ExperimentError(f"{out} is not {wanted}, so --force leaves it alone. Change --out.")


def check_not_the_model(out: Path, name: str) -> None:
    """Raise ExperimentError where the export would replace the model that it is made from."""
    if out.exists() and out == Path(name).expanduser().resolve():
        raise ExperimentError(f"{out} is the model itself. Give another --out.")


def _to_gguf(out: Path, name: str, shape: Shape, direction: Direction) -> list[str]:
    from interp.exports.formats import write_control_vector

    site = write_control_vector(out, direction, shape.n_layers, shape.family)
    lines = [f"Use:   llama-cli -m MODEL.gguf --control-vector {out}"]
    if direction.site is not None and direction.site.stream == "mid":
        lines = [
            f"Note: the direction is of {direction.site}, after attention, but llama.cpp adds "
            f"where a block ends: it is written at {site}, so the MLP of block {site.layer} does "
            "not see it.",
            *lines,
        ]
    return lines


def _to_peft(out: Path, name: str, shape: Shape, direction: Direction) -> list[str]:
    from interp.exports.adapters import write_adapter

    model = load_as_stored(name, shape)
    write_adapter(out, model, direction)
    lines = [f"Use:   peft.PeftModel.from_pretrained(model, '{out}')"]
    if model.info.tied:
        lines = [
            f"Note: do not merge it: the head of {name} shares the embedding's matrix, and merging "
            "would change both. For a merged model export --to hf.",
            *lines,
        ]
    return lines


def _to_huggingface(out: Path, name: str, shape: Shape, direction: Direction) -> list[str]:
    from interp.exports.formats import write_huggingface

    write_huggingface(out, load_as_stored(name, shape), direction)
    return [f"Use:   transformers.AutoModelForCausalLM.from_pretrained('{out}')"]


WRITERS: dict[str, Callable[[Path, str, Shape, Direction], list[str]]] = {
    "gguf": _to_gguf,
    "peft": _to_peft,
    "hf": _to_huggingface,
}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def _report(out: Path, lines: list[str]) -> list[str]:
    return [f"Wrote: {out} ({size_of(out):,} bytes)", *lines]
