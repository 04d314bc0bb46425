"""`interp calibrate`: the experiments' own code on planted worlds, and how often it is right."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import pandas as pd
from annotated_types import Ge
from matplotlib.figure import Figure

from experiments.harness.calibration import (
    MAX_FALSE,
    MIN_POWER,
    WORLDS,
    Row,
    calibrations,
    read_rows,
    row_of,
    write_rows,
)
from experiments.harness.registry import FOLDER, Experiment, find_experiment, select
from experiments.lab.config import check
from experiments.lab.progress import ProgressLog
from experiments.lab.worlds import World
from interp import plots
from interp.assets.files import replace_file
from interp.errors import ExperimentError

FIGURE = "calibration.png"
Found = dict[tuple[str, str], list[str]]
"""Claim and world to the verdicts of its runs."""


@dataclass(frozen=True)
class Options:
    """Count the verdicts on planted worlds, where what is claimed is true or false by construction.

    Writes calibration.csv and calibration.png into the results folder. Earlier rows of the same
    experiments, or of the worlds that are named, are replaced.
    """

    worlds: tuple[str, ...] = ()  # by their names; every world of the experiment if none is given
    runs: Annotated[int, Ge(1)] = 60  # draws of every world; 59 show a false-alarm rate below 5%
    workers: Annotated[int, Ge(1)] = 2  # processes
    out: Path | None = None  # results folder; `results` of the project if not given

    def __post_init__(self) -> None:
        check(self)


def calibrate(
    names: Sequence[str], root: Path, options: Options, progress: ProgressLog, folder: Path = FOLDER
) -> list[Path]:
    """Measure, write the rows of every experiment as soon as it is done, and draw all of them."""
    asked = select(names or ["all"], folder)
    without = [one.name for one in asked if not has_worlds(one)]
    if without and (names or len(without) == len(asked)):
        raise ExperimentError(f"No planted worlds: {', '.join(without)} lacks a worlds.py.")
    experiments = [one for one in asked if has_worlds(one)]
    written = []
    for experiment in experiments:
        found = verdicts(experiment, options, progress, folder)
        new = rows_of(experiment, found)
        path = write_rows(root, new, experiment.number, options.worlds)
        for key, calibration in calibrations(root, [experiment]).items():
            progress.say(f"{key}: {calibration}")
        written = [path]
    figure = plot(read_rows(root))
    replace_file(
        root / FIGURE,
        lambda path: figure.savefig(path, format="png", metadata={"Software": None}),
    )
    return [*written, root / FIGURE]


def has_worlds(experiment: Experiment) -> bool:
    """Whether an experiment has planted worlds."""
    return experiment.path.is_dir() and (experiment.path / f"{WORLDS}.py").is_file()


def verdicts(
    experiment: Experiment, options: Options, progress: ProgressLog, folder: Path = FOLDER
) -> Found:
    """The verdicts of every run in every world, in the order of the draws."""
    worlds = experiment.part(WORLDS).WORLDS
    jobs = [(world, draw) for world in asked_for(worlds, options) for draw in range(options.runs)]
    by_job: dict[tuple[int, int], dict[str, str]] = {}
    done = run_all(experiment, jobs, options.workers, folder)
    for job, judged in progress.track(done, f"worlds of {experiment.name}", len(jobs)):
        by_job[job] = judged
    found: Found = defaultdict(list)
    for world, draw in jobs:
        for key in worlds[world].truth:
            found[key, worlds[world].name].append(by_job[world, draw][key])
    return found


def asked_for(worlds: Sequence[World], options: Options) -> list[int]:
    """Which of the worlds to draw, by their places; ExperimentError for a name that none has."""
    names = [world.name for world in worlds]
    unknown = set(options.worlds) - set(names)
    if unknown:
        raise ExperimentError(
            f"No planted world is called {', '.join(map(repr, sorted(unknown)))}; there are "
            f"{', '.join(map(repr, names))}."
        )
    return [i for i, name in enumerate(names) if name in (options.worlds or names)]


def run_all(
    experiment: Experiment, jobs: Sequence[tuple[int, int]], workers: int, folder: Path
) -> Iterator[tuple[tuple[int, int], dict[str, str]]]:
    """Every job with its verdicts, as they come; in this process if there is one worker."""
    if workers == 1:
        yield from ((job, run_one(experiment.number, folder, *job)) for job in jobs)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited: two processes of two threads wait for another
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[dict[str, str]], tuple[int, int]] = {
            pool.submit(run_one, experiment.number, folder, *job): job for job in jobs
        }
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def run_one(number: str, folder: Path, world: int, draw: int) -> dict[str, str]:
    """The verdicts on one draw of a world."""
    experiment = find_experiment(number, folder)
    return judged_in(experiment, experiment.part(WORLDS).WORLDS[world], draw)


def judged_in(experiment: Experiment, world: World, draw: int) -> dict[str, str]:
    """What an experiment says of its claims in one draw of a world."""
    config = world.config(experiment.part(WORLDS).CONFIG)
    return dict(experiment.judge(experiment.run(config, world.lab(draw)).estimates))


def rows_of(experiment: Experiment, found: Found) -> list[Row]:
    """One row per claim and world."""
    truths = {world.name: world.truth for world in experiment.part(WORLDS).WORLDS}
    return [
        row_of(experiment, key, world, truths[world][key], given)
        for (key, world), given in found.items()
    ]


def plot(rows: Sequence[Row]) -> Figure:
    """The share of `supported` per claim and world."""
    table = pd.DataFrame(
        {
            "label": row.claim,
            "group": "true" if row.truth else "false",
            "value": row.share,
            "low": row.low,
            "high": row.high,
        }
        for claim in sorted({row.claim for row in rows})
        for truth in (True, False)
        for row in extreme([r for r in rows if r.claim == claim and r.truth == truth], truth)
    )
    return plots.intervals(
        table,
        title="How often a claim is called supported, where true and where false",
        x_label="Share of planted worlds",
        labels={"true": "true", "false": "false"},
        caption=(
            "of several worlds the hardest true one and the worst false one; wanted: at least "
            f"{MIN_POWER:.0%} and, by a 95% limit, at most {MAX_FALSE:.0%}; "
            f"{min(row.runs for row in rows)} or more draws of each"
        ),
    )


def extreme(rows: Sequence[Row], truth: bool) -> list[Row]:
    """The row that decides, if there is any."""
    if not rows:
        return []
    choose = min if truth else max
    return [choose(rows, key=lambda row: row.share)]
