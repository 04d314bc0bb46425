"""Cosines without noise, against planted directions and halves of the samples."""

import numpy as np
import pytest

from interp.noiseless import cosines, differences

RNG = np.random.default_rng(0)
TRUE = np.zeros((2, 200))
TRUE[0, 0], TRUE[1, :2] = 2.0, 1.2


def classes(signal: np.ndarray, n: int = 40) -> list[np.ndarray]:
    """Samples with noise of unit variance about half of the signal, and of its opposite."""
    return [sign * signal / 2 + RNG.standard_normal((n, 200)) for sign in (1, -1)]


def test_noise_is_taken_off_on_average() -> None:
    drawn = [[differences(*classes(one)) for one in TRUE] for _ in range(60)]
    found = np.mean([cosines(pair)[0] for pair in drawn], axis=0)
    raw = np.mean([a[0][0] @ b[0][0] / np.linalg.norm(a[0]) / np.linalg.norm(b[0])
                   for a, b in drawn])  # fmt: skip
    assert raw < 0.3
    assert found[0, 1] == pytest.approx(0.5**0.5, abs=0.1)
    again = [(differences(*classes(TRUE[0]))[0][0], pair[0][0][0]) for pair in drawn]
    expected = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in again])
    assert found[0, 0] == pytest.approx(expected, abs=0.03)


def test_pairs_have_the_noise_of_their_differences() -> None:
    positive, negative = classes(TRUE[0])
    shared = 5 * RNG.standard_normal((40, 200))
    plain = differences(positive, negative, paired=True)
    beside = differences(positive + shared, negative + shared, paired=True)
    assert beside[1] == pytest.approx(plain[1])
    assert beside[0] == pytest.approx(positive.mean(0)[None] - negative.mean(0))
    rows = [np.array([[0, 1, 2, 3]])] * 2
    vectors, noise, of_all = differences(positive, negative, rows)
    assert vectors[1] == pytest.approx(positive[:4].mean(0) - negative[:4].mean(0))
    assert noise[1] == pytest.approx(10 * of_all[1])
