"""The hash of the code that measures: what changes it, and what does not."""

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.harness.code_hash import code_hash, counted
from experiments.harness.registry import Experiment, benchmarks_in, experiments_in
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
    "interp/assets/registry.py": "SETS = {'a': 1}",
    "interp/data/sets.py": "from interp.assets.registry import SETS\ndef read(): return SETS",
    "interp/plots/__init__.py": "from interp.plots.bars import bars",
    "interp/plots/bars.py": "def bars(): return 'red'",
    "experiments/__init__.py": "",
    "experiments/lab/__init__.py": "",
    "experiments/lab/claims.py": "def decide(x): return x",
    "experiments/lab/estimates.py": "from .limits import LIMIT\ndef estimate(x): return x > LIMIT",
    "experiments/lab/limits.py": "LIMIT = 0.5",
    "experiments/figures.py": "from experiments.harness import run\ndef draw(): return 'green'",
    "experiments/harness/run.py": "def run(): pass",
    "experiments/05_x.py": '''
        """An experiment."""
        from __future__ import annotations
        from typing import TYPE_CHECKING
        import interp.stats
        from interp import capture, plots
        from interp.data import sets
        from interp.engine import run_body
        from experiments import figures
        from experiments.lab.claims import decide
        from experiments.lab.estimates import estimate
        if TYPE_CHECKING:
            from interp.typed import Typed

        CLAIMS = ("above 0",)
        MINUTES = {"smoke": 1}
        PRESETS: dict[str, int] = {"smoke": 2}
        DRAWN = (plots.bars, figures.draw)

        def run(lab: Typed):
            """Measure."""
            return estimate(interp.stats.mean(run_body(capture(sets.read()))))

        def verdicts(estimates):
            return decide(estimates > 0)

        def plot(result):
            return [draw() for draw in DRAWN]

        def bar_figure(result):
            return 1
    ''',
    "experiments/06_y/__init__.py": "",
    "experiments/06_y/protocol.py": """
        from experiments.lab.claims import decide
        CLAIMS = ("above 0",)
        MINUTES = {"smoke": 1}
        PRESETS = {"smoke": 2}
        DOSES = (1, 2)

        def verdicts(estimates):
            return decide(estimates > 0)
    """,
    "experiments/06_y/measure.py": "from interp import stats\ndef measure(x): return stats.mean(x)",
    "experiments/06_y/run.py": """
        from . import measure
        from .protocol import DOSES

        def run(config, lab):
            return measure.measure(DOSES)
    """,
    "experiments/06_y/figures.py": """
        from interp import plots
        from .protocol import CLAIMS

        def plot(result):
            return plots.bars(CLAIMS)
    """,
}
COUNTED = {
    "experiments.05_x",
    "experiments.lab.estimates",
    "experiments.lab.limits",
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
    assert {part.module for part in found} == COUNTED
    drawn = counted(sources.root / sources.start, sources.root)
    # figures imports the harness too, but uses nothing of it.
    added = {part.module for part in drawn} - COUNTED
    assert added == {"interp.plots.bars", "experiments.figures"}


def test_of_a_module_what_is_reached_counts(sources) -> None:
    text = """
        import os
        LIMIT = low()
        def low(): return HALF / 2
        HALF = 1.0
        def never(): return HALF
        os.environ["X"] = "1"
    """
    sources.write("experiments/lab/limits.py", text)
    found = counted(sources.root / sources.start, sources.root, drawing=False)
    names = {part.name for part in found if part.module == "experiments.lab.limits"}
    assert names == {"", "LIMIT", "low", "HALF"}


def reflow_imports(sources: Sources) -> None:
    sources.replace(
        sources.start,
        "from interp import capture, plots\n",
        "from interp import (\n    plots,\n)\nfrom interp import capture\n",
    )


def import_elsewhere(sources: Sources) -> None:
    sources.replace(
        sources.start, "from interp import capture, plots\n", "from interp import plots\n"
    )
    sources.replace(sources.start, "from interp.data import sets\n", "")
    sources.replace(
        sources.start,
        "    return estimate(",
        "    from interp.engine.capture import capture\n    from interp.data import sets\n"
        "    return estimate(",
    )


def import_absolutely(sources: Sources) -> None:
    sources.replace("experiments/lab/estimates.py", "from .limits", "from experiments.lab.limits")


def move_a_module(sources: Sources) -> None:
    sources.move("experiments/lab/limits.py", "interp/deep/limits.py")
    sources.write("interp/deep/__init__.py", '"""Deep."""')
    sources.replace("experiments/lab/estimates.py", "from .limits", "from interp.deep.limits")


def rename_a_package(sources: Sources) -> None:
    sources.move("interp/engine", "interp/motor")
    sources.replace_everywhere("interp.engine", "interp.motor")


def move_the_experiment(sources: Sources) -> None:
    sources.move("experiments/05_x.py", "experiments/05_x/run.py")
    sources.start = "experiments/05_x/run.py"
    sources.move("experiments/lab/estimates.py", "experiments/05_x/estimates.py")
    sources.replace("experiments/05_x/estimates.py", "from .limits", "from ..lab.limits")
    sources.replace(sources.start, "from experiments.lab.estimates", "from .estimates")


def register_a_data_set(sources: Sources) -> None:
    sources.replace("interp/assets/registry.py", "'a': 1", "'a': 1, 'b': 2")
    sources.replace("interp/data/sets.py", "def read", "def read_b(): return SETS['b']\ndef read")


def edit_docstrings_and_comments(sources: Sources) -> None:
    sources.replace(sources.start, '"""Measure."""', '"""Measure it."""')
    sources.replace("interp/engine/capture.py", '"""States."""', "")
    sources.replace("interp/engine/body.py", "# twice", "# the double")
    sources.replace("experiments/lab/limits.py", "LIMIT = 0.5", 'LIMIT = 0.5\n"""A share."""')


def edit_plots(sources: Sources) -> None:
    sources.replace("interp/plots/bars.py", "red", "green")
    sources.replace(sources.start, "def plot(result):", "def plot(result):\n    import math")
    sources.replace(sources.start, "return 1", "return 2")
    sources.replace("experiments/figures.py", "green", "red")


def claim_and_judge_otherwise(sources: Sources) -> None:
    sources.replace(sources.start, "above 0", "above 1")
    sources.replace(sources.start, "estimates > 0", "estimates > 1")
    sources.replace(sources.start, '{"smoke": 1}', '{"smoke": 1, "full": 60}')
    sources.replace(sources.start, '{"smoke": 2}', '{"smoke": 3}')
    sources.replace("experiments/lab/claims.py", "return x", "return not x")


def define_what_nothing_reaches(sources: Sources) -> None:
    sources.replace("interp/stats.py", "import numpy as np", "import numpy as np\nimport scipy")
    with (sources.root / "interp/stats.py").open("a") as file:
        file.write("\nLIMIT = 1\ndef variance(x):\n    return scipy.var(x) * LIMIT\n")


def move_a_function_out_of_its_module(sources: Sources) -> None:
    sources.write("interp/sums.py", SOURCES["interp/stats.py"])
    sources.write("interp/stats.py", "from interp.sums import mean")


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
        register_a_data_set,
        edit_docstrings_and_comments,
        edit_plots,
        claim_and_judge_otherwise,
        define_what_nothing_reaches,
        move_a_function_out_of_its_module,
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
        ("experiments/lab/limits.py", "0.5", "0.6"),  # a relative import
        ("interp/engine/late.py", "1", "2"),  # a relative import in a function
        ("interp/engine/capture.py", "model + LATE", "model - LATE"),  # through a lazy face
        ("interp/engine/body.py", "2 * x", "3 * x"),  # through a package
        ("interp/stats.py", "np.mean(x)", "np.median(x)"),  # an attribute of a package
        ("interp/stats.py", "import numpy", "import scipy"),  # another library
        ("interp/stats.py", "def mean", "print(1)\ndef mean"),  # what a module runs
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
    sources.write("experiments/lab/limits.py", "LIMIT = 0.5\nOTHER = 0.6")
    before = sources.hash()
    sources.replace("experiments/lab/estimates.py", "import LIMIT", "import OTHER as LIMIT")
    assert sources.hash() != before


def test_a_module_that_is_handed_on_counts_as_a_whole(sources) -> None:
    sources.replace(
        sources.start, "estimate(interp.stats", "estimate(interp.stats) and (interp.stats"
    )
    before = sources.hash()
    with (sources.root / "interp/stats.py").open("a") as file:
        file.write("\nLIMIT = 1")
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
    for edit in (edit_plots, claim_and_judge_otherwise):
        before = sources.hash(drawing=True)
        edit(sources)
        assert sources.hash(drawing=True) != before
        assert sources.hash() == numbers


@pytest.mark.parametrize(
    ("file", "old", "new", "measures"),
    [
        ("protocol.py", '("above 0",)', '("above 1",)', False),
        ("protocol.py", "estimates > 0", "estimates > 1", False),
        ("protocol.py", '{"smoke": 1}', '{"smoke": 9}', False),
        ("protocol.py", '{"smoke": 2}', '{"smoke": 9}', False),
        ("protocol.py", "(1, 2)", "(1, 2, 3)", True),
        ("figures.py", "plots.bars(CLAIMS)", "plots.bars(CLAIMS[:1])", False),
        ("measure.py", "mean(x)", "mean(-x)", True),
        ("run.py", "measure.measure(DOSES)", "measure.measure(DOSES[:1])", True),
    ],
)
def test_of_a_folder_the_run_counts_and_the_rest_of_it_is_judged_and_drawn(
    sources, file, old, new, measures
) -> None:
    def hashes() -> list[str]:
        package = Experiment("06", "06_y", sources.root / "experiments" / "06_y")
        return [package.code(drawing=drawing) for drawing in (False, True)]

    numbers, drawn = hashes()
    assert numbers != drawn
    sources.replace(f"experiments/06_y/{file}", old, new)
    assert (hashes()[0] != numbers) == measures
    assert hashes()[1] != drawn


def test_a_name_that_nothing_gives_is_an_error(sources) -> None:
    sources.replace(sources.start, "import run_body", "import walk as run_body")
    with pytest.raises(ExperimentError, match=r"interp\.engine has no 'walk'"):
        sources.hash()


@pytest.mark.parametrize("experiment", experiments_in(), ids=lambda one: one.name)
def test_no_experiment_depends_on_plots_assets_or_the_harness(experiment) -> None:
    parts = counted(experiment.path / "run.py", drawing=False)
    modules = {part.module for part in parts}
    assert {"interp.activations", "interp.stats", "experiments.lab.lab"} <= modules
    out = re.compile(r".*\b(plots|figures|assets|harness|command|notebook|progress|claims)\b.*")
    assert not [module for module in modules if out.match(module)]
    assert len(modules) < 60


def test_every_experiment_and_benchmark_is_hashed() -> None:
    known = [*experiments_in(), *benchmarks_in()]
    hashes = {one.code(drawing=drawing) for one in known for drawing in (True, False)}
    assert len(hashes) == 2 * len(known)


def test_hashing_is_quick() -> None:
    code = (
        "import time; from experiments.harness.registry import find_experiment;"
        "experiment = find_experiment('05');"
        "started = time.process_time(); experiment.code(drawing=False);"
        "print(time.process_time() - started)"
    )
    runs = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(3)]
    assert min(map(float, runs)) < 0.3
