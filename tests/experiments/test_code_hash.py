"""The hash of the code that measures: what changes it, and what does not."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.harness.code_hash import code_hash, counted
from experiments.harness.registry import benchmark_files, experiment_files, find_experiment
from experiments.harness.source import constant_text, project_of
from interp.errors import ExperimentError

SOURCES = {
    "interp/__init__.py": '''
        """A face: names are loaded when first asked for."""
        import os
        os.environ.setdefault("THREADS", "1")
        _FACE = {"capture": "interp.engine.capture", "unused": "interp.unused"}
        def __getattr__(name):
            import importlib
            return getattr(importlib.import_module(_FACE[name]), name)
    ''',
    "interp/engine/__init__.py": """
        from .body import run_body
        from .unused import UNUSED
    """,
    "interp/engine/capture.py": '''
        """Captures."""
        def capture(model):
            """States."""
            from .late import LATE
            return model + LATE
    ''',
    "interp/engine/body.py": "def run_body(x):\n    return 2 * x  # twice",
    "interp/engine/late.py": "LATE = 1",
    "interp/engine/unused.py": "UNUSED = 1",
    "interp/unused.py": "def unused(): return 1",
    "interp/stats.py": "import numpy as np\ndef mean(x):\n    return np.mean(x)",
    "interp/typed.py": "class Typed: pass",
    "interp/registry.py": "SETS = {'a': 1}",
    "interp/data.py": "from interp.registry import SETS\ndef read(): return SETS",
    "interp/plots/__init__.py": "from interp.plots.bars import bars",
    "interp/plots/bars.py": "def bars(): return 'red'",
    "experiments/__init__.py": "",
    "experiments/estimates.py": "from .limits import LIMIT\ndef estimate(x): return x > LIMIT",
    "experiments/limits.py": "LIMIT = 0.5",
    "experiments/figures.py": "def draw(): return 'green'",
    "experiments/x_plots.py": "from experiments.cli import main\ndef draw(): return 'blue'",
    "experiments/cli.py": "def main(): pass",
    "experiments/05_x.py": '''
        """An experiment."""
        from __future__ import annotations
        from typing import TYPE_CHECKING
        import interp.stats
        from interp import capture, data, plots
        from interp.engine import run_body
        from experiments import figures, x_plots
        from experiments.estimates import estimate
        if TYPE_CHECKING:
            from interp.typed import Typed

        FIGURES = (plots.bars, x_plots.draw, figures.draw)

        def run(lab: Typed):
            """Measure."""
            return estimate(interp.stats.mean(run_body(capture(data.read()))))

        def plot(result):
            return [draw() for draw in FIGURES]

        def bar_figure(result):
            return 1
    ''',
}
COUNTED = {
    "experiments.05_x",
    "experiments.estimates",
    "experiments.limits",
    "interp",
    "interp.engine.body",
    "interp.engine.capture",
    "interp.engine.late",
    "interp.stats",
}


class Sources:
    """A small project on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start = "experiments/05_x.py"
        for file, text in SOURCES.items():
            self.write(file, text)

    def write(self, file: str, text: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def replace(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text()
        assert old in text
        self.write(file, text.replace(old, new))

    def replace_everywhere(self, old: str, new: str) -> None:
        for path in self.root.rglob("*.py"):
            path.write_text(path.read_text().replace(old, new))

    def move(self, file: str, to: str) -> None:
        (self.root / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.root / file, self.root / to)

    def hash(self, drawing: bool = False) -> str:
        return code_hash(self.root / self.start, self.root, drawing=drawing)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "project")


def test_what_counts_is_what_measures(sources) -> None:
    found = counted(sources.root / sources.start, sources.root, drawing=False)
    assert set(found) == COUNTED
    drawn = counted(sources.root / sources.start, sources.root)
    # x_plots imports the command line too, but uses nothing of it.
    assert set(drawn) - COUNTED == {
        "interp.plots.bars",
        "experiments.x_plots",
        "experiments.figures",
    }


def reflow_imports(sources: Sources) -> None:
    sources.replace(
        sources.start,
        "from interp import capture, data, plots\n",
        "from interp import (\n    plots,\n    data,\n)\nfrom interp import capture\n",
    )


def import_elsewhere(sources: Sources) -> None:
    sources.replace(sources.start, "from interp import capture, data, plots\n", "")
    sources.replace(
        sources.start,
        "    return estimate(",
        "    from interp.engine.capture import capture\n    from interp import data\n"
        "    return estimate(",
    )


def import_absolutely(sources: Sources) -> None:
    sources.replace("experiments/estimates.py", "from .limits", "from experiments.limits")


def move_a_module(sources: Sources) -> None:
    sources.move("experiments/limits.py", "interp/deep/limits.py")
    sources.write("interp/deep/__init__.py", '"""Deep."""')
    sources.replace("experiments/estimates.py", "from .limits", "from interp.deep.limits")


def rename_a_package(sources: Sources) -> None:
    sources.move("interp/engine", "interp/motor")
    sources.replace_everywhere("interp.engine", "interp.motor")


def move_the_experiment(sources: Sources) -> None:
    sources.move("experiments/05_x.py", "experiments/05_x/protocol.py")
    sources.start = "experiments/05_x/protocol.py"
    sources.move("experiments/estimates.py", "experiments/05_x/estimates.py")
    sources.replace("experiments/05_x/estimates.py", "from .limits", "from ..limits")
    sources.replace(sources.start, "from experiments.estimates", "from .estimates")


def move_the_assets(sources: Sources) -> None:
    sources.move("interp/registry.py", "interp/assets/registry.py")
    sources.replace_everywhere("interp.assets.fetch.registry", "interp.assets.fetch.registry")


def register_a_data_set(sources: Sources) -> None:
    sources.replace("interp/registry.py", "'a': 1", "'a': 1, 'b': 2")
    sources.replace("interp/data.py", "def read", "def read_b(): return SETS['b']\ndef read")


def edit_docstrings_and_comments(sources: Sources) -> None:
    sources.replace(sources.start, '"""Measure."""', '"""Measure it."""')
    sources.replace("interp/engine/capture.py", '"""States."""', "")
    sources.replace("interp/engine/body.py", "# twice", "# the double")
    sources.replace("experiments/limits.py", "LIMIT = 0.5", 'LIMIT = 0.5\n"""A share."""')


def edit_plots(sources: Sources) -> None:
    sources.replace("interp/plots/bars.py", "red", "green")
    sources.replace("experiments/x_plots.py", "blue", "green")
    sources.replace(sources.start, "def plot(result):", "def plot(result):\n    import math")
    sources.replace(sources.start, "return 1", "return 2")
    sources.replace("experiments/figures.py", "green", "red")


def import_for_type_checking(sources: Sources) -> None:
    sources.replace("interp/typed.py", "pass", "x = 1")
    sources.replace(
        sources.start,
        "if TYPE_CHECKING:\n",
        "if TYPE_CHECKING:\n    from interp.unused import unused\n",
    )


def list_another_name(sources: Sources) -> None:
    sources.replace("interp/__init__.py", "_FACE = {", '_FACE = {"mean": "interp.stats", ')
    sources.replace(
        "interp/engine/__init__.py", "from .unused", "from .late import LATE\nfrom .unused"
    )
    sources.replace("interp/unused.py", "return 1", "return 2")
    sources.replace("interp/engine/unused.py", "1", "2")


@pytest.mark.parametrize(
    "change",
    [
        reflow_imports,
        import_elsewhere,
        import_absolutely,
        move_a_module,
        rename_a_package,
        move_the_experiment,
        move_the_assets,
        register_a_data_set,
        edit_docstrings_and_comments,
        edit_plots,
        import_for_type_checking,
        list_another_name,
    ],
)
def test_it_stays_when_nothing_else_is_computed(sources, change: Callable[[Sources], None]) -> None:
    before = sources.hash()
    change(sources)
    assert sources.hash() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("experiments/05_x.py", "estimate(interp", "not estimate(interp"),
        ("experiments/limits.py", "0.5", "0.6"),  # a relative import
        ("interp/engine/late.py", "1", "2"),  # a relative import in a function
        ("interp/engine/capture.py", "model + LATE", "model - LATE"),  # through a lazy face
        ("interp/engine/body.py", "2 * x", "3 * x"),  # through a package
        ("interp/stats.py", "np.mean(x)", "np.median(x)"),  # an attribute of a package
        ("interp/stats.py", "import numpy", "import scipy"),  # another library
        ("interp/__init__.py", '"1"', '"2"'),  # what a package runs
        ("interp/__init__.py", "interp.engine.capture", "interp.other"),
        ("interp/engine/__init__.py", ".body", ".other"),
    ],
)
def test_it_changes_with_what_is_computed(sources, file: str, old: str, new: str) -> None:
    sources.write("interp/other.py", "def capture(model):\n    return model")
    sources.write("interp/engine/other.py", "def run_body(x):\n    return x")
    before = sources.hash()
    sources.replace(file, old, new)
    assert sources.hash() != before


