"""Verdicts by other seeds: `results/replicates.csv`, read without pandas or torch.

A seed draws the splits, the subsamples and the nulls anew. A row is the verdict on one claim by one
seed, with the estimate that it turns on; it counts as long as the claim's criterion is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.harness import rows
from experiments.harness.calibration import criterion_of
from experiments.harness.registry import Experiment
from experiments.harness.summaries import Summary

FILE = "replicates.csv"
SEEDS = "seeds"  # folder of the runs: <results>/seeds/<seed>/<preset>/<model>/NN_name


@dataclass(frozen=True)
class Replicate:
    """The verdict on one claim by one seed."""

    claim: str
    model: str
    preset: str
    seed: int
    verdict: str
    estimate: str  # name of the first that decides
    value: float
    low: float
    high: float
    revision: str
    criterion: str  # sha256 of the criterion, 12 digits

    @property
    def place(self) -> tuple[str, str, str, int]:
        """What there is one row of."""
        return self.claim, self.model, self.preset, self.seed


def replicates_of(experiment: Experiment, summary: Summary) -> list[Replicate]:
    """The rows of one saved result."""
    found = []
    for claim in experiment.claims:
        first = summary.deciding(claim.key)[0]
        low, high = (float("nan") if x is None else x for x in (first.low, first.high))
        row = Replicate(
            claim=claim.key, model=summary.model, preset=summary.preset,
            seed=summary.content["seed"], verdict=summary.verdicts[claim.key],
            estimate=first.name, value=round(first.value, 6), low=round(low, 6),
            high=round(high, 6), revision=(summary.content["revision"] or "")[:12],
            criterion=criterion_of(experiment, claim.key),
        )  # fmt: skip
        found.append(row)
    return found


def read_replicates(root: Path) -> list[Replicate]:
    """Every row of the file."""
    return rows.read_rows(root / FILE, Replicate)


def write_replicates(root: Path, new: Iterable[Replicate]) -> Path:
    """Add rows; one of the same claim, model, preset and seed is replaced."""
    by_place = {row.place: row for row in (*read_replicates(root), *new)}
    return rows.write_rows(root / FILE, [by_place[k] for k in sorted(by_place)], Replicate)


def agreement(found: Sequence[Replicate], experiment: Experiment, row: Summary, key: str) -> str:
    """How many other seeds come to a result's verdict on a claim, in words; empty if none ran."""
    others = [
        one.verdict
        for one in found
        if (one.claim, one.model, one.criterion) == (key, row.model, criterion_of(experiment, key))
        and one.seed != row.content["seed"]
    ]
    return f"{others.count(row.verdicts[key])} of {len(others)}" if others else ""
