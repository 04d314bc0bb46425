"""How often each verdict comes out right: `results/calibration.csv`, read without pandas or torch.

A row counts the verdicts on one claim in one planted world. Power is the share of `supported` where
the claim is true, in the world where that is least; the false-alarm rate is the same share where it
is false, in the world where that is most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.harness import rows
from experiments.harness.provenance import sha256_of
from experiments.harness.registry import Experiment
from experiments.lab.claims import VERDICTS

FILE = "calibration.csv"
WORLDS = "worlds"  # the part of an experiment that holds them
MIN_POWER = 0.8
# Of false worlds: 0 of 59, or 4 of 200, keep the one-sided 95% limit (Clopper and Pearson) below.
MAX_FALSE = 0.05


@dataclass(frozen=True)
class Row:
    """Verdicts on one claim in one world."""

    claim: str
    world: str
    truth: bool
    runs: int
    supported: int
    rejected: int
    inconclusive: int
    untestable: int
    share: float  # of supported
    low: float  # Wilson, 95%
    high: float
    criterion: str  # sha256 of the criterion, 12 digits


@dataclass(frozen=True)
class Calibration:
    """The rows of one claim."""

    rows: Sequence[Row]

    @property
    def hardest(self) -> Row | None:
        """Where it is true and seldomest supported."""
        return min((r for r in self.rows if r.truth), key=lambda r: r.share, default=None)

    @property
    def worst(self) -> Row | None:
        """Where it is false and most often supported."""
        return max((r for r in self.rows if not r.truth), key=lambda r: r.share, default=None)

    @property
    def registered(self) -> bool:
        """Whether the verdict may be believed, by both rules."""
        hardest, worst = self.hardest, self.worst
        if hardest is None or worst is None:
            return False
        false = max(false_limit(row.supported, row.runs) for row in self.rows if not row.truth)
        return hardest.share >= MIN_POWER and false <= MAX_FALSE

    @property
    def short(self) -> str:
        """Power and false alarms, as counts."""
        hardest, worst = self.hardest, self.worst
        if hardest is None or worst is None:
            return "not calibrated"
        mark = "" if self.registered else " (not to be relied on)"
        return f"{hardest.supported} of {hardest.runs}, {worst.supported} of {worst.runs}{mark}"

    def __str__(self) -> str:
        hardest, worst = self.hardest, self.worst
        if hardest is None or worst is None:
            return "not calibrated: no world where it is true, or none where it is false"
        verdict = "" if self.registered else "; not to be relied on"
        return (
            f"supported {hardest.supported} of {hardest.runs} times where it is true, "
            f"{worst.supported} of {worst.runs} where it is false{verdict}"
        )


def false_limit(supported: int, runs: int) -> float:
    """One-sided 95% upper limit of a share (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if supported == runs else float(beta.ppf(0.95, supported + 1, runs - supported))


def row_of(
    experiment: Experiment, key: str, world: str, truth: bool, verdicts: Sequence[str]
) -> Row:
    """Count the verdicts of the runs in one world."""
    from interp.stats import wilson

    counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS}
    share = wilson(counts["supported"], len(verdicts))
    return Row(
        claim=key, world=world, truth=truth, runs=len(verdicts), **counts,
        share=round(share.value, 4), low=round(share.low, 4), high=round(share.high, 4),
        criterion=criterion_of(experiment, key),
    )  # fmt: skip


def criterion_of(experiment: Experiment, key: str) -> str:
    """What a row was counted with: start of the criterion's sha256; empty for no claim of it."""
    criteria = {claim.key: claim.criterion for claim in experiment.claims}
    return sha256_of(criteria[key])[:12] if key in criteria else ""


def write_rows(root: Path, new: Iterable[Row], number: str, worlds: Collection[str] = ()) -> Path:
    """Put the rows of one experiment, or of some of its worlds, in place of its earlier ones."""
    kept = [
        row
        for row in read_rows(root)
        if not row.claim.startswith(number) or (worlds and row.world not in worlds)
    ]
    every = sorted([*kept, *new], key=lambda row: (row.claim, not row.truth, row.world))
    return rows.write_rows(root / FILE, every, Row)


def read_rows(root: Path) -> list[Row]:
    """Every row of the file; none where there is no file."""
    return rows.read_rows(root / FILE, Row)


def calibrations(root: Path, experiments: Iterable[Experiment]) -> dict[str, Calibration]:
    """The calibration of every claim that has rows for its present criterion, by key."""
    found: dict[str, list[Row]] = {}
    present = {c.key: criterion_of(e, c.key) for e in experiments for c in e.claims}
    for row in read_rows(root):
        if present.get(row.claim) == row.criterion:
            found.setdefault(row.claim, []).append(row)
    return {key: Calibration(rows) for key, rows in found.items()}
