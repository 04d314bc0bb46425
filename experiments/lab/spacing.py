"""Evenly spaced choices, from the first to the last."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def spaced(choices: Sequence[T], n: int | None) -> list[T]:
    """`n` of the choices, evenly spaced from the first to the last; all of them for None."""
    if n is None or n >= len(choices):
        return list(choices)
    return [choices[i] for i in np.linspace(0, len(choices) - 1, n).round().astype(int)]
