"""Alignment measures on planted rotations and on noise."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from interp.alignment import (
    debiased_cka,
    gaussian_null,
    linear_cka,
    procrustes_map,
    procrustes_r2,
    sample_span,
    shuffled_null,
    unbiased_hsic,
)
from interp.errors import ActivationError

N, D = 100, 300


def low_rank(rng, n=N, d=D, rank=6, noise=0.05):
    """Samples with most variance in a few dimensions, as activations have, and their latents."""
    latents = rng.standard_normal((n, rank)) * np.linspace(3, 1, rank)
    return latents @ rng.standard_normal((rank, d)) / np.sqrt(d) + noise * rng.standard_normal(
        (n, d)
    )


def rotated(values, rng):
    """Rotated, scaled and shifted copy."""
    return 2.5 * values @ ortho_group.rvs(values.shape[1], random_state=rng) + 7.0


def test_a_planted_rotation_is_found_by_both_measures():
    rng = np.random.default_rng(0)
    x = low_rank(rng)
    y = rotated(x, rng)
    assert debiased_cka(x, y) == pytest.approx(1.0, abs=1e-9)
    assert linear_cka(x, y) == pytest.approx(1.0, abs=1e-9)
    # The trailing components are noise, whose held-out axes do not match: below 1, far above 0.
    assert procrustes_r2(x, y) > 0.9


def test_the_procrustes_map_recovers_scale_and_rotation():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 6))
    x -= x.mean(0)
    rotation = ortho_group.rvs(6, random_state=rng)
    np.testing.assert_allclose(procrustes_map(x, 1.7 * x @ rotation), 1.7 * rotation, atol=1e-12)


def test_noise_fools_the_naive_measures_only():
    def naive_procrustes(x, y):
        x, y = x - x.mean(0), y - y.mean(0)
        return 1 - ((y - x @ procrustes_map(x, y)) ** 2).sum() / (y**2).sum()

    assert gaussian_null(linear_cka, 60, 600, 5, seed=0).mean() > 0.85
    assert gaussian_null(naive_procrustes, 60, 600, 5, seed=0).mean() > 0.85
    assert abs(gaussian_null(debiased_cka, 60, 600, 40, seed=0).mean()) < 0.02
    held_out = gaussian_null(procrustes_r2, 60, 600, 20, seed=0)
    assert held_out.mean() <= 0
    assert held_out.max() < 0.1


def test_shuffled_samples_remove_the_likeness_and_keep_each_side():
    rng = np.random.default_rng(2)
    x = low_rank(rng)
    y = rotated(x, rng)
    assert shuffled_null(debiased_cka, x, y, 20, seed=0).max() < 0.3
    assert shuffled_null(procrustes_r2, x, y, 20, seed=0).max() < 0.3
    np.testing.assert_array_equal(
        shuffled_null(debiased_cka, x, y, 3, seed=5), shuffled_null(debiased_cka, x, y, 3, seed=5)
    )


def test_the_sample_span_changes_no_measure():
    rng = np.random.default_rng(6)
    x = low_rank(rng, n=40)
    y = x + low_rank(rng, n=40)
    assert sample_span(x).shape == (40, 40)
    for measure in (procrustes_r2, debiased_cka, linear_cka):
        expected = measure(x, y)
        assert measure(sample_span(x), sample_span(y)) == pytest.approx(expected, rel=1e-9)


def test_partial_likeness_lies_between_noise_and_a_copy():
    rng = np.random.default_rng(3)
    x = low_rank(rng)
    half = x + 1.0 * low_rank(rng, rank=6)
    assert 0.2 < debiased_cka(x, half) < 0.95
    assert 0.1 < procrustes_r2(x, half) < 0.9


def test_unbiased_hsic_averages_to_zero_and_equals_the_u_statistic():
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(400):
        x, y = rng.standard_normal((2, 8, 3))
        draws.append(unbiased_hsic(x @ x.T, y @ y.T))
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))
    # The U-statistic that HSIC_1 is a short form of: an average over all ordered quadruples.
    x, y = rng.standard_normal((2, 5, 2))
    k, g = x @ x.T, y @ y.T
    quadruples = [
        (i, j, q, r)
        for i in range(5)
        for j in range(5)
        for q in range(5)
        for r in range(5)
        if len({i, j, q, r}) == 4
    ]
    by_hand = np.mean(
        [k[i, j] * g[i, j] + k[i, j] * g[q, r] - 2 * k[i, j] * g[i, q] for i, j, q, r in quadruples]
    )
    assert unbiased_hsic(k, g) == pytest.approx(by_hand, rel=1e-10)


@pytest.mark.parametrize("measure", [procrustes_r2, linear_cka, debiased_cka])
def test_bad_activations_are_refused(measure):
    x = np.random.default_rng(0).standard_normal((20, 4))
    with pytest.raises(ActivationError, match="same"):
        measure(x, x[:-1])
    with pytest.raises(ActivationError, match="finite"):
        measure(x, np.where(x > 1, np.nan, x))
    with pytest.raises(ActivationError):
        measure(x[:3], x[:3])


def test_cka_of_constant_activations_is_refused():
    with pytest.raises(ActivationError, match="variance"):
        debiased_cka(np.ones((20, 4)), np.random.default_rng(0).standard_normal((20, 4)))
