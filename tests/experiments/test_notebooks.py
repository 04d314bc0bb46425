"""What notebooks call, and the execution of copies beside results."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from experiments.command import notebooks
from experiments.command.notebooks import execute_copies
from experiments.harness.paths import project_root, saved_label
from experiments.harness.registry import find_experiment
from experiments.harness.runner import run_plans
from experiments.lab.results import Result
from experiments.notebook import about, estimates, figure, observation, show
from interp.assets.tiny import tiny_huggingface
from interp.errors import ExperimentError
from tests.made_up_experiments import rewrite

MAX_CODE_LINES = 50
VARIABLES = ("INTERP_MODEL", "INTERP_PRESET", "INTERP_STYLE", "INTERP_RESULTS")
NOTEBOOKS = sorted((project_root(Path(__file__)) / "notebooks").glob("*.ipynb"))


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture
def saved(bench, make_plan, monkeypatch) -> Path:
    """A results folder with one result: smoke, model tiny, 91_norms."""
    for variable in VARIABLES:
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
    result = show("91", "tiny", "smoke", out=saved, folder=experiments_folder)
    text = str(about(result).data)
    assert text.startswith("Measured on tiny-random, `smoke` preset.")
    assert "no finding" in text  # random weights
    assert "> norms grow\n\n**91a.** Norms are positive. **Supported.**" in text
    assert "written before the run</summary>\n\nSupported if the mean norm is above 0.5" in text
    assert str(observation(result).data).startswith("The mean norm is")
    assert len(figure(result, "profile", experiments_folder).axes) == 1
    with pytest.raises(ExperimentError, match="did you mean 'profile'"):
        figure(result, "profil", experiments_folder)


def test_estimates_are_chosen_by_prefix(saved, experiments_folder) -> None:
    result = show("91", "tiny", "smoke", out=saved, folder=experiments_folder)
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


@pytest.fixture
def runs(made_up_data, experiments_folder, tmp_path, monkeypatch) -> dict[str, Any]:
    """Keyword arguments with which `show` runs 91 on made-up data, into an empty folder."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return {"out": tmp_path / "out", "folder": experiments_folder, "progress": False}


def never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, whatever would be run fails the test."""
    monkeypatch.setattr(
        "experiments.harness.runner.run_plan", lambda *_, **__: pytest.fail("was run")
    )


def style_and_preset(result: Result) -> tuple[str, str]:
    assert result.run is not None
    return result.run.style, result.run.preset


@pytest.fixture
def own_model(tmp_path) -> Path:
    """A folder with a model of the user's own."""
    folder = tmp_path / "Own model"
    for part in tiny_huggingface():
        part.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("named", ["folder", "hub id"])
def test_a_model_of_ones_own_is_run_once_and_then_shown(
    named, own_model, runs, monkeypatch
) -> None:
    monkeypatch.setattr("interp.assets.folders.fetch_hub_snapshot", lambda *_, **__: own_model)
    model = str(own_model) if named == "folder" else "Owner/Own-1B"
    result = show("91", model, "smoke", **runs)
    label = "Own-model-*" if named == "folder" else "Owner--Own-1B"
    assert len(list(runs["out"].glob(f"smoke/{label}/91_norms/result.json"))) == 1
    never_run(monkeypatch)
    assert show("91", model, "smoke", **runs)["norm.mean"] == result["norm.mean"]


def test_a_loaded_model_is_shown_by_its_weights(runs, tiny_model, monkeypatch) -> None:
    result = show("91", "tiny-random", "smoke", **runs)
    never_run(monkeypatch)
    assert show("91", tiny_model, "smoke", **runs)["norm.mean"] == result["norm.mean"]


