"""What the README shows works: its example experiment runs, its paths exist, its markers stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.command.report import BEGIN, END, refresh_readme
from experiments.harness.registry import find_experiment
from experiments.harness.runner import Plan, run_plans
from experiments.harness.store import load_result

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def example_experiment() -> str:
    (source,) = [block for block in code_blocks() if "31_norm_growth" in block]
    return source


@pytest.mark.parametrize("check", ["check", "format --diff"])
def test_the_example_experiment_passes_the_lint_of_the_repository(check: str) -> None:
    command = f"-m ruff {check} --stdin-filename experiments/31_norm_growth.py -".split()
    ruff = [sys.executable, *command]
    found = subprocess.run(
        ruff, input=example_experiment(), cwd=ROOT, text=True, capture_output=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_example_experiment_runs(bench, tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "31_norm_growth.py").write_text(example_experiment())
    example = find_experiment("31", folder)
    plan = Plan(example, example.preset("smoke"), "smoke", tmp_path / "31_norm_growth")
    (outcome,) = run_plans([plan], bench, say=str)
    assert outcome.status == "measured", outcome.error
    result = load_result(plan.folder)
    assert result["growth"].n == 4
    assert result.verdicts.keys() == {"31a"}


def test_the_other_example_is_python_and_imports_what_exists() -> None:
    (source,) = [block for block in code_blocks() if "31_norm_growth" not in block]
    compile(source, "README.md", "exec")
    exec("\n".join(line for line in source.splitlines() if line.startswith("from")), {})


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert links
    assert not missing


@pytest.mark.parametrize("text", ["no markers", f"a {BEGIN} old {END} b"])
def test_verdicts_replace_only_what_stands_between_the_markers(text: str, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    changed = refresh_readme(readme, tmp_path / "results")
    assert changed == (BEGIN in text)
    found = readme.read_text()
    assert found == text if not changed else found.startswith("a ") and found.endswith(" b")
    assert "old" not in found
