"""Runs experiments: skips what is unchanged, resumes what was broken off, saves the rest whole."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from experiments.harness import provenance
from experiments.harness.labs import Bench
from experiments.harness.registry import Experiment
from experiments.harness.saving import check_writable, replacing
from experiments.harness.source import ROOT
from experiments.harness.store import load_result, saved, write_json, write_tables
from experiments.harness.summaries import committed
from experiments.lab.cells import FileCells
from experiments.lab.config import ExperimentConfig, changed, settings
from experiments.lab.lab import Lab
from experiments.lab.results import Result, RunInfo, words_for
from interp.directions import save_directions
from interp.errors import ExperimentError, InterpError
from interp.plots.style import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status = Literal["measured", "redrawn", "unchanged", "failed"]
MODEL_KEYS = ("name", "sha256", "dtype", "device", "quantisation", "tied")


@dataclass(frozen=True)
class Plan:
    """One experiment with its settings, and the folder that its result belongs in."""

    experiment: Experiment
    config: ExperimentConfig
    preset: str
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one plan."""

    name: str
    folder: Path
    status: Status
    error: str = ""


def run_plans(
    plans: Sequence[Plan], bench: Bench, *, force: bool = False, say: Callable[[str], None]
) -> list[Outcome]:
    """Run every plan whose result is missing or out of date.

    An experiment that fails with an InterpError is reported, and the others still run.
    """
    for plan in plans:
        check_writable(plan.folder.parent)
    outcomes = []
    for plan in plans:
        outcomes.append(_run_or_report(plan, bench, force, say))
        if outcomes[-1].error and len(plans) > 1:
            say(f"  {outcomes[-1].error}")
    return outcomes


def _run_or_report(plan: Plan, bench: Bench, force: bool, say: Callable[[str], None]) -> Outcome:
    name, folder = plan.experiment.name, plan.folder
    try:
        fingerprint = fingerprint_of(plan, bench.identity())
        if not force and is_unchanged(plan, bench, fingerprint):
            return _unchanged_or_redrawn(plan, say)
        say(f"{name}: running ({plan.preset})")
        result = run_plan(plan, bench, fingerprint, fresh=force)
    except InterpError as error:
        say(f"{name}: failed")
        return Outcome(name, folder, "failed", str(error))
    seconds = result.run.seconds if result.run else 0.0
    found = ", ".join(f"{key} {verdict}" for key, verdict in result.verdicts.items())
    say(f"{name}: {found or 'done'} after {seconds:.0f} s, {folder}")
    if "untestable" in result.verdicts.values():
        say(f"  {result.observation}")
    return Outcome(name, folder, "measured")


def is_unchanged(plan: Plan, bench: Bench, fingerprint: str) -> bool:
    """Whether the saved result is what a run would measure: the data sets it read included."""
    content = saved(plan.folder)
    return content.get("fingerprint") == fingerprint and all(
        _reads_the_same(plan, bench, record) for record in content["data"]
    )


def _reads_the_same(plan: Plan, bench: Bench, record: Mapping[str, Any]) -> bool:
    return bench.holds(record["name"], record["sha256"], plan.config.seed)


