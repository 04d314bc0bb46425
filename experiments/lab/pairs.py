"""As many prompts of one class as of the other, whose last token is the same."""

from collections.abc import Sequence

import numpy as np

from experiments.lab.lab import Lab
from interp.errors import DataError

Pairs = tuple[list[str], list[str]]
CONTRAST = "contrast"  # the lab's own contrast set; others are registered sets


def pairs_of(lab: Lab, name: str, n: int | None, least: int) -> Pairs:
    """`n` pairs of a set (None: all); of the contrast set prompts are paired at random.

    Those that end in a full stop, if any do: states of their last tokens then differ by what came
    before. Raises DataError with fewer than `least`.
    """
    found, rng = lab.contrast if name == CONTRAST else lab.data(name), lab.rng(f"pairs {name}")
    sides = [list(found.positive), list(found.negative)]
    if name == CONTRAST:
        sides = [[side[i] for i in rng.permutation(len(side))] for side in sides]
    pairs = list(zip(*sides, strict=False))
    pairs = [pair for pair in pairs if all(text.endswith(".") for text in pair)] or pairs
    if len(pairs) < least:
        raise DataError(f"{least} or more prompts per class are needed; {name} has {len(pairs)}.")
    chosen = np.sort(rng.permutation(len(pairs))[:n])
    return _side(pairs, chosen, 0), _side(pairs, chosen, 1)


def _side(pairs: Sequence[tuple[str, ...]], chosen: np.ndarray, side: int) -> list[str]:
    return [pairs[i][side] for i in chosen]
