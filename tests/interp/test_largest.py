"""The largest of several estimates."""

import pytest

from interp.largest import largest
from interp.stats import Interval


def test_the_largest_has_limits_for_all_pairs() -> None:
    pairs = [Interval(0.2, 0.1, 0.3, 9), Interval(-0.5, -0.6, -0.4, 9), Interval(0.1, -0.9, 1.1, 9)]
    found = largest(pairs)
    assert (found.value, found.high) == (0.5, 1.1)
    assert 0.35 < found.low < 0.4  # .1 below, and further for three pairs
    assert largest(pairs[:1]).low == pytest.approx(0.1)