def _unchanged_or_redrawn(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Judge and draw anew, from saved numbers, if only the code that does so has changed."""
    drawing = plan.experiment.code(drawing=True)
    if saved(plan.folder).get("drawing") == drawing:
        say(f"{plan.experiment.name}: unchanged, {plan.folder}")
        return Outcome(plan.experiment.name, plan.folder, "unchanged")
    with _alone(plan):
        result = load_result(plan.folder)
        assert result.run is not None  # every saved result has it
        run = replace(result.run, drawing=drawing, claims=claims_of(plan))
        save(judged(replace(result, run=run), plan), plan)
    say(f"{plan.experiment.name}: unchanged, judged and drawn anew, {plan.folder}")
    return Outcome(plan.experiment.name, plan.folder, "redrawn")


def run_plan(plan: Plan, bench: Bench, fingerprint: str, *, fresh: bool = False) -> Result:
    """Run one experiment and save its result; measured cells of a broken run are used again."""
    with _alone(plan) as cells_file:
        if fresh:
            cells_file.unlink(missing_ok=True)
        same = functools.partial(_reads_the_same, plan, bench)
        cells = FileCells(cells_file, fingerprint, same)
        lab = bench.lab(plan.config.seed).for_experiment(cells)
        measured = plan.experiment.run(plan.config, lab)
        run = run_info(plan, lab, fingerprint, cells.seconds())
        said = ". ".join(filter(None, (words_for(run), measured.observation)))
        whole = replace(measured, run=run, directions=lab.directions, observation=said)
        result = save(judged(whole, plan), plan)
        cells_file.unlink()
    return result


@contextmanager
def _alone(plan: Plan) -> Iterator[Path]:
    """Where the cells of a plan are kept, while no other run writes its result.

    Raises ExperimentError where one does.
    """
    partial = plan.folder.with_name(plan.folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(partial / "lock", timeout=0):
            try:
                yield partial / "cells.jsonl"
            finally:
                if not (partial / "cells.jsonl").exists():
                    # Before another run can take the lock; some file systems keep an open file.
                    shutil.rmtree(partial, ignore_errors=True)
    except Timeout as error:
        raise ExperimentError(
            f"Another run is writing {plan.folder}; wait for it, or give another --out."
        ) from error


def judged(result: Result, plan: Plan) -> Result:
    """The result with the verdicts that its estimates give."""
    return replace(result, verdicts=plan.experiment.judge(result.estimates))


def save(result: Result, plan: Plan) -> Result:
    """Write result.json, tables, figures and directions, whole or not at all.

    The figures are drawn from the tables as read back from their CSV files.
    """
    folder = plan.folder
    check_writable(folder.parent)
    with replacing(folder) as building:
        for name, direction in result.directions.items():
            save_directions(building / f"{name}.safetensors", [direction])
        as_read = replace(result, tables=write_tables(result.tables, building))
        figures = plan.experiment.plot(as_read)
        _check_figures(figures, as_read)
        for name, figure in figures.items():
            save_figure(figure, building / f"{name}.png")
        write_json(as_read, building)
    return as_read


def _check_figures(figures: Mapping[str, Figure], result: Result) -> None:
    without = sorted(name for name in figures if name.partition(".")[0] not in result.tables)
    if without:
        raise ExperimentError(
            f"Figures without a table of the same name: {', '.join(without)}. "
            f"Tables: {', '.join(sorted(result.tables))}."
        )


def run_info(plan: Plan, lab: Lab, fingerprint: str, seconds: float) -> RunInfo:
    """How this result came about."""
    info = asdict(lab.model.info)
    return RunInfo(
        experiment=plan.experiment.name,
        claims=claims_of(plan),
        config=settings(plan.config),
        preset=plan.preset,
        style=lab.style,
        model={key: info[key] for key in MODEL_KEYS},
        data=lab.used,
        seed=plan.config.seed,
        versions=provenance.versions(),
        revision=provenance.revision(ROOT),
        seconds=round(seconds, 1),
        peak_memory_mb=round(provenance.peak_memory_mb(), 1),
        mechanics=bool(info["random"]),
        fingerprint=fingerprint,
        drawing=plan.experiment.code(drawing=True),
        changed=changed(plan.config, plan.experiment.preset(plan.preset)),
        code=plan.experiment.code(drawing=False),
        behaviour=lab.studied.name,
    )


def claims_of(plan: Plan) -> tuple[dict[str, Any], ...]:
    """The claims as result.json holds them.

    `criterion_revision` is the earliest git revision known to have had exactly this criterion: that
    of an earlier result, saved or committed, else this one; None from uncommitted changes.
    """
    earlier = committed(plan.folder)
    known = {
        claim["criterion_sha256"]: claim["criterion_revision"]
        for content in (saved(plan.folder), earlier.content if earlier else {})
        for claim in content.get("claims", ())
        if claim["criterion_revision"]
    }
    revision = provenance.revision(ROOT)
    clean = None if revision is None or revision.endswith("-dirty") else revision
    found = []
    for claim in plan.experiment.claims:
        sha256 = provenance.sha256_of(claim.criterion)
        hashes = {
            "criterion_sha256": sha256,
            "criterion_revision": known.get(sha256) or clean,
        }
        found.append({**asdict(claim), **hashes})
    return tuple(found)


def fingerprint_of(plan: Plan, identity: dict[str, Any]) -> str:
    """Hash of all that a result depends on but the data sets that it reads, which its run tells.

    That is settings, code, model, contrast set, style, dtype and the kind of device.
    """
    parts = {
        "experiment": plan.experiment.name,
        "preset": plan.preset,
        "config": settings(plan.config),
        "code": plan.experiment.code(drawing=False),
        **identity,
    }
    return provenance.sha256_of(json.dumps(parts, sort_keys=True, default=str))