def test_style_prompts_and_settings_are_those_that_are_asked_for(
    runs, tmp_path, made_up_prompts, monkeypatch
) -> None:
    assert style_and_preset(show("91", "tiny-random", "smoke", **runs)) == ("template", "smoke")
    newline = show("91", "tiny-random", "smoke", "newline", **runs)
    assert style_and_preset(newline) == ("newline", "smoke")
    assert style_and_preset(show("91", "tiny-random", "smoke", **runs)) == ("newline", "smoke")
    files = {"positive": tmp_path / "mine.txt", "negative": tmp_path / "other.txt"}
    prompts = made_up_prompts.positive, made_up_prompts.negative
    for path, half in zip(files.values(), prompts, strict=True):
        path.write_text("\n".join(half))
    for changed in ({"n_prompts": 3}, {"seed": 1}):
        own = show("91", "tiny-random", "smoke", **runs, **files, **changed)
        assert own.run is not None
        assert own.run.changed == changed
        assert own.run.data[0]["name"] == "mine-other"
    files["positive"].write_text("\n".join(made_up_prompts.positive[1:]))
    fewer = show("91", "tiny-random", "smoke", **runs, **files, seed=1)
    assert fewer.run is not None and fewer.run.data[0]["n"] == 59
    never_run(monkeypatch)
    again = show("91", "tiny-random", "smoke", **runs, **files, seed=1)
    assert again["norm.mean"] == fewer["norm.mean"]


def test_without_a_preset_full_is_shown_else_quick_and_only_quick_is_run(runs, capsys) -> None:
    assert style_and_preset(show("91", "tiny-random", **runs)) == ("template", "quick")
    (line,) = capsys.readouterr().out.splitlines()
    assert "91_norms: running quick on tiny-random, style template, which takes one to five" in line
    assert 'preset="full" takes ten minutes' in line
    show("91", "tiny-random", **runs)
    (line,) = capsys.readouterr().out.splitlines()
    assert "91_norms: the saved quick result of tiny-random, style template" in line
    show("91", "tiny-random", "full", **runs)
    assert "running full on tiny-random" in capsys.readouterr().out
    assert style_and_preset(show("91", "tiny-random", **runs)) == ("template", "full")
    assert style_and_preset(show("91", "tiny-random", None, "none", **runs)) == ("none", "quick")
    assert style_and_preset(show("91", "tiny-random", seed=1, **runs)) == ("template", "quick")


def test_a_saved_result_is_shown_though_the_code_has_changed(saved, runs, monkeypatch) -> None:
    never_run(monkeypatch)
    show("91", "tiny", "smoke", **{**runs, "out": saved})
    with pytest.raises(pytest.fail.Exception, match="was run"):
        show("91", "tiny-random", "smoke", force=True, **{**runs, "out": saved})


