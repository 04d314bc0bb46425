"""Errors from inner products equal those of scikit-learn; spread equals plain loops."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from interp.curvature.intrinsic import beside_gaussians
from interp.few_shot import RIDGE, Draws, linear_errors, mean_errors, nearest_errors
from interp.spread import spread

N, SHOTS = 20, 4


@pytest.fixture
def states() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((2 * N, 7)) + 3 + np.repeat([[0.5], [-0.5]], N, axis=0)


@pytest.fixture
def draws() -> Draws:
    rng = np.random.default_rng(1)
    order = np.stack([rng.permutation(N) for _ in range(6)])
    samples = np.stack([order, N + order], axis=2).reshape(6, -1)
    return Draws(samples[:, : 2 * SHOTS], samples[:, 2 * SHOTS :])


LABELS = np.tile(np.repeat([1.0, -1.0], N), (6, 1))


def test_linear_errors_are_those_of_ridge_regression_on_labels(states, draws) -> None:
    found = linear_errors(states @ states.T, LABELS, draws)
    for error, labels, train, test in zip(found, LABELS, *draws, strict=True):
        x = states[train]
        penalty = RIDGE * ((x - x.mean(axis=0)) ** 2).sum() / len(x)
        scores = Ridge(alpha=penalty).fit(x, labels[train]).predict(states[test])
        assert error == pytest.approx(np.mean(np.sign(scores) != labels[test]))


def test_nearest_errors_are_those_of_one_neighbour(states, draws) -> None:
    found = nearest_errors(states @ states.T, LABELS, draws)
    for error, labels, train, test in zip(found, LABELS, *draws, strict=True):
        rule = KNeighborsClassifier(1).fit(states[train], labels[train])
        assert error == pytest.approx(1 - rule.score(states[test], labels[test]))


def test_equal_states_are_half_wrong_by_a_line(draws) -> None:
    assert linear_errors(np.ones((2 * N, 2 * N)), LABELS, draws) == pytest.approx(0.5)


def test_chunks_change_nothing(states, monkeypatch) -> None:
    signs, pairs = np.ones((9, N)), np.tile(np.arange(N), (9, 1))
    arguments = linear_errors, states @ states.T, signs, pairs, SHOTS, 3
    whole = mean_errors(*arguments, np.random.default_rng(2))
    monkeypatch.setattr("interp.few_shot.CHUNK", 7)
    assert np.array_equal(whole, mean_errors(*arguments, np.random.default_rng(2)))


def test_spread_is_that_of_plain_distances(states) -> None:
    inside = np.ones((2, 2 * N), dtype=bool)
    inside[1, N:] = False
    found = spread(states @ states.T, inside)
    for row, chosen in enumerate((states, states[:N])):
        norms = np.linalg.norm(chosen, axis=1)
        square = (norms**2).mean()
        distance = pdist(chosen).mean() / norms.mean()
        assert found["distance"][row] == pytest.approx(distance)
        assert found["cosine"][row] == pytest.approx(1 - pdist(chosen, "cosine").mean())
        parts = found["turning"] + found["lengths"]
        assert parts[row] == pytest.approx((pdist(chosen) ** 2).mean() / square)
        assert found["lengths"][row] == pytest.approx((pdist(norms[:, None]) ** 2).mean() / square)


def test_dimension_of_a_curve_is_below_that_of_gaussian_states() -> None:
    rng = np.random.default_rng(3)
    angle = rng.uniform(0, 6, 150)
    curve = np.stack([np.cos(k * angle) for k in range(1, 6)], axis=1)
    curve += 1e-4 * rng.standard_normal(curve.shape)
    for _, value, (low, _) in beside_gaussians(curve, 3, rng):
        assert value == pytest.approx(1, abs=0.5)
        assert low > 2
