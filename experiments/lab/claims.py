"""A claim: one sentence of the research notes, put so that it can be tested, and what decides it.

An experiment has `CLAIMS`, one to six of them, and `verdicts(estimates)`, which gives each of them
one of four verdicts from the estimates alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from experiments.lab.estimate import Estimate
from interp.errors import ExperimentError

Verdict = Literal["supported", "rejected", "inconclusive", "untestable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Verdicts = Callable[[Mapping[str, Estimate]], Mapping[str, Verdict]]


@dataclass(frozen=True)
class Claim:
    """One sentence of the notes, its testable form, and the criterion, fixed before the run."""

    key: str  # number of the experiment and a letter, "05a"
    notes: str  # the sentence of the notes that it tests, quoted
    statement: str  # what is claimed of the model that is tested
    criterion: str  # what the verdict is decided by; states every constant
    estimates: tuple[str, ...]  # names of the estimates that decide, the telling one first
    number: str = ""  # what that one is, in words; its name where this is empty

    def __post_init__(self) -> None:
        empty = [name for name, value in vars(self).items() if not value and name != "number"]
        if empty:
            raise ExperimentError(f"Claim {self.key or '(no key)'} lacks {', '.join(empty)}.")


def decide(holds: bool, fails: bool) -> Verdict:
    """Supported where the criterion holds, rejected where it is contradicted, else inconclusive."""
    return "supported" if holds else "rejected" if fails else "inconclusive"


def judge(
    claims: Sequence[Claim], verdicts: Verdicts, estimates: Iterable[Estimate]
) -> dict[str, Verdict]:
    """The verdict on every claim, by key and in order.

    Raises ExperimentError when a claim has no verdict, a verdict no claim, or is not of the four,
    and when a claim names an estimate that is not there.
    """
    named = {estimate.name: estimate for estimate in estimates}
    for claim in claims:
        missing = [name for name in claim.estimates if name not in named]
        if missing:
            raise ExperimentError(f"{claim.key} is decided by {', '.join(missing)}: not estimated.")
    found = dict(verdicts(named))
    keys = [claim.key for claim in claims]
    if sorted(found) != sorted(keys):
        raise ExperimentError(f"Verdicts on {sorted(found)}, but the claims are {sorted(keys)}.")
    for key, verdict in found.items():
        if verdict not in VERDICTS:
            raise ExperimentError(
                f"Verdict {verdict!r} on {key} is not one of {', '.join(VERDICTS)}."
            )
    return {key: found[key] for key in keys}