def test_the_environment_wins_but_the_style_of_the_notebook_counts(
    runs, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("INTERP_MODEL", "tiny-random")
    monkeypatch.setenv("INTERP_PRESET", "smoke")
    monkeypatch.setenv("INTERP_RESULTS", str(tmp_path / "results"))
    result = show("91", "another", "full", "newline", **runs)
    assert style_and_preset(result) == ("newline", "smoke")
    assert (tmp_path / "results" / "smoke" / "tiny-random" / "91_norms").is_dir()
    assert not runs["out"].exists()


def test_a_copy_shows_the_saved_result_whatever_style_the_notebook_names(
    runs, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(project_root(Path(__file__))))  # for the kernel
    show("91", "tiny-random", "smoke", "newline", **runs)
    folder = f"Path({str(runs['folder'])!r})"
    source = notebook(
        tmp_path / "books",
        "from pathlib import Path; from experiments import show",
        'MODEL, PRESET, STYLE = "qwen2.5-coder-0.5b", "full", "template"',
        f'show("91", MODEL, PRESET, STYLE, folder={folder}).run.style',
    )
    (copy,) = execute_copies(runs["out"], "smoke", "tiny-random", source.parent)
    printed, shown = nbformat.read(copy, as_version=4).cells[2].outputs
    assert "the saved smoke result of tiny-random, style newline" in printed["text"]
    assert shown["data"]["text/plain"] == "'newline'"


def test_a_mistake_is_raised_before_anything_is_said(runs, capsys) -> None:
    with pytest.raises(ExperimentError, match="did you mean 'quick'"):
        show("91", "tiny-random", "quik", **runs)
    with pytest.raises(ExperimentError, match="no setting 'n_prompt'; did you mean 'n_prompts'"):
        show("91", "tiny-random", n_prompt=3, **runs)
    assert capsys.readouterr().out == ""


def test_the_label_of_a_folder_outside_the_results_is_not_that_folder(own_model, tmp_path) -> None:
    assert saved_label(tmp_path, str(own_model)).startswith("Own-model-")
    assert saved_label(tmp_path, "Own model") == "Own model"


def test_a_copy_is_executed_beside_the_results_and_the_source_stays(saved, tmp_path) -> None:
    source = notebook(tmp_path / "books", "import os", "os.environ['INTERP_PRESET']")
    before = source.read_bytes()
    (copy,) = execute_copies(saved, "smoke", "tiny", source.parent)
    assert copy == saved / "smoke" / "tiny" / "notebooks" / "91_norms.ipynb"
    (output,) = nbformat.read(copy, as_version=4).cells[1].outputs
    assert output["data"]["text/plain"] == "'smoke'"
    assert source.read_bytes() == before


def test_a_copy_leaves_out_the_live_cells(saved, tmp_path) -> None:
    source = notebook(tmp_path / "books", "raise ValueError('live')", "1")
    book = nbformat.read(source, as_version=4)
    book.cells[0].metadata["tags"] = [notebooks.LIVE]
    nbformat.write(book, source)
    (copy,) = execute_copies(saved, "smoke", "tiny", source.parent)
    assert [cell.source for cell in nbformat.read(copy, as_version=4).cells] == ["1"]


def test_an_up_to_date_copy_is_kept(saved, tmp_path, experiments_folder, monkeypatch) -> None:
    source = notebook(tmp_path / "books", "1")
    runs: list[Path] = []

    def executed(path, variables, skipped):
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
    monkeypatch.setattr(notebooks, "FOLDER", experiments_folder)
    execute_copies(saved, "smoke", "tiny", source.parent)
    rewrite(find_experiment("91", experiments_folder), "Figure()", "Figure((3, 3))")
    execute_copies(saved, "smoke", "tiny", source.parent)
    assert len(runs) == 5


def test_a_failing_notebook_is_named_and_leaves_no_copy(saved, tmp_path) -> None:
    source = notebook(tmp_path / "books", "raise ValueError('broken cell')")
    with pytest.raises(ExperimentError, match=r"91_norms\.ipynb failed: ValueError: broken cell"):
        execute_copies(saved, "smoke", "tiny", source.parent)
    assert not (saved / "smoke" / "tiny" / "notebooks").exists()


def test_in_place_the_notebooks_themselves_are_executed(tmp_path, monkeypatch) -> None:
    source = notebook(tmp_path / "books", "1")
    (source.parent / "scratch.ipynb").write_text("left alone")

    def executed(path, variables):
        assert variables == {}
        book = nbformat.read(path, as_version=4)
        book.cells[0].source = "2"
        return book

    monkeypatch.setattr(notebooks, "executed", executed)
    assert notebooks.execute_in_place(source.parent) == [source]
    assert nbformat.read(source, as_version=4).cells[0].source == "2"


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
    live = [cell for cell in book.cells if notebooks.LIVE in cell.metadata.get("tags", [])]
    loads = [cell for cell in book.cells if "interp.load(" in cell.source]
    if path.stem != "00_tour":  # which has no result, hence no copy
        assert loads
        assert all(cell in live for cell in loads)
    shows = "tour." if path.stem == "00_tour" else f'show("{path.stem[:2]}"'
    assert shows in "\n".join(code)
