"""Where a result came from: git revisions, package versions, peak memory, hash of the criterion."""

from __future__ import annotations

import hashlib
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from experiments.source import constant_text, project_imports
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
    """First git revision in which the experiment file had exactly this criterion, None if none.

    Constants that the criterion names may come from other modules of the project, so revisions of
    those count too.
    """
    root = path.parent.parent
    modules = project_imports(path.read_text(encoding="utf-8"))
    files = [path.relative_to(root).as_posix(), *map(_module_path, modules)]
    history = git("log", "--format=%H", "--reverse", "--", *files, folder=root)
    for commit in (history or "").split():
        if _criterion_at(commit, files[0], root) == criterion:
            return commit
    return None


def _module_path(module: str) -> str:
    return module.replace(".", "/") + ".py"


def _criterion_at(commit: str, file: str, root: Path) -> str | None:
    """Criterion of the file in a revision, None if it had none that can be read."""

    def source_of(path: str) -> str | None:
        return git("show", f"{commit}:./{path}", folder=root)

    source = source_of(file)
    if source is None:
        return None
    try:
        return constant_text(source, "CRITERION", file, lambda name: source_of(_module_path(name)))
    except (ExperimentError, SyntaxError):
        return None


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
