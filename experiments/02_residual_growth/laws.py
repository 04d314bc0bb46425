"""Laws of growth, fitted to the first two thirds of a curve and scored on the last third."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import leastsq, nnls

from .protocol import LAWS

POWERS = {"linear": [0, 1], "quadratic": [0, 1, 2]}

Curve = Float[np.ndarray, " block"]


def n_fitted(n: int) -> int:
    """The first two thirds."""
    return round(2 * n / 3)


def predicted(law: str, values: Curve) -> Curve:
    """ln of a law at every block 1, 2, ..., fitted to ln(values) of the first two thirds."""
    depth, fitted = np.arange(1, len(values) + 1.0), n_fitted(len(values))
    if law in POWERS:
        basis = depth[:, None] ** POWERS[law]
        return np.log(basis @ coefficients(basis[:fitted], values[:fitted]))
    x = depth if law == "exponential" else np.log(depth)
    return np.polyval(np.polyfit(x[:fitted], np.log(values[:fitted]), 1), x)


def coefficients(basis: Float[np.ndarray, "block term"], values: Curve) -> np.ndarray:
    """Least squares of ln(basis @ c) - ln(values) over c >= 0, c = exp(free).

    Starts from least squares of the relative error, which is linear in c (`nnls`).
    """
    start = nnls(basis / values[:, None], np.ones(len(values)))[0]
    least = 0.01 * np.median(values) / basis.mean(0)  # a term at 0 could not leave it

    def error(free: np.ndarray) -> np.ndarray:
        return np.log(basis @ np.exp(free)) - np.log(values)

    return np.exp(leastsq(error, np.log(np.maximum(start, least)))[0])


def errors(values: Curve) -> dict[str, float]:
    """log-RMSE of every law on the last third."""
    held_out = slice(n_fitted(len(values)), None)
    gaps = {law: (predicted(law, values) - np.log(values))[held_out] for law in LAWS}
    return {law: float(np.sqrt(np.mean(gap**2))) for law, gap in gaps.items()}


def scores(curves: Sequence[Curve]) -> dict[str, Float[np.ndarray, " draw"]]:
    """Of every curve: the laws' errors, the exponential's lead over the best rival, its rate."""
    found = [errors(values) for values in curves]
    of = {law: np.array([one[law] for one in found]) for law in LAWS}
    better = np.min([of[law] for law in LAWS[1:]], axis=0) - of["exponential"]
    rate = np.array([np.diff(predicted("exponential", values))[0] for values in curves])
    return of | {"error": of["exponential"], "better": better, "rate": rate}
