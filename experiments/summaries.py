"""Saved results in short, read from their result.json alone: quick, without pandas or torch."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.code_hash import code_hash
from experiments.provenance import git
from experiments.registry import FOLDER, ExperimentFile, experiment_files

RESULT_FILE = "result.json"
NUMBERED = "[0-9][0-9]_*"
N_HEADLINES = 2  # estimates shown for an experiment that names no HEADLINE


@dataclass(frozen=True)
class Summary:
    """One saved result: which model, what was found, and where its figures are."""

    experiment: str
    model: str  # name of its folder: the model, and the user's own prompts if any
    preset: str
    verdict: str
    mechanics: bool
    estimates: Mapping[str, Mapping[str, Any]]
    content: Mapping[str, Any]
    figures: tuple[Path, ...]


def summaries(
    root: Path, preset: str, model: str | None = None, names: str = NUMBERED
) -> list[Summary]:
    """Every saved result of a preset under `root`, by model and experiment.

    `names` is a pattern of experiment names; numbered ones by default, so no benchmarks.
    """
    pattern = f"{model or '*'}/{names}/{RESULT_FILE}"
    found = [read_summary(path) for path in sorted((root / preset).glob(pattern))]
    return [item for item in found if item is not None]


def read_summary(path: Path) -> Summary | None:
    """Summary of the result.json at `path`; None if it is part of an unfinished save."""
    if path.parent.name.startswith("."):
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return summary_of(content, path.parent)


def summary_of(content: Mapping[str, Any], folder: Path) -> Summary:
    """Summary of the content of the result.json in `folder`."""
    return Summary(
        experiment=content["experiment"],
        model=folder.parent.name,
        preset=content["preset"],
        verdict=content["verdict"],
        mechanics=content["mechanics"],
        estimates={entry["name"]: entry for entry in content["estimates"]},
        content=content,
        figures=tuple(sorted(folder.glob("*.png"))),
    )


def committed(folder: Path) -> Summary | None:
    """The result that git has for `folder`; outside git, the one on disk; None if there is none."""
    shown = git("show", f"HEAD:./{RESULT_FILE}", folder=folder) if folder.is_dir() else None
    if shown is not None:
        return summary_of(json.loads(shown), folder)
    inside_git = folder.is_dir() and git("rev-parse", "--git-dir", folder=folder) is not None
    path = folder / RESULT_FILE
    return read_summary(path) if path.is_file() and not inside_git else None


def is_by_present_code(content: Mapping[str, Any], file: ExperimentFile) -> bool:
    """Whether the present code of an experiment is what measured the content of a result.json.

    False also for results that are too old to tell.
    """
    return "code" in content and content["code"] == code_hash(file.path, drawing=False)


def headline_names(file: ExperimentFile, available: Sequence[str]) -> list[str]:
    """Estimates to show first: those that the experiment's HEADLINE names, else the first two."""
    for node in ast.parse(file.path.read_text(encoding="utf-8")).body:
        named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HEADLINE"
        annotated = isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "HEADLINE"
        if (named or annotated) and node.value is not None:  # type: ignore[union-attr]
            wanted = ast.literal_eval(node.value)  # type: ignore[union-attr]
            return [name for name in wanted if name in available]
    return list(available)[:N_HEADLINES]


def headlines(summary: Summary, folder: Path = FOLDER) -> list[str]:
    """The headline estimates as text, with interval, null and n."""
    files = {file.name: file for file in experiment_files(folder)}
    names = list(summary.estimates)
    file = files.get(summary.experiment)
    shown = headline_names(file, names) if file else names[:N_HEADLINES]
    return [estimate_text(summary.estimates[name]) for name in shown]


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """`name value unit [low, high] (null [low, high], n = ...)`."""
    unit = f" {estimate['unit']}" if estimate["unit"] else ""
    notes = [f"n = {estimate['n']}"] if estimate["n"] else []
    null = _interval(estimate["null_low"], estimate["null_high"])
    notes = ([f"null{null}"] if null else []) + notes
    extra = f" ({', '.join(notes)})" if notes else ""
    interval = _interval(estimate["low"], estimate["high"])
    return f"{estimate['name']} {_number(estimate['value'])}{unit}{interval}{extra}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{_number(low)}, {_number(high)}]"


def _number(value: float | None) -> str:
    return "not measured" if value is None or not math.isfinite(value) else f"{value:.3g}"
