"""Where results go: <root>/<preset>/<model>/NN_name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from interp.assets.registry import DEFAULT_MODEL, models

RESULTS_VARIABLE = "INTERP_RESULTS"
CUSTOM = "custom"
TINY = "tiny-random"


def project_root(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds this project, else the working directory."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "experiments").is_dir():
            return folder
    return here


def results_root(out: Path | None = None) -> Path:
    """`out` if given, else $INTERP_RESULTS, else `results` in the project or working directory."""
    if out is not None:
        return out.expanduser().resolve()
    named = os.environ.get(RESULTS_VARIABLE)
    return Path(named).expanduser().resolve() if named else project_root() / "results"


def default_model(preset: str) -> str:
    """The model of a preset when none is named."""
    return TINY if preset == "smoke" else DEFAULT_MODEL


def saved_label(results: Path, name: str) -> str:
    """Folder of a model's results in `results` (those of one preset): by label, or by name."""
    if name == Path(name).name and (results / name).is_dir():
        return name

    def identity(model: str) -> str:
        from interp.assets.folders import (
            identity as identify,  # imports torch: only for files of one's own
        )

        return identify(model)

    return model_label(name, identity)


def model_label(name: str, identity: Callable[[str], str], own: str = "", tiny: str = "") -> str:
    """Folder name of a model: its registered name, its hub id, or its file name and hash.

    `own` names prompts of the user's own, or another behaviour: nothing measured on others is
    replaced.
    """
    path = Path(name).expanduser()
    if name in models() or name == tiny:
        label = name
    elif path.exists():
        label = f"{path.resolve().stem}-{identity(name)[:8]}"
    else:
        label = name.replace("/", "--")
    return re.sub(r"[^\w.-]+", "-", "-".join(filter(None, (label, own))))
