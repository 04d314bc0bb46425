"""Where a result came from: git revisions, package versions, peak memory, hash of the criterion."""

from __future__ import annotations

import hashlib
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-dimension",
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


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
