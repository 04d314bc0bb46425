"""Cosines of mean differences without the noise of so few samples, in float64.

The noise of a difference of means is the sum of its variances over draws of samples, v. Its squared
length is |s|^2 + v on average, s the difference of so many samples that there is none; products of
two differences of independent samples have no such term. So the cosine of two is divided by the
part of either length that is not noise (Spearman's correction for attenuation, 1904).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

SMALLEST = 0.01  # share of a squared length that may be left of it without noise

Values = Float[np.ndarray, "sample d_model"]
Differences = tuple[
    Float[np.ndarray, "draw d_model"], Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]
]


def differences(
    positive: Values,
    negative: Values,
    halves: Sequence[Sequence[Int[np.ndarray, " half"]]] = ((), ()),
    paired: bool = False,
) -> Differences:
    """Mean differences of whole classes and of halves, and their noise.

    Row 0 is of all samples, the others of the rows that `halves` has for either class (those of the
    first where samples are pairs). The noise is for as many samples as there are in the draw, and,
    as the draw has it, for as many as there are in all.
    """
    sides = [positive - negative] if paired else [positive, negative]
    parts = [[s, *(s[half] for half in of)] for s, of in zip(sides, halves, strict=False)]
    means = [np.stack([part.mean(0) for part in side]) for side in parts]
    variances = [np.array([part.var(0, ddof=1).sum() for part in side]) for side in parts]
    sizes = [np.array([len(part) for part in side]) for side in parts]
    noise, of_all = (
        np.sum([v / n for v, n in zip(variances, of, strict=True)], axis=0)
        for of in (sizes, [size[0] for size in sizes])
    )
    return means[0] if paired else means[0] - means[1], noise, of_all


def cosines(found: Sequence[Differences]) -> Float[np.ndarray, "draw one other"]:
    """Of several differences; of one with itself what is expected with as many other samples."""
    vectors, noise, of_all = (np.stack(values, axis=1) for values in zip(*found, strict=True))
    squares = (vectors**2).sum(-1)
    left = np.maximum(squares - noise, SMALLEST * squares)
    result = np.einsum("rid,rjd->rij", vectors, vectors) / np.sqrt(left[:, :, None] * left[:, None])
    diagonal = np.arange(len(found))
    result[:, diagonal, diagonal] = left / (left + of_all)
    return result
