"""How far samples lie apart, and whether because they turn or because their lengths differ."""

import numpy as np
from jaxtyping import Bool, Float

Gram = Float[np.ndarray, "sample sample"]
Draws = Float[np.ndarray, " draw"]


def spread(gram: Gram, inside: Bool[np.ndarray, "draw sample"]) -> dict[str, Draws]:
    """Means over pairs of different samples, among those inside each draw; float64.

    `distance` over the mean norm; `cosine`; and the mean squared distance over the mean squared
    norm in two parts, since |a - b|^2 = (|a| - |b|)^2 + 2 |a| |b| (1 - cos): `lengths` (first
    term) and `turning` (second). Their sum's numerator and denominator are `ln_squared_distance`
    and `ln_squared_norm`. Two or more samples per draw, none of them 0.
    """
    weights = inside.astype(np.float64)
    size, norms = weights.sum(axis=1), np.sqrt(np.diag(gram))
    products = np.outer(norms, norms)
    # Rounding can leave the turning of equal samples just below 0.
    lengths, turning = np.subtract.outer(norms, norms) ** 2, np.maximum(2 * (products - gram), 0)

    def mean(values: Gram) -> Draws:
        """Over pairs of different samples, by draw."""
        total = ((weights @ values) * weights).sum(axis=1) - weights @ np.diag(values)
        return total / (size * (size - 1))

    square = weights @ norms**2 / size
    return {
        "distance": mean(np.sqrt(lengths + turning)) * size / (weights @ norms),
        "cosine": mean(gram / products),
        "turning": mean(turning) / square,
        "lengths": mean(lengths) / square,
        "ln_squared_distance": np.log(mean(lengths + turning)),
        "ln_squared_norm": np.log(square),
    }


def spread_within(gram: Gram, inside: Bool[np.ndarray, "draw half"]) -> dict[str, Draws]:
    """`spread` of each half of the samples, which are two classes of one size, and its mean."""
    n = len(gram) // 2
    first, second = (spread(block, inside) for block in (gram[:n, :n], gram[n:, n:]))
    return {name: (first[name] + second[name]) / 2 for name in first}
