"""Saved results in short, read from their result.json alone: quick, without pandas or torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.harness.provenance import git
from experiments.lab.claims import Verdict
from experiments.lab.config import changed_note
from experiments.lab.estimate import Estimate
from interp.errors import ExperimentError

RESULT_FILE = "result.json"
NUMBERED = "[0-9][0-9]_*"


@dataclass(frozen=True)
class Summary:
    """One saved result: which model, what was found, and where its figures are."""

    experiment: str
    model: str  # name of its folder: the model, and the user's own prompts if any
    preset: str
    claims: Sequence[Mapping[str, Any]]  # key, notes, statement, criterion, verdict, estimates, ...
    mechanics: bool
    estimates: Mapping[str, Estimate]
    content: Mapping[str, Any]
    figures: tuple[Path, ...]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each claim, by its key."""
        return {claim["key"]: claim["verdict"] for claim in self.claims}

    def deciding(self, key: str) -> list[Estimate]:
        """The estimates that decide a claim, the telling one first."""
        names = next(claim["estimates"] for claim in self.claims if claim["key"] == key)
        return [self.estimates[name] for name in names if name in self.estimates]

    def changed(self, most: int | None = None) -> str:
        """Settings that are not the preset's, in brackets."""
        return changed_note(self.content.get("changed", {}), most)

    @property
    def title(self) -> str:
        """The model with what sets this result apart from a usual one."""
        style = self.content["style"]
        note = "" if style == "template" else f" (style: {style})"
        random = ", random weights: mechanics only" if self.mechanics else ""
        return f"{self.model}{note}{self.changed()}{random}"


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
    """Summary of the result.json at `path`; None in an unfinished save, and for the oldest."""
    if path.parent.name.startswith("."):
        return None
    return summary_of(read_content(path), path.parent)


def read_content(path: Path) -> dict[str, Any]:
    """Content of the result.json at `path`; raises ExperimentError as `content_of`."""
    return content_of(path.read_text(encoding="utf-8"), path)


def content_of(text: str, path: Path) -> dict[str, Any]:
    """Content of a result.json; empty for the oldest, which hold no claims: they count as none.

    Raises ExperimentError, naming the path, for a text that is no JSON.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ExperimentError(
            f"{path} is no JSON: {error}. Restore the file, or remove its folder and run the "
            "experiment again."
        ) from error
    return content if "claims" in content else {}


def summary_of(content: Mapping[str, Any], folder: Path) -> Summary | None:
    """Summary of the content of the result.json in `folder`; None if it is empty."""
    if not content:
        return None
    return Summary(
        experiment=content["experiment"],
        model=folder.parent.name,
        preset=content["preset"],
        claims=content["claims"],
        mechanics=content["mechanics"],
        estimates={entry["name"]: estimate_from(entry) for entry in content["estimates"]},
        content=content,
        figures=tuple(sorted(folder.glob("*.png"))),
    )


def estimate_from(entry: Mapping[str, Any]) -> Estimate:
    """An estimate of a result.json, where a value that is not finite is null."""
    return Estimate(**{**entry, "value": math.nan if entry["value"] is None else entry["value"]})


def committed(folder: Path) -> Summary | None:
    """The result that git has for `folder`; outside git, the one on disk; None if there is none."""
    shown = git("show", f"HEAD:./{RESULT_FILE}", folder=folder) if folder.is_dir() else None
    path = folder / RESULT_FILE
    if shown is not None:
        return summary_of(content_of(shown, path), folder)
    inside_git = folder.is_dir() and git("rev-parse", "--git-dir", folder=folder) is not None
    return read_summary(path) if path.is_file() and not inside_git else None
