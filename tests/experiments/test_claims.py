"""Claims and verdicts: each claim gets one of four verdicts, from estimates that are there."""

import pytest

from experiments.lab.claims import Claim, decide, judge
from experiments.lab.estimate import Estimate
from interp.errors import ExperimentError

FOUND = (Estimate("x", 1.0), Estimate("y", 2.0))


def claim(key: str = "91a", *estimates: str) -> Claim:
    return Claim(key, "notes", "statement", "criterion", estimates or ("x",))


def test_a_claim_lacks_nothing() -> None:
    with pytest.raises(ExperimentError, match="Claim 91a lacks notes, criterion"):
        Claim("91a", "", "statement", "", ("x",))
    with pytest.raises(ExperimentError, match=r"Claim \(no key\) lacks key, estimates"):
        Claim("", "notes", "statement", "criterion", ())


@pytest.mark.parametrize(
    ("holds", "fails", "expected"),
    [
        (True, False, "supported"),
        (False, True, "rejected"),
        (False, False, "inconclusive"),
        (True, True, "supported"),
    ],
)
def test_what_holds_is_supported_what_fails_rejected(holds, fails, expected) -> None:
    assert decide(holds, fails) == expected


def test_verdicts_come_in_the_order_of_the_claims() -> None:
    found = judge(
        [claim("91b"), claim("91a")], lambda e: {"91a": "rejected", "91b": "untestable"}, FOUND
    )
    assert list(found.items()) == [("91b", "untestable"), ("91a", "rejected")]


@pytest.mark.parametrize(
    ("verdicts", "message"),
    [
        ({}, r"Verdicts on \[\], but the claims are \['91a'\]"),
        ({"91a": "supported", "91b": "rejected"}, r"Verdicts on \['91a', '91b'\], but"),
        ({"91a": "maybe"}, "Verdict 'maybe' on 91a is not one of supported, rejected"),
    ],
)
def test_a_missing_an_extra_and_an_unknown_verdict_are_refused(verdicts, message) -> None:
    with pytest.raises(ExperimentError, match=message):
        judge([claim()], lambda e: verdicts, FOUND)


def test_an_estimate_that_is_not_there_is_named_before_anything_reads_it() -> None:
    with pytest.raises(ExperimentError, match="91a is decided by z, w: not estimated"):
        judge(
            [claim("91a", "x", "z", "w")],
            lambda e: {"91a": "supported" if e["z"].above(0) else "rejected"},
            FOUND,
        )
