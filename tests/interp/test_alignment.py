"""Maps between spaces on planted rotations and on noise."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from interp.alignment import identity_r2, procrustes_map, procrustes_r2
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


def test_a_planted_rotation_is_found():
    rng = np.random.default_rng(0)
    x = low_rank(rng)
    y = rotated(x, rng)
    # The trailing components are noise, whose held-out axes do not match: below 1, far above 0.
    assert procrustes_r2(x, y) > 0.9


def test_the_procrustes_map_recovers_scale_and_rotation():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 6))
    x -= x.mean(0)
    rotation = ortho_group.rvs(6, random_state=rng)
    np.testing.assert_allclose(procrustes_map(x, 1.7 * x @ rotation), 1.7 * rotation, atol=1e-12)


def test_noise_fools_the_map_without_held_out_rows_only():
    def naive_procrustes(x, y):
        x, y = x - x.mean(0), y - y.mean(0)
        return 1 - ((y - x @ procrustes_map(x, y)) ** 2).sum() / (y**2).sum()

    noise = np.random.default_rng(0).standard_normal((20, 2, 60, 600))
    assert np.mean([naive_procrustes(x, y) for x, y in noise[:5]]) > 0.85
    held_out = [procrustes_r2(x, y) for x, y in noise]
    assert np.mean(held_out) <= 0
    assert max(held_out) < 0.1


def test_shuffled_samples_remove_the_likeness():
    rng = np.random.default_rng(2)
    x = low_rank(rng)
    y = rotated(x, rng)
    assert max(procrustes_r2(x, y[rng.permutation(N)]) for _ in range(20)) < 0.3


def test_partial_likeness_lies_between_noise_and_a_copy():
    rng = np.random.default_rng(3)
    x = low_rank(rng)
    half = x + 1.0 * low_rank(rng, rank=6)
    assert 0.1 < procrustes_r2(x, half) < 0.9


@pytest.mark.parametrize("measure", [procrustes_r2, identity_r2])
def test_bad_activations_are_refused(measure):
    x = np.random.default_rng(0).standard_normal((20, 4))
    with pytest.raises(ActivationError, match="same"):
        measure(x, x[:-1])
    with pytest.raises(ActivationError, match="finite"):
        measure(x, np.where(x > 1, np.nan, x))
    with pytest.raises(ActivationError):
        measure(x[:3], x[:3])
