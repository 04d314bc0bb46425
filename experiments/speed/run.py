"""Times every work, and judges the ratios against the targets."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.speed.cuda import cuda_rows
from experiments.speed.peers import peer_rows
from experiments.speed.protocol import AT_LEAST, TARGETS, Config
from experiments.speed.works import (
    PLAIN_HOOKS,
    WORKS,
    Row,
    Stage,
    agreement,
)


def run(config: Config, lab: Lab) -> Result:
    """Time every work; see the top of this file."""
    stage = Stage(lab, config)
    works = [*WORKS, cuda_rows, *([peer_rows] if config.peers else [])]
    rows = [row for work in lab.progress(works, "speed") for row in work(stage)]
    targets = TARGETS.get(lab.model.info.name, {})
    table = speed_table(rows, targets)
    same = Estimate("agreement.ablate", agreement(stage), unit="of clear prompts")
    estimates = (*ratios(rows), *tally(table), same)
    return Result(estimates, {"speed": table}, observation(table))


def speed_table(rows: Sequence[Row], targets: Mapping[str, float]) -> pd.DataFrame:
    """One line per work and baseline; `met` is yes, no, unmeasured, or empty without a target."""
    return pd.DataFrame([_line(row, targets.get(row.key, math.nan)) for row in rows])


def _line(row: Row, target: float) -> dict[str, object]:
    return {
        "work": row.work,
        "baseline": row.baseline,
        "seconds": row.seconds,
        "baseline_seconds": row.baseline_seconds,
        "ratio": row.ratio,
        "target": target,
        "met": met(row.ratio, target, row.unit),
        "bound_padded": row.bounds.padded,
        "bound_packed": row.bounds.packed,
        "of_bound": of_bound(row.ratio, row.bounds.padded, row.unit),
        "unit": row.unit,
    }


def met(ratio: float, target: float, unit: str) -> str:
    """Whether a ratio meets its target, in the direction that its unit asks for."""
    if math.isnan(ratio):
        return "unmeasured"
    if math.isnan(target):
        return ""
    reached = ratio >= target if unit in AT_LEAST else ratio <= target
    return "yes" if reached else "no"


def of_bound(ratio: float, bound: float, unit: str) -> float:
    """How much of the possible was reached, 1 being all of it."""
    return ratio / bound if unit in AT_LEAST else bound / ratio


def ratios(rows: Sequence[Row]) -> list[Estimate]:
    """The ratio of every work that can have a target; timings of one machine have no interval."""
    return [Estimate(f"speed.{row.key}", row.ratio, unit=row.unit) for row in rows if row.key]


def tally(table: pd.DataFrame) -> list[Estimate]:
    """How many targets were met, missed and not measured."""
    known = table[table["target"].notna()]
    return [
        Estimate(f"targets.{name}", float((known["met"] == value).sum()), n=len(known))
        for name, value in (("met", "yes"), ("missed", "no"), ("unmeasured", "unmeasured"))
    ]


def observation(table: pd.DataFrame) -> str:
    """Every measured ratio in a sentence; of the two hooked baselines, the one that is judged."""
    measured = table[(table["met"] != "unmeasured") & (table["baseline"] != PLAIN_HOOKS)]
    parts = [_part(row) for row in measured.to_dict("records")]
    absent = table.loc[table["met"] == "unmeasured", "work"].unique()
    note = f" Not measured: {'; '.join(absent)}." if len(absent) else ""
    return f"{'; '.join(parts)}.{note}"


def _part(row: Mapping[str, object]) -> str:
    ratio, bound = float(row["ratio"]), float(row["bound_padded"])  # type: ignore[arg-type]
    target = float(row["target"])  # type: ignore[arg-type]
    notes = [f"target {number(target)}"] if math.isfinite(target) else []
    notes += [f"bound {number(bound)}"] if math.isfinite(bound) else []
    extra = f" ({', '.join(notes)})" if notes else ""
    return f"{row['work']}, beside {row['baseline']}: {number(ratio)} {row['unit']}{extra}"
