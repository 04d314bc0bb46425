"""Where a result came from: git revisions, package versions, peak memory, hash of the criterion."""

from __future__ import annotations

import functools
import hashlib
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path, PurePosixPath

from experiments.source import Project, constant_text, module_name, project_of
from interp.errors import ExperimentError

PACKAGES = (
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-dimension",
    "POT",
)


def sha256_of(text: str) -> str:
    """sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, those installed."""
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    found = {name: installed[name.lower()] for name in PACKAGES if name.lower() in installed}
    return {"python": platform.python_version(), **found}


def git(*arguments: str, folder: Path) -> str | None:
    """Output of a git command; None where `folder` is no git checkout or git is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def revision(folder: Path) -> str | None:
    """Git revision of the code in `folder`; ends in "-dirty" if sources were changed since."""
    head = git("rev-parse", "HEAD", folder=folder)
    if head is None:
        return None
    changed = git("status", "--porcelain", "--", "interp", "experiments", folder=folder)
    return head.strip() + ("-dirty" if changed and changed.strip() else "")


def criterion_revision(path: Path, criterion: str) -> str | None:
    """First git revision in which the experiment had exactly this criterion, None if none.

    The experiment is known by its number (a benchmark by its name), wherever its files lay; what
    the criterion names is read from the same revision.
    """
    module = project_of(path)[1]
    root, name = path.parents[module.count(".")], module.split(".")[1]
    history = git("log", "--format=%H", "--reverse", "--", "*.py", folder=root) or ""
    return next((c for c in history.split() if criterion in _criteria_at(c, name, root)), None)


def _criteria_at(commit: str, experiment: str, root: Path) -> Iterator[str]:
    """Every criterion in a file of the experiment in a revision."""
    blobs = _blobs_of(commit, root)
    packages = {file.partition("/")[0] for file in blobs}
    project = Project(lambda f: _content(blobs[f], root) if f in blobs else None, tuple(packages))
    for file in blobs:
        if any(_is_of(experiment, part) for part in file.removesuffix(".py").split("/")):
            with suppress(ExperimentError, SyntaxError):
                yield constant_text(project, module_name(PurePosixPath(file)), "CRITERION")


def _is_of(experiment: str, part: str) -> bool:
    number = re.match(r"\d+_", experiment)
    return part.startswith(number[0]) if number else part == experiment


def _blobs_of(commit: str, root: Path) -> dict[str, str]:
    """The Python files of a revision, each with the name of its content."""
    listed = git("ls-tree", "-r", "-z", commit, folder=root) or ""
    entries = [entry.partition("\t") for entry in listed.split("\0")]
    return {file: kept.split()[2] for kept, _, file in entries if file.endswith(".py")}


@functools.cache
def _content(blob: str, root: Path) -> str | None:
    return git("cat-file", "blob", blob, folder=root)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
