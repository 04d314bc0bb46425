"""Which module may import which: interp <- lab <- hypotheses, and lab <- harness <- command."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from experiments.harness.source import imports, is_for_type_checking, project_of

ROOT = Path(__file__).parents[1]
PROJECT, _ = project_of(ROOT / "interp" / "__init__.py")
FILES = [path for top in ("interp", "experiments") for path in sorted((ROOT / top).rglob("*.py"))]

LIBRARY, LAB, HARNESS = r"interp(\..+)?", r"experiments\.lab(\..+)?", r"experiments\.harness(\..+)?"
HYPOTHESIS = r"experiments\.\d\d_\w+"
LIGHT = r"experiments\.lab\.(claims|config|estimate|rules)|interp\.errors"
ALLOWED = {  # module, and what it may import of the project; the first that fits counts
    LIBRARY: LIBRARY,
    LAB: f"{LAB}|{LIBRARY}",
    HARNESS: f"{HARNESS}|{LAB}|{LIBRARY}",
    rf"{HYPOTHESIS}\.protocol": LIGHT,
    rf"({HYPOTHESIS})(\..+)?": rf"OWN(\..+)?|{LAB}|{LIBRARY}",
    r"experiments(?!\.\d).*": rf"experiments(?!\.\d).*|{LIBRARY}",  # command, speed, notebook
}


def statements(node: ast.AST, late: bool) -> Iterator[ast.AST]:
    """What runs of a module; without `late` only what runs when it is imported."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not is_for_type_checking(child) and (late or not is_function):
            yield child
            yield from statements(child, late)


def imported(path: Path, late: bool = True) -> tuple[str, set[str]]:
    """A module's name, and the modules that it imports; a name of a face is of its own module."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = PROJECT.module(name)
    assert module is not None
    found = set()
    for node in statements(ast.parse(module.text), late):
        for taken in imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            origin = taken.origin(module.package)
            named = taken.name not in ("", "*") and PROJECT.owns(origin)
            found.add(PROJECT.resolve(origin, taken.name)[0] if named else origin)
    return name, found - {name}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_follows_the_arrows(path: Path) -> None:
    name, found = imported(path)
    own = ".".join(name.split(".")[:2])
    may = next(to for of, to in ALLOWED.items() if re.fullmatch(of, name)).replace("OWN", own)
    wrong = {one for one in found if PROJECT.owns(one) and not re.fullmatch(may, one)}
    if not re.fullmatch(LIBRARY, name):
        wrong |= {one for one in found if one.startswith("interp.engine")}  # private
    if name.endswith(".protocol"):  # read by `interp list` and for every --help
        outside = {one.partition(".")[0] for one in found if not PROJECT.owns(one)}
        wrong |= outside - sys.stdlib_module_names - {"annotated_types"}
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter(dict(imported(path, late=False) for path in FILES)).prepare()