def test_taking_another_thing_by_the_same_name_changes_it(sources) -> None:
    sources.write("experiments/limits.py", "LIMIT = 0.5\nOTHER = 0.6")
    before = sources.hash()
    sources.replace("experiments/estimates.py", "import LIMIT", "import OTHER as LIMIT")
    assert sources.hash() != before


def test_a_module_that_is_only_run_counts(sources) -> None:
    sources.write("interp/threads.py", "import torch\ntorch.set_num_threads(1)")
    before = sources.hash()
    sources.replace(
        sources.start, "import interp.stats\n", "import interp.stats\nimport interp.threads\n"
    )
    assert sources.hash() != before


def test_drawing_has_a_hash_of_its_own(sources) -> None:
    before, numbers = sources.hash(drawing=True), sources.hash()
    reflow_imports(sources)
    rename_a_package(sources)
    assert sources.hash(drawing=True) == before
    edit_plots(sources)
    assert sources.hash(drawing=True) != before
    assert sources.hash() == numbers


def test_a_name_that_nothing_gives_is_an_error(sources) -> None:
    sources.replace(sources.start, "import run_body", "import walk as run_body")
    with pytest.raises(ExperimentError, match=r"interp\.engine has no 'walk'"):
        sources.hash()


def test_constants_are_read_through_relative_imports_and_packages(tmp_path) -> None:
    experiment = tmp_path / "experiments" / "05_x"
    experiment.mkdir(parents=True)
    (experiment / "limits.py").write_text("LIMIT = 0.5")
    (experiment / "protocol.py").write_text(
        "from .limits import LIMIT as MOST\nCRITERION = f'Above {MOST}.'"
    )
    assert constant_text(*project_of(experiment / "protocol.py"), "CRITERION") == "Above 0.5."


