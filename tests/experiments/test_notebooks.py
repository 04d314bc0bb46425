"""What notebooks call, and the execution of copies beside results."""

import json
from pathlib import Path

import nbformat
import pytest

from experiments import notebooks
from experiments.notebooks import about, estimates, execute_copies, figure, observation, show
from experiments.paths import project_root
from experiments.runner import run_plans
from interp.errors import ExperimentError

MAX_CODE_LINES = 50
NOTEBOOKS = sorted((project_root(Path(__file__)) / "notebooks").glob("*.ipynb"))


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture
def saved(bench, make_plan, monkeypatch) -> Path:
    """A results folder with one result: smoke, model tiny, 91_norms."""
    for variable in ("INTERP_MODEL", "INTERP_PRESET", "INTERP_RESULTS"):
        monkeypatch.delenv(variable, raising=False)
    plan = make_plan()
    run_plans([plan], bench, say=quiet)
    return plan.folder.parents[2]


def notebook(folder: Path, *code: str) -> Path:
    """A notebook of code cells for experiment 91."""
    folder.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_code_cell(source) for source in code]
    path = folder / "91_norms.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_saved_result_is_shown(saved, experiments_folder) -> None:
    result = show("91", "tiny", "smoke", saved, experiments_folder)
    text = str(about(result).data)
    assert "Norms are positive." in text
    assert "above 0.5" in text
    assert "Verdict: supported" in text
    assert "no finding" in text  # random weights
    assert str(observation(result).data).startswith("The mean norm is")
    assert len(figure(result, "profile", experiments_folder).axes) == 1
    with pytest.raises(ExperimentError, match="did you mean 'profile'"):
        figure(result, "profil", experiments_folder)


def test_estimates_are_chosen_by_prefix(saved, experiments_folder) -> None:
    result = show("91", "tiny", "smoke", saved, experiments_folder)
    assert list(estimates(result).index) == ["norm.mean", "norm.absent"]
    assert list(estimates(result, "norm.m").index) == ["norm.mean"]
    with pytest.raises(ExperimentError, match="starts with kl"):
        estimates(result, "kl")


def test_the_environment_wins_over_the_arguments(saved, experiments_folder, monkeypatch) -> None:
    monkeypatch.setenv("INTERP_MODEL", "tiny")
    monkeypatch.setenv("INTERP_PRESET", "smoke")
    monkeypatch.setenv("INTERP_RESULTS", str(saved))
    result = show("91", "another", "full", folder=experiments_folder)
    assert result.run is not None
    assert result.run.preset == "smoke"


def test_an_absent_result_is_run(saved, experiments_folder, monkeypatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("experiments.cli.main", lambda words, folder: asked.append(words) or 2)
    with pytest.raises(ExperimentError, match="could not be run"):
        show("91", "absent", "smoke", saved, experiments_folder)
    words = ["run", "91", "--model", "absent", "--preset", "smoke", "--out", str(saved)]
    assert asked == [words]


def test_a_copy_is_executed_beside_the_results_and_the_source_stays(saved, tmp_path) -> None:
    source = notebook(tmp_path / "books", "import os", "os.environ['INTERP_PRESET']")
    before = source.read_bytes()
    (copy,) = execute_copies(saved, "smoke", "tiny", source.parent)
    assert copy == saved / "smoke" / "tiny" / "notebooks" / "91_norms.ipynb"
    (output,) = nbformat.read(copy, as_version=4).cells[1].outputs
    assert output["data"]["text/plain"] == "'smoke'"
    assert source.read_bytes() == before


def test_an_up_to_date_copy_is_kept(saved, tmp_path, monkeypatch) -> None:
    source = notebook(tmp_path / "books", "1")
    runs: list[Path] = []

    def executed(path, variables):
        runs.append(path)
        return nbformat.read(path, as_version=4)

    monkeypatch.setattr(notebooks, "executed", executed)
    execute_copies(saved, "smoke", "tiny", source.parent)
    execute_copies(saved, "smoke", "tiny", source.parent)
    assert len(runs) == 1
    notebook(source.parent, "2")
    execute_copies(saved, "smoke", "tiny", source.parent)
    assert len(runs) == 2
    result = saved / "smoke" / "tiny" / "91_norms" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "observation": "Other."}))
    execute_copies(saved, "smoke", "tiny", source.parent)
    assert len(runs) == 3


def test_a_failing_notebook_is_named_and_leaves_no_copy(saved, tmp_path) -> None:
    source = notebook(tmp_path / "books", "raise ValueError('broken cell')")
    with pytest.raises(ExperimentError, match=r"91_norms\.ipynb failed: ValueError: broken cell"):
        execute_copies(saved, "smoke", "tiny", source.parent)
    assert not (saved / "smoke" / "tiny" / "notebooks").exists()


def test_notebooks_without_results_say_so(saved, tmp_path) -> None:
    source = notebook(tmp_path / "books", "1")
    with pytest.raises(ExperimentError, match="run them first"):
        execute_copies(saved, "quick", "tiny", source.parent)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_projects_notebooks_are_short_and_plain(path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    lines = [line for source in code for line in source.splitlines() if line.strip()]
    assert len(lines) <= MAX_CODE_LINES
    assert not any(line.lstrip().startswith(("def ", "class ")) for line in lines)
    assert book.cells[0].cell_type == "markdown"
    assert f'show("{path.stem[:2]}"' in "\n".join(code)
