"""QAP regression on tables whose cells share nodes, and rank correlation, on planted effects."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.errors import DataError
from interp.permutation import qap_regression, rank_correlation


def node_effects(rng, nodes):
    """A table whose cells share row and column effects, as cells of a transfer matrix do."""
    rows, columns = rng.standard_normal((2, nodes))
    return rows[:, None] + columns[None, :] + 0.3 * rng.standard_normal((nodes, nodes))


def test_qap_finds_a_planted_effect_and_its_size():
    rng = np.random.default_rng(0)
    cosine, distance = node_effects(rng, 15), node_effects(rng, 15)
    response = 2.0 * cosine + node_effects(rng, 15) * 0.5
    found = {
        c.name: c
        for c in qap_regression(response, {"cosine": cosine, "distance": distance}, 499, 1)
    }
    assert found["cosine"].p == pytest.approx(1 / 500)
    assert 0.8 < found["cosine"].value < 1.1
    assert found["distance"].p > 0.01
    assert found["cosine"].null_low < 0 < found["cosine"].null_high < found["cosine"].value
    assert found["cosine"].n == 15 * 14


def test_qap_ignores_the_diagonal():
    rng = np.random.default_rng(1)
    response, predictor = node_effects(rng, 8), node_effects(rng, 8)
    changed = response + np.diag(np.full(8, 1000.0))
    assert qap_regression(response, {"x": predictor}, 50, 0) == qap_regression(
        changed, {"x": predictor}, 50, 0
    )


def test_qap_holds_its_error_rate_where_ordinary_regression_does_not():
    rng = np.random.default_rng(2)
    naive = qap = 0
    n_tables = 150
    for seed in range(n_tables):
        response, first, second = (node_effects(rng, 10) for _ in range(3))
        term = qap_regression(response, {"first": first, "second": second}, 99, seed)[0]
        naive += abs(term.t) > 1.99
        qap += term.p <= 0.05
    assert naive / n_tables > 0.25
    # Binomial 99.9% upper limit of 5% over 150 tables.
    assert qap / n_tables <= 0.113


def test_qap_refuses_what_it_cannot_test():
    square = np.random.default_rng(0).standard_normal((6, 6))
    with pytest.raises(DataError, match="square"):
        qap_regression(square, {"x": square[:5]}, 10, 0)
    with pytest.raises(DataError, match="combination"):
        qap_regression(square, {"x": square.T, "twice": 2 * square.T}, 10, 0)
    with pytest.raises(DataError, match="vary"):
        qap_regression(square, {"flat": np.ones((6, 6))}, 10, 0)


def test_rank_correlation_is_spearman_with_ties():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, 30).astype(float)
    y = x + 2 * rng.standard_normal(30)
    found = rank_correlation(x, y, 999, seed=0)
    assert found.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert found.p < 0.05
    assert found.null_low < 0 < found.null_high < found.value
    assert rank_correlation(x, rng.standard_normal(30), 999, seed=0).p > 0.05
