"""`interp new`: what it writes runs, is linted, and replaces nothing."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from experiments.command import new
from experiments.command.main import main
from experiments.command.new import new_experiment
from experiments.harness.registry import find_experiment
from experiments.harness.runner import Plan, run_plans
from experiments.harness.store import load_result

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty checkout."""
    for folder in ("experiments", "notebooks", "tests/experiments"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_the_new_experiment_runs_and_its_claim_is_judged(root, bench) -> None:
    new_experiment("31", "norm_growth", root)
    experiment = find_experiment("31", root / "experiments")
    plan = Plan(experiment, experiment.preset("smoke"), "smoke", root / "results" / "31")
    (outcome,) = run_plans([plan], bench, say=str)
    assert outcome.status == "measured", outcome.error
    result = load_result(plan.folder)
    assert result["growth"].n == 4
    assert result.verdicts.keys() == {"31a"}
    assert (plan.folder / "norms.png").is_file()


def test_its_notebook_and_its_test_are_whole(root) -> None:
    _, notebook, test = new_experiment("31", "norm_growth", root)
    book = nbformat.read(notebook, as_version=4)
    nbformat.validate(book)
    assert any('show("31"' in cell.source for cell in book.cells)
    source = test.read_text(encoding="utf-8")
    compile(source, str(test), "exec")
    assert 'find_experiment("31")' in source


@pytest.mark.parametrize("check", ["check", "format --diff"])
def test_what_is_new_passes_the_lint_of_the_repository(check: str, root) -> None:
    experiment, _, test = new_experiment("31", "norm_growth", root)
    for path in (experiment, test):
        name = str(path.relative_to(root))
        command = [sys.executable, "-m", "ruff", *check.split(), "--stdin-filename", name, "-"]
        source = path.read_text(encoding="utf-8")
        found = subprocess.run(command, input=source, cwd=ROOT, text=True, capture_output=True)
        assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["31", "other"], "The number 31 is taken by 31_norm_growth"),
        (["32", "Norms"], "make no experiment"),
        (["3", "norms"], "make no experiment"),
        (["32", "norm growth"], "make no experiment"),
        (["33", "kept"], "33_kept.ipynb exists already"),
    ],
)
def test_nothing_is_written_over(root, monkeypatch, capsys, words, message) -> None:
    new_experiment("31", "norm_growth", root)
    (root / "notebooks" / "33_kept.ipynb").write_text("kept")
    before = sorted(root.rglob("*"))
    monkeypatch.setattr(new, "project_root", lambda: root)
    assert main(["new", *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before


def test_outside_a_checkout_it_says_so(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "31", "norm_growth"]) == 2
    assert f"There are no experiments in {tmp_path}" in capsys.readouterr().err
