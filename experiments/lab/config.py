"""The settings every experiment has. An experiment adds its own in a frozen subclass `Config`.

The type of a setting says what it may be: `n_train: Count = 72`. Whatever makes an instance, the
command line or a Python caller, the values are checked against the types.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf

from interp.errors import ExperimentError


@dataclass(frozen=True)
class Except:
    """Limit: any value but this one."""

    value: float


Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Several = Annotated[int, Ge(2)]  # of what must have a spread
Negative = Annotated[int, Le(-1)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Share = Annotated[float, Gt(0), Le(1)]

KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    NoneType: "None",
}
LIMITS: dict[type, tuple[str, Callable[[Any, Any], bool], str]] = {
    Ge: ("ge", operator.ge, "{}, at least {}"),
    Gt: ("gt", operator.gt, "{} above {}"),
    Le: ("le", operator.le, "{}, at most {}"),
    Lt: ("lt", operator.lt, "{}, below {}"),
    Except: ("value", operator.ne, "{}, not {}"),
    MultipleOf: ("multiple_of", lambda value, of: value % of == 0, "{}, a multiple of {}"),
    MinLen: ("min_length", lambda values, least: len(values) >= least, "{}; {} or more of them"),
}
"""Type of limit -> the attribute that holds its bound, the test of a value, and words for it."""


@dataclass(frozen=True)
class ExperimentConfig:
    """Settings of an experiment."""

    seed: Seed = 0  # draws the splits, subsamples and nulls anew

    def __post_init__(self) -> None:
        check(self)


def check(config: Any) -> None:
    """Raise one ExperimentError that names every setting whose value does not fit its type."""
    hints = _hints(type(config))
    problems = [
        f"{name} is {value!r}; expected {expected(hints[name])}."
        for name, value in vars(config).items()
        if not fits(value, hints[name])
    ]
    if problems:
        raise ExperimentError(" ".join(problems))


@cache
def _hints(config: type) -> dict[str, Any]:
    return get_type_hints(config, include_extras=True)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type and within its limits; NaN and infinity are no numbers."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(value, parts[0]) and all(_holds(value, limit) for limit in _limits(parts))
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is tuple and parts[-1] is Ellipsis:
        return isinstance(value, tuple) and all(fits(item, parts[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return not isinstance(hint, type) or isinstance(value, hint)


def expected(hint: Any) -> str:
    """What a value of a type must be, in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        words = expected(parts[0])
        for limit in _limits(parts):
            attribute, _, pattern = LIMITS[type(limit)]
            words = pattern.format(words, getattr(limit, attribute))
        return words
    if origin in (Union, UnionType):
        return " or ".join(expected(part) for part in reversed(parts))  # "None or ..."
    if origin is tuple:
        return f"a tuple of values, each {expected(parts[0])}"
    return KINDS.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _limits(parts: Sequence[Any]) -> list[Any]:
    """The limits of an annotated type, of all that it is annotated with."""
    return [part for part in parts[1:] if type(part) in LIMITS]


def _holds(value: Any, limit: Any) -> bool:
    attribute, test, _ = LIMITS[type(limit)]
    return test(value, getattr(limit, attribute))


def settings(config: ExperimentConfig) -> dict[str, object]:
    """Every setting by name, as it is written to result.json."""
    return dataclasses.asdict(config)


def changed(config: ExperimentConfig, preset: ExperimentConfig) -> dict[str, object]:
    """The settings that are not the preset's."""
    usual = settings(preset)
    return {name: value for name, value in settings(config).items() if value != usual[name]}


def changed_note(changed: Mapping[str, object], most: int | None = None) -> str:
    """Settings that are not the preset's, in brackets after a space; empty without any.

    Where there are more than `most`, the first of them and the number of the others.
    """
    listed = [f"{name} {value}" for name, value in changed.items()]
    if most is not None and len(listed) > most:
        listed[most:] = [f"{len(listed) - most} more"]
    return f" ({', '.join(listed)})" if listed else ""


def title(config: ExperimentConfig | type[ExperimentConfig]) -> str:
    """First line of the docstring of the settings: the experiment's title."""
    text = (config if isinstance(config, type) else type(config)).__doc__ or ""
    return text.strip().splitlines()[0] if text.strip() else ""
