"""`interp replicate`: the same experiments by other seeds, and which verdicts they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from experiments.harness.registry import FOLDER, select
from experiments.harness.replication import FILE, SEEDS, replicates_of, write_replicates
from experiments.harness.run import (
    Folder,
    Name,
    RunOptions,
    SharedSettings,
    exit_code,
    run_experiments,
)
from experiments.harness.summaries import RESULT_FILE, read_summary
from experiments.lab.config import Seed, check
from experiments.lab.progress import ProgressLog


@dataclass(frozen=True)
class Options:
    """Run experiments by other seeds, which draw splits, subsamples and nulls anew.

    The verdicts go into replicates.csv in the results folder, the results into its folder `seeds`.
    What is unchanged is not run again. Earlier rows of other experiments, models and seeds stay.
    """

    model: Name = None  # as for `interp run`
    preset: Literal["smoke", "quick", "full"] = "quick"
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (1, 2)  # besides that of the preset
    out: Folder = None  # results folder; `results` of the project if not given

    def __post_init__(self) -> None:
        check(self)


def replicate(
    names: Sequence[str], root: Path, options: Options, progress: ProgressLog, folder: Path = FOLDER
) -> Path:
    """Run every seed and write its verdicts before the next. Raises what `interp run` raises."""
    experiments = {one.name: one for one in select(names or ["all"], folder)}
    path = root / FILE
    for seed in options.seeds:
        out = root / SEEDS / str(seed)
        run = RunOptions(model=options.model, preset=options.preset, out=out)
        outcomes = run_experiments(
            [*experiments.values()], run, SharedSettings(seed=seed), progress
        )
        for outcome in outcomes:
            if outcome.status != "failed":
                summary = read_summary(outcome.folder / RESULT_FILE)
                assert summary is not None  # it has just been saved
                write_replicates(root, replicates_of(experiments[outcome.name], summary))
        exit_code(outcomes)
    return path
