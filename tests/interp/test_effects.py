"""Intervals of effects: coverage by simulation, and against the plain case."""

import numpy as np
import pytest

from interp import stats
from interp.effects import newcombe_excess, two_level_bootstrap


def pairs(both: int, only_first: int, only_second: int, neither: int):
    """The two boolean lists of a paired 2 x 2 table."""
    cells = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=bool)
    return np.repeat(cells, [both, only_first, only_second, neither], axis=0).T


def test_newcombe_covers_with_a_share():
    rng = np.random.default_rng(2)
    probabilities = [0.15, 0.45, 0.05, 0.35]
    found = [newcombe_excess(*pairs(*rng.multinomial(50, probabilities)), 0.5) for _ in range(800)]
    covered = np.mean([interval.low <= 0.2 - 0.5 * 0.6 <= interval.high for interval in found])
    assert 0.93 < covered < 0.985


def test_the_whole_share_is_the_difference():
    both = pairs(5, 9, 2, 14)
    found, plain = newcombe_excess(*both, 1.0), stats.newcombe_difference(*both)
    assert [found.low, found.high] == pytest.approx([plain.low, plain.high])


def test_two_level_bootstrap_holds_prompts_and_repeats():
    rng = np.random.default_rng(0)
    one, zeros = rng.normal(2.0, 1.0, 200), np.zeros((3, 200))
    alone = two_level_bootstrap(np.mean, one[None])
    assert alone.value == one.mean()
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * one.std() / 200**0.5, rel=0.15)
    repeated = two_level_bootstrap(np.mean, np.stack([one, one + 1, one - 1]))
    assert repeated.value == one.mean()
    assert repeated.high - repeated.low > 2
    less = two_level_bootstrap(lambda x, y: x.mean() - y.mean(), one[None], zeros + one)
    assert less.low == pytest.approx(0) == less.high  # resampled together
