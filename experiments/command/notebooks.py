"""Executes the notebooks, or copies of them beside the results that they show."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import experiments.notebook
from experiments.harness.code_hash import code_hash
from experiments.harness.paths import RESULTS_VARIABLE, project_root
from experiments.harness.registry import FOLDER, experiments_in
from experiments.harness.summaries import RESULT_FILE, read_content
from experiments.lab.progress import ProgressLog, Silent
from experiments.notebook import MODEL_VARIABLE, PRESET_VARIABLE, STYLE_VARIABLE
from interp.assets.files import replace_file
from interp.errors import ExperimentError

if TYPE_CHECKING:
    from nbformat import NotebookNode

COPIES = "notebooks"
STAMP = "interp"  # key in a copy's metadata that holds what it was executed from
LIVE = "live"  # tag of the cells that load the model; they are written for the default model


def notebook_folder() -> Path:
    """The folder of the notebooks. Raises ExperimentError outside a checkout of the project."""
    folder = project_root() / "notebooks"
    if not folder.is_dir():
        raise ExperimentError(
            f"There are no notebooks in {folder.parent}. Run this inside a checkout of the project."
        )
    return folder


def execute_copies(
    root: Path,
    preset: str,
    model: str,
    folder: Path | None = None,
    progress: ProgressLog | None = None,
) -> list[Path]:
    """Execute a copy of every notebook whose result is under `root`; keep copies up to date.

    A copy shows a result and leaves out the cells tagged `live`.
    Returns the paths of the copies, under <root>/<preset>/<model>/notebooks.
    """
    results = root / preset / model
    sources = sorted((folder or notebook_folder()).glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in sources if (results / path.stem / RESULT_FILE).is_file()]
    if not chosen:
        raise ExperimentError(f"No results in {results} that a notebook shows; run them first.")
    variables = {MODEL_VARIABLE: model, PRESET_VARIABLE: preset, RESULTS_VARIABLE: str(root)}
    shown = (progress or Silent()).track(chosen, "notebooks", len(chosen))
    return [_copy(path, results, variables) for path in shown]


def _copy(source: Path, results: Path, variables: Mapping[str, str]) -> Path:
    target, result = results / COPIES / source.name, results / source.stem / RESULT_FILE
    stamp = _stamp(source, result)
    if _read_stamp(target) != stamp:
        style = read_content(result)["style"]
        notebook = executed(source, {**variables, STYLE_VARIABLE: style}, skipped=LIVE)
        notebook.metadata[STAMP] = stamp
        _write(notebook, target)
    return target


def execute_in_place(folder: Path | None = None) -> list[Path]:
    """Execute the notebooks themselves, each on the result that it names."""
    sources = sorted((folder or notebook_folder()).glob("[0-9][0-9]_*.ipynb"))
    for path in sources:
        _write(executed(path, {}), path)
    return sources


def executed(path: Path, variables: Mapping[str, str], skipped: str | None = None) -> NotebookNode:
    """The notebook, run from a fresh kernel with the environment variables set.

    Cells that have the tag `skipped` are left out.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [c for c in notebook.cells if skipped not in c.metadata.get("tags", [])]
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        client.execute(env={**os.environ, **variables})
    except CellExecutionError as error:
        raise ExperimentError(f"{path.name} failed: {error.ename}: {error.evalue}") from error
    return _without_versions(notebook)


def _without_versions(notebook: NotebookNode) -> NotebookNode:
    """Drop what changes from machine to machine, so that equal runs give equal files."""
    notebook.metadata.get("language_info", {}).pop("version", None)
    return notebook


def _write(notebook: NotebookNode, path: Path) -> None:
    import nbformat

    replace_file(path, lambda temporary: nbformat.write(notebook, temporary))


def _stamp(source: Path, result: Path) -> str:
    """Hash of what an executed copy depends on: its cells, the result, the code that draws."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    text = json.dumps([(cell["cell_type"], cell["source"]) for cell in cells])
    code = [code_hash(Path(experiments.notebook.__file__))]
    code += [one.code(drawing=True) for one in experiments_in(FOLDER) if one.name == source.stem]
    parts = [text.encode(), result.read_bytes(), *map(str.encode, code)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _read_stamp(path: Path) -> str | None:
    if not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8")).get("metadata", {}).get(STAMP)
