"""Reads Python sources without importing them: constants, imports, a hash of the code."""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from interp.errors import ExperimentError

# Enough for text, numbers, f-strings and tuples; no calls, no attributes: nothing can be executed.
CONSTANT_NODES = (
    ast.Constant,
    ast.Name,
    ast.Tuple,
    ast.List,
    ast.Subscript,
    ast.BinOp,
    ast.UnaryOp,
    ast.operator,
    ast.unaryop,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.expr_context,
)
PROJECT_PACKAGES = ("interp", "experiments")
ROOT = Path(__file__).parent.parent
DRAWING_FUNCTION = re.compile(r"_?plot(_\w+)?|\w+_figure")


Reader = Callable[[str], str | None]  # source of a project module by its dotted name


def read_module(name: str) -> str | None:
    """Source of a project module as it is on disk; None if there is no such file."""
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def constant_text(source: str, name: str, where: str, read: Reader = read_module) -> str:
    """Value of the module constant `name`: a string, or an f-string of other constants.

    Constants may be imported from other modules of the project; `read` gives their sources.
    """
    constants = _Constants(source, read)
    if name not in constants.expressions:
        raise ExperimentError(f"{where} has no constant {name}.")
    try:
        return str(constants[name])
    except (KeyError, NameError, ValueError) as error:
        raise ExperimentError(
            f"{where}: {name} must be plain text, or an f-string of constants of the project; "
            f"it needs {error}."
        ) from error


class _Constants(dict[str, object]):
    """Values of module constants, each evaluated when an expression names it."""

    def __init__(self, source: str, read: Reader) -> None:
        super().__init__()
        body = ast.parse(source).body
        self.expressions = dict(_assignments(body))
        self._imports = dict(_imports(body))
        self._read = read

    def __missing__(self, name: str) -> object:
        if name in self.expressions:
            self[name] = value = _evaluate(self.expressions[name], self)
            return value
        module, original = self._imports[name]
        source = self._read(module)
        if source is None:
            raise KeyError(f"{module}.{original}")
        return _Constants(source, self._read)[original]


def _assignments(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from _named_values(target, node.value)


def _named_values(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of `a = value`; of `a, b = value`, each name with its item of the value."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        for i, part in enumerate(target.elts):
            item = ast.Subscript(value, ast.Constant(i), ast.Load())
            yield from _named_values(part, ast.fix_missing_locations(item))


def _imports(body: Sequence[ast.stmt]) -> Iterator[tuple[str, tuple[str, str]]]:
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, (node.module, alias.name)


def _evaluate(expression: ast.expr, constants: _Constants) -> object:
    """Value of an expression of constants; KeyError or ValueError if it needs anything else."""
    for node in ast.walk(expression):
        if not isinstance(node, CONSTANT_NODES):
            raise ValueError(f"{type(node).__name__}, which is not allowed in a constant")
    code = compile(ast.Expression(expression), "<constant>", "eval")
    return eval(code, {"__builtins__": {}}, constants)


def project_imports(source: str) -> list[str]:
    """Dotted names of the project modules that a source imports from, at its top level."""
    names = {module for module, _ in dict(_imports(ast.parse(source).body)).values()}
    return sorted(name for name in names if name.split(".")[0] in PROJECT_PACKAGES)


def imported_files(start: Path, root: Path = ROOT) -> list[Path]:
    """`start` and every project source that it imports, directly or through others, sorted."""
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        names = _imported_names(path.read_text(encoding="utf-8"))
        waiting += [file for name in names for file in _project_files(name, root)]
    return sorted(seen)


def _imported_names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _project_files(name: str, root: Path) -> list[Path]:
    parts = name.split(".")
    if parts[0] not in PROJECT_PACKAGES:
        return []
    path = root.joinpath(*parts)
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


def code_hash(start: Path, root: Path = ROOT, *, drawing: bool = True) -> str:
    """sha256 of `start` and all it imports from the project, comments and docstrings left out.

    Without `drawing`, what only draws does not count either, because no number depends on it:
    the package interp.plots, files ending in _plots, and functions named plot, plot_x, _plot_x or
    x_figure.
    """
    digest = hashlib.sha256()
    for path in imported_files(start, root):
        if drawing or not (path.stem.endswith("_plots") or path.parent.name == "plots"):
            code = bare_code(path.read_text(encoding="utf-8"), drawing=drawing)
            digest.update(f"{path.name}\n{code}\n".encode())
    return digest.hexdigest()


def bare_code(source: str, *, drawing: bool = True) -> str:
    """The source without comments, docstrings and blank lines; if asked, without drawing."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    tree = ast.parse(source)
    for first, last in [*_docstrings(tree), *([] if drawing else _drawing_functions(tree))]:
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of every docstring."""
    for node in ast.walk(tree):
        holder = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if holder and ast.get_docstring(node, clean=False) is not None:  # type: ignore[arg-type]
            text = node.body[0]  # type: ignore[attr-defined]
            yield text.lineno, text.end_lineno or text.lineno


def _drawing_functions(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of every function of the module that draws."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and DRAWING_FUNCTION.fullmatch(node.name):
            yield node.lineno, node.end_lineno or node.lineno
