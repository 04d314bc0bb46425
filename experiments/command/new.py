"""`interp new`: a new experiment with its notebook and its test, to be changed from there."""

from __future__ import annotations

import re
from pathlib import Path

from experiments.harness.paths import project_root
from experiments.harness.registry import NAME, experiments_in
from interp.assets.files import replace_file
from interp.errors import ExperimentError

TEMPLATES = Path(__file__).parent / "template"


def new_experiment(number: str, name: str, root: Path | None = None) -> list[Path]:
    """Write the experiment, its notebook and its test, and return their paths.

    Raises ExperimentError for a number or name that cannot be one, or is taken; nothing is written
    over.
    """
    root = project_root() if root is None else root
    if not (root / "experiments").is_dir():
        raise ExperimentError(
            f"There are no experiments in {root}. Run this inside a checkout of the project."
        )
    whole = f"{number}_{name}"
    if not NAME.fullmatch(whole) or not re.fullmatch(r"[a-z]\w*", name):
        raise ExperimentError(
            f"'{number}' and '{name}' make no experiment: expected two digits and a lower-case "
            "name, as in `interp new 31 norm_growth`."
        )
    taken = [one.name for one in experiments_in(root / "experiments") if one.number == number]
    if taken:
        raise ExperimentError(f"The number {number} is taken by {taken[0]}; choose another.")
    targets = {
        "experiment.py": root / "experiments" / f"{whole}.py",
        "notebook.ipynb": root / "notebooks" / f"{whole}.ipynb",
        "test.py": root / "tests" / "experiments" / f"test_{whole}.py",
    }
    existing = [str(path) for path in targets.values() if path.exists()]
    if existing:
        raise ExperimentError(f"{', '.join(existing)} exists already; remove it or rename yours.")
    for template, path in targets.items():
        text = (TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
        words = name.replace("_", " ")
        filled = text.format(number=number, name=whole, title=f"{number} {name}", words=words)
        replace_file(path, lambda temporary, text=filled: temporary.write_text(text, "utf-8"))
    return list(targets.values())