@pytest.mark.parametrize("name", [file.name for file in experiment_files()])
def test_no_experiment_depends_on_plots_assets_or_the_command_line(name: str) -> None:
    modules = set(counted(find_experiment(name).path, drawing=False))
    assert {"interp.activations", "interp.stats", "experiments.lab.lab"} <= modules
    shown = (
        "cli",
        "run_command",
        "runner",
        "progress",
        "report",
        "saving",
        "notebooks",
        "registry",
    )
    brought = (
        "assets",
        "cache",
        "data",
        "downloads",
        "files",
        "hub",
        "literals",
        "registry",
        "wheels",
    )
    out = {f"experiments.{part}" for part in shown} | {f"interp.{part}" for part in brought}
    assert not out & modules
    assert not [module for module in modules if "plots" in module]
    assert len(modules) < 50


def test_every_experiment_and_benchmark_is_hashed() -> None:
    files = [*experiment_files(), *benchmark_files()]
    hashes = {code_hash(file.path, drawing=drawing) for file in files for drawing in (True, False)}
    assert len(hashes) == 2 * len(files)


def test_hashing_is_quick() -> None:
    code = (
        "import time; from experiments.code_hash import code_hash;"
        "from experiments.registry import find_experiment; path = find_experiment('05').path;"
        "started = time.process_time(); code_hash(path, drawing=False);"
        "print(time.process_time() - started)"
    )
    runs = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(3)]
    assert min(map(float, runs)) < 0.3
