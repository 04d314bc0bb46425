"""Reads Python sources without importing them: what a module imports from where."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from interp.errors import ExperimentError

PROJECT_PACKAGES = ("interp", "experiments")
ROOT = Path(__file__).parent.parent.parent
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # where statements hold statements


@dataclass(frozen=True)
class Import:
    """A name that an import binds: `name` of `module`, or where that is empty the module itself."""

    bound: str  # "*" for every name of the module, "" for none: it is only run
    level: int  # dots before `module`, which is relative if there are any
    module: str
    name: str

    def origin(self, package: str) -> str:
        """Full name of the module that an import in a module of `package` takes from."""
        if not self.level:
            return self.module
        above = package.split(".")[: len(package.split(".")) - self.level + 1]
        return ".".join([*above, *([self.module] if self.module else [])])


@dataclass(frozen=True)
class Module:
    """A source of the project, parsed."""

    name: str  # dotted
    is_package: bool  # an __init__.py
    text: str

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def body(self) -> Sequence[ast.stmt]:
        """Its statements; not to be changed, since equal sources share them."""
        return _parsed(self.text)

    @functools.cached_property
    def exports(self) -> dict[str, Import]:
        """Names that other modules can take from it although it imports them itself."""
        nodes = [
            n for n in _own_statements(self.body) if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        return {found.bound: found for node in nodes for found in imports(node)}

    @functools.cached_property
    def face(self) -> dict[str, str]:
        """Names that a package imports late, each with its module: its dicts of modules."""
        nodes = self.body if self.is_package else []
        return {name: module for node in nodes for name, module in face_of(node).items()}

    @functools.cached_property
    def defined(self) -> set[str]:
        """Names of the module's own functions, classes and variables."""
        return {name for node in _own_statements(self.body) for name in defined(node)}


class Project:
    """The sources of a project by dotted module name; `read` gives the text of a file, or None."""

    def __init__(self, read: Callable[[str], str | None], packages: Sequence[str]) -> None:
        self._read = read
        self._packages = packages
        self._modules: dict[str, Module | None] = {}

    def owns(self, module: str) -> bool:
        """Whether the module belongs to the project."""
        return module.partition(".")[0] in self._packages

    def module(self, name: str) -> Module | None:
        """The source of a module or, for a package, of its __init__.py; None if there is none."""
        if name not in self._modules:
            self._modules[name] = self._find(name)
        return self._modules[name]

    def _find(self, name: str) -> Module | None:
        stem = name.replace(".", "/")
        for file, is_package in ((f"{stem}.py", False), (f"{stem}/__init__.py", True)):
            text = self._read(file)
            if text is not None:
                return Module(name, is_package, text)
        return None

    def resolve(self, module: str, name: str) -> tuple[str, str]:
        """The module that `name` of `module` comes from, and its name there; "" for a module.

        Goes through modules that only pass names on. Raises ExperimentError if nothing gives it.
        """
        source = self.module(module)
        found = source.exports.get(name) if source is not None else None
        if source is not None and found is not None:
            origin = found.origin(source.package)
            if not self.owns(origin):
                return module, name
            if (origin, found.name) != (module, name):
                return self.resolve(origin, found.name) if found.name else (origin, "")
        if source is not None and name in source.face:
            return self.resolve(source.face[name], name)
        if self.module(f"{module}.{name}") is not None:
            return f"{module}.{name}", ""
        if source is None or name not in source.defined:
            raise ExperimentError(
                f"{module} has no '{name}' that can be read from its source. A package that "
                "imports late lists its names in a dict of names and modules."
            )
        return module, name


def project_of(path: Path, root: Path = ROOT) -> tuple[Project, str]:
    """The project as the file at `path` sees it, and the file's module name.

    A folder of experiments outside of `root` takes everything but its own modules from there.
    """
    package = next((up for up in path.parents if up.name in PROJECT_PACKAGES), path.parent)
    places = (package.parent, root)

    def read(file: str) -> str | None:
        found = next((place / file for place in places if (place / file).is_file()), None)
        return None if found is None else found.read_text(encoding="utf-8")

    name = module_name(path.relative_to(package.parent))
    return Project(read, (*PROJECT_PACKAGES, package.name)), name


def module_name(path: PurePath) -> str:
    """Dotted name of the module in a file, given from the root of the project."""
    return ".".join(path.with_suffix("").parts)


@functools.cache
def _parsed(text: str) -> Sequence[ast.stmt]:
    return ast.parse(text).body


def imports(node: ast.Import | ast.ImportFrom) -> Iterator[Import]:
    """What an import statement binds."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield Import(alias.asname or alias.name, node.level, node.module or "", alias.name)
        elif alias.asname:
            yield Import(alias.asname, 0, alias.name, "")
        else:
            top = alias.name.partition(".")[0]
            yield Import(top, 0, top, "")
            yield Import("", 0, alias.name, "")


def is_for_type_checking(node: ast.AST) -> bool:
    """Whether a statement is `if TYPE_CHECKING`, whose body never runs."""
    names = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(node, ast.If) and ast.unparse(node.test) in names


def face_of(node: ast.stmt) -> Mapping[str, str]:
    """Content of a dict literal of names and the project's modules; empty for all else."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Dict):
        return {}
    try:
        content = ast.literal_eval(value)
    except ValueError:
        return {}
    modules = [part for part in content.values() if isinstance(part, str)]
    of_project = [part for part in modules if part.partition(".")[0] in PROJECT_PACKAGES]
    return content if len(of_project) == len(content) else {}


def _own_statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, those in functions and classes not."""
    for node in body:
        if is_for_type_checking(node):
            yield from _own_statements(node.orelse)  # type: ignore[attr-defined]
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in BLOCKS:
                yield from _own_statements(getattr(node, block, []))


def defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement gives a value to; of a function or a class its own."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
