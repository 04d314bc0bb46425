"""Regression and rank correlation with permutation p-values.

`qap_regression` explains a square table whose cells share rows and columns (effects between layers,
say); `rank_correlation` is for independent units.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from interp.errors import DataError
from interp.stats import null_interval, permutation_p


@dataclass(frozen=True)
class Coefficient:
    """A standardised coefficient with its t, its permutation p, and the 2.5 and 97.5 percentiles
    of the permuted coefficients; n counts cells or units.
    """

    name: str
    value: float
    t: float
    p: float
    null_low: float
    null_high: float
    n: int


def qap_regression(
    response: Float[np.ndarray, "node node"],
    predictors: Mapping[str, Float[np.ndarray, "node node"]],
    n_permutations: int,
    seed: int,
) -> list[Coefficient]:
    """Multiple regression over the off-diagonal cells of a square table, permuting whole nodes.

    Double semi-partialling of Dekker, Krackhardt and Snijders 2007 (Psychometrika 72:563): each
    predictor is residualised on the others, the nodes of that residual (rows and columns
    together) are permuted, and its t is compared, two-sided, with those of the permuted residuals.
    Cells of one row or column need not be independent. Coefficients are in standard deviations of
    the response per standard deviation of the predictor; the diagonal is left out. Raises DataError
    on tables that are not square or of one size, fewer than four nodes, or a collinear predictor.
    """
    tables = {name: np.asarray(table, dtype=np.float64) for name, table in predictors.items()}
    y = np.asarray(response, dtype=np.float64)
    _require_square([y, *tables.values()])
    off_diagonal = ~np.eye(len(y), dtype=bool)
    columns = {name: _standardise(name, table[off_diagonal]) for name, table in tables.items()}
    outcome = _standardise("the response", y[off_diagonal])
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(y)) for _ in range(n_permutations)]
    return [_coefficient(name, columns, outcome, off_diagonal, orders) for name in columns]


def rank_correlation(
    first: ArrayLike, second: ArrayLike, n_permutations: int, seed: int
) -> Coefficient:
    """Spearman's rho over independent units, with a two-sided permutation p.

    For columns of a table: average each column first, so that the column is the unit permuted.
    """
    x, y = (_standardise("A series", rankdata(v)) for v in (first, second))
    rng = np.random.default_rng(seed)
    rho = float((x * y).mean())
    null = np.array([(x * rng.permutation(y)).mean() for _ in range(n_permutations)])
    t = rho * float(np.sqrt((len(x) - 2) / max(1 - rho**2, 1e-12)))
    p = permutation_p(abs(rho), np.abs(null))
    return Coefficient("rank correlation", rho, t, p, *null_interval(null), len(x))


def _coefficient(
    name: str,
    columns: Mapping[str, Float[np.ndarray, " cell"]],
    outcome: Float[np.ndarray, " cell"],
    off_diagonal: Bool[np.ndarray, "node node"],
    orders: list[Int[np.ndarray, " node"]],
) -> Coefficient:
    """Double semi-partialling for one predictor."""
    others = np.column_stack(
        [np.ones(len(outcome)), *(column for key, column in columns.items() if key != name)]
    )
    residual = _residual(columns[name], others)
    if residual @ residual < 1e-10 * len(residual):
        raise DataError(
            f"Predictor '{name}' is a combination of the others; leave one of them out."
        )
    value, t = _last_term(outcome, residual, others)
    table = np.zeros(off_diagonal.shape)
    table[off_diagonal] = residual
    shuffled = [table[np.ix_(order, order)][off_diagonal] for order in orders]
    null = np.array([_last_term(outcome, column, others) for column in shuffled])
    p = permutation_p(abs(t), np.abs(null[:, 1]))
    return Coefficient(name, value, t, p, *null_interval(null[:, 0]), len(outcome))


def _last_term(
    outcome: Float[np.ndarray, " cell"],
    column: Float[np.ndarray, " cell"],
    others: Float[np.ndarray, "cell term"],
) -> tuple[float, float]:
    """Coefficient and t of one column in a least-squares fit that also holds the others."""
    partial, rest = _residual(column, others), _residual(outcome, others)
    squares = partial @ partial
    value = float(partial @ rest / squares)
    error = rest - value * partial
    variance = error @ error / (len(outcome) - others.shape[1] - 1)
    return value, value / float(np.sqrt(variance / squares))


def _residual(
    values: Float[np.ndarray, " cell"], design: Float[np.ndarray, "cell term"]
) -> Float[np.ndarray, " cell"]:
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def _standardise(name: str, values: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
    deviation = values.std()
    if not np.isfinite(values).all() or deviation <= 1e-12 * max(1e-300, np.abs(values).max()):
        raise DataError(f"{name} must be finite and vary between cells to be in a regression.")
    return (values - values.mean()) / deviation


def _require_square(tables: list[np.ndarray]) -> None:
    shapes = {table.shape for table in tables}
    shape = tables[0].shape
    if len(shapes) > 1 or len(shape) != 2 or shape[0] != shape[1] or shape[0] < 4:
        raise DataError(
            "A QAP regression needs square tables of one size with four or more nodes; "
            f"got {shapes}."
        )
