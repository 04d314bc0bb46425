"""Options of the command line, parsed by tyro; every mistake in them becomes an ExperimentError."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass, replace
from itertools import takewhile
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from interp.errors import ExperimentError, nearest

TYPES = ConstructorRegistry()


def parse(options: Any, name: str, words: Sequence[str], hint: str = "", **settings: Any) -> Any:
    """Options of the command `name`; prints the help if that is asked for.

    Raises ExperimentError for what cannot be parsed; `hint` ends the one for an unknown option.
    """
    box = io.StringIO()
    program = f"interp {name}"
    try:
        with redirect_stderr(box):
            found, unknown = tyro.cli(
                options,
                args=list(words),
                prog=program,
                registry=TYPES,
                return_unknown_args=True,
                **settings,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ExperimentError(_message(box.getvalue())) from None
    if unknown:
        raise ExperimentError(_unknown(unknown[0], flags_of(found), program, hint))
    return found


def flags_of(options: Any) -> list[str]:
    """Every flag of an instance of the options, those of settings inside it included."""
    found = []
    for field in fields(options):
        value = getattr(options, field.name)
        found += flags_of(value) if is_dataclass(value) else [f"--{field.name.replace('_', '-')}"]
    return found


def _unknown(word: str, flags: Sequence[str], program: str, hint: str) -> str:
    if word.startswith("-"):
        return f"Unknown option '{word}'{nearest(word, flags)}{hint}"
    return f"'{word}' belongs to no option; see {program} --help"


def _message(box: str) -> str:
    """The text in a box that tyro has drawn, up to the first line across, in one line."""
    lines = (line.strip("│ ") for line in box.splitlines()[1:])
    return " ".join(takewhile(lambda line: not line.startswith(("─", "╰")), lines))


@TYPES.primitive_rule
def number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """A word that is no number stays a word: the settings say what they expected, all at once."""
    kind: Callable[[str], Any] = info.type
    if kind not in (int, float):
        return None

    def read(words: list[str]) -> Any:
        try:
            return kind(words[0])
        except ValueError:
            return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=info.type.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, info.type),
        str_from_instance=lambda value: [str(value)],
    )


@TYPES.primitive_rule
def place(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """A path is made absolute; a shell leaves the ~ of --out=~/x to the command."""
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: Path(os.path.expanduser(words[0])).resolve(),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


@TYPES.primitive_rule
def optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """A value or None; shown as INT|None."""
    kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
    if NoneType not in get_args(info.type) or len(kinds) != 1:
        return None
    inner = PrimitiveTypeInfo.make(kinds[0], info.markers)
    spec = ConstructorRegistry.get_primitive_spec(inner)
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    return replace(
        spec,
        metavar=f"{spec.metavar}|None",
        instance_from_str=lambda w: None if w == ["None"] else spec.instance_from_str(w),
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda v: ["None"] if v is None else spec.str_from_instance(v),
    )
