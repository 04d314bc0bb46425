"""Estimates: what their interval and null say, and the rules that several criteria share."""

import math

import numpy as np
import pytest

from experiments.lab.estimate import Estimate, number
from experiments.lab.rules import MIN_PAIRS, SIGNIFICANCE, lacks_behaviour, not_found
from interp.stats import Interval, bootstrap_mean, null_interval, permutation_p

INTERVAL = Interval(0.5, 0.2, 0.7, 9)


def test_an_estimate_has_its_interval_and_no_null() -> None:
    found = Estimate.of("x", INTERVAL, unit="nats", mde=0.1)
    assert found == Estimate("x", 0.5, 0.2, 0.7, n=9, unit="nats", mde=0.1)
    assert str(found) == "0.5 nats [0.2, 0.7]"


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_draws_of_the_null_give_its_limits_and_p(alternative) -> None:
    null = np.random.default_rng(0).normal(size=99)
    found = Estimate.of("x", INTERVAL, null=null, alternative=alternative)
    assert (found.null_low, found.null_high) == null_interval(null)
    assert found.p == permutation_p(0.5, null, alternative)
    assert Estimate.of("x", INTERVAL, null=null, p=0.03).p == 0.03


def test_limits_of_a_null_that_was_not_drawn_give_no_p() -> None:
    found = Estimate.of("x", INTERVAL, null=(-0.1, None))
    assert (found.null_low, found.null_high, found.p) == (-0.1, None, None)
    assert str(Estimate.of("x", INTERVAL, null=(-0.1, 0.1))) == "0.5 [0.2, 0.7], null [-0.1, 0.1]"


def test_numbers_of_numpy_become_plain_ones() -> None:
    found = Estimate.of("x", bootstrap_mean(np.arange(5.0)), null=np.arange(9.0))
    values = (found.value, found.low, found.high, found.null_low, found.null_high, found.p)
    assert {type(value) for value in values} == {float}


def test_an_interval_lies_above_or_below_a_limit_whole_or_not_at_all() -> None:
    found = Estimate("x", 0.5, 0.2, 0.7)
    assert [found.above(limit) for limit in (0.1, 0.2, 0.5)] == [True, False, False]
    assert [found.below(limit) for limit in (0.71, 0.7, 0.5)] == [True, False, False]
    without = Estimate("x", 0.5)
    assert not (without.above(0) or without.below(1))


def test_a_number_has_three_digits_or_is_not_measured() -> None:
    assert [number(x) for x in (0.12345, 1234.5, math.nan, None)] == [
        "0.123",
        "1.23e+03",
        "not measured",
        "not measured",
    ]


@pytest.mark.parametrize(
    ("refused", "accepted", "p", "lacks"),
    [
        (MIN_PAIRS, MIN_PAIRS, 0.01, False),
        (MIN_PAIRS - 1, 50, 0.01, True),
        (50, MIN_PAIRS - 1, 0.01, True),
        (50, 50, SIGNIFICANCE, True),
        (50, 50, None, False),
    ],
)
def test_a_behaviour_is_lacking_where_nothing_could_be_seen(refused, accepted, p, lacks) -> None:
    estimates = [Estimate("train.refused", refused, p=p), Estimate("train.accepted", accepted)]
    assert lacks_behaviour({estimate.name: estimate for estimate in estimates}) == lacks


@pytest.mark.parametrize(("p", "expected"), [(SIGNIFICANCE, True), (0.049, False)])
def test_nothing_is_found_where_random_directions_do_as_much(p, expected) -> None:
    assert not_found({"selection.p": Estimate("selection.p", p)}) == expected
