"""Evenly spaced choices."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def spaced(choices: Sequence[T], n: int | None, *, first: bool = True) -> list[T]:
    """`n` of the choices, evenly spaced from the first to the last; all of them for None.

    Without `first`, the ends of `n` equal parts: one choice is then the last.
    """
    if n is None or n >= len(choices):
        return list(choices)
    if first:
        return [choices[i] for i in np.linspace(0, len(choices) - 1, n).round().astype(int)]
    return [choices[round(part * len(choices) / n) - 1] for part in range(1, n + 1)]
