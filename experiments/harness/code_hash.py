"""A hash of the code that measures: what its numbers depend on, and nothing else.

It covers the modules that an experiment reaches by its imports, relative, late and through packages
that pass names on. Of each it takes the statements as `ast.unparse` writes them, without docstrings
and comments, and of each imported name what it is called in its module and the code of that module;
never the name or the place of a file. So a hash stays as it is when modules are moved, renamed,
reflowed, or take the same things by another way.

Of a package's __init__.py only statements that do something count, as they run on import; those
that pass names on do not: the names are followed to their modules.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.harness.source import (
    BLOCKS,
    ROOT,
    Import,
    Module,
    Project,
    defined,
    face_of,
    imports,
    is_for_type_checking,
    project_of,
)
from interp.errors import ExperimentError

# No number depends on these: what assets and readers of data bring is known by its own sha256, and
# the others show and save.
LEFT_OUT = re.compile(
    r"interp\.assets(\..+)?|interp\.data\.(sets|prompt_files)|interp\.errors"
    r"|experiments\.lab\.(claims|progress|results)|experiments\.harness(\..+)?"
)
DRAWING = re.compile(r"(.+\.)?(plots(\..+)?|figures)")
DRAWING_FUNCTION = re.compile(r"_?plot(_\w+)?|\w+_figure")
# What is judged and how long it takes, and presets, whose values count by themselves.
JUDGING = {"CLAIMS", "MINUTES", "PRESETS", "verdicts"}
NAMES = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")  # with the attributes that are taken from them

Origin = tuple[str, str]  # a module and a name of it, "" for the module itself


def code_hash(start: Path, root: Path = ROOT, *, drawing: bool = True) -> str:
    """sha256 of the code in `start` and of all that it imports from the project.

    Without `drawing`, what only judges or draws does not count either: CLAIMS, verdicts and the
    like, packages called plots, modules called figures, functions called plot, plot_x, _plot_x or
    x_figure.
    """
    return _sha256("\n".join(sorted(set(counted(start, root, drawing=drawing).values()))))


def counted(start: Path, root: Path = ROOT, *, drawing: bool = True) -> dict[str, str]:
    """The modules that count towards `code_hash`, each with the hash of its part."""
    project, name = project_of(start, root)
    reach = _Reach(project, drawing)
    parts: dict[str, str] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module and module not in parts and reach.counts(module):
            origins = reach.origins(module)
            parts[module] = "\n".join([reach.bare(module).text, *sorted({o[0] for o in origins})])
            waiting += [module.rpartition(".")[0], *(origin for _, origin in origins)]
    return {module: _sha256(part) for module, part in parts.items() if part.strip()}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Bare:
    """Code without docstrings, comments and imports; the imports; the names that it uses."""

    text: str
    imports: Sequence[Import]
    names: dict[str, list[Sequence[str]]]  # attributes that are taken, by name


class _Reach:
    """The modules of a project, and what they take from each other."""

    def __init__(self, project: Project, drawing: bool) -> None:
        self._project = project
        self._drawing = drawing

    def counts(self, module: str) -> bool:
        """Whether numbers, or if asked the drawing, may depend on this module."""
        drawn = DRAWING.fullmatch(module) and not self._drawing
        return not drawn and not LEFT_OUT.fullmatch(module)

    def bare(self, module: str) -> _Bare:
        """What counts of a module."""
        source = self._project.module(module)
        return _EMPTY if source is None else _bare(source.text, source.is_package, self._drawing)

    def origins(self, module: str) -> list[tuple[str, str]]:
        """Every name that a module imports and uses: as text, and its module; "" for a library."""
        source, bare = self._project.module(module), self.bare(module)
        if source is None:  # a folder without an __init__.py
            return []
        return [
            origin
            for found in bare.imports
            if found.bound in bare.names or found.bound in ("", "*")
            for origin in self._origins_of(found, source, bare.names.get(found.bound, []))
        ]

    def _origins_of(
        self, found: Import, source: Module, taken: Sequence[Sequence[str]]
    ) -> Iterator[tuple[str, str]]:
        module = found.origin(source.package)
        if not self._project.owns(module):
            if found.bound:
                yield f"{found.bound} is {found.name} of {module}", ""
        elif found.name in ("", "*"):
            yield from self._followed(found.bound, (module, ""), taken)
        else:
            yield from self._followed(found.bound, self._project.resolve(module, found.name), taken)

    def _followed(
        self, bound: str, origin: Origin, taken: Iterable[Sequence[str]]
    ) -> Iterator[tuple[str, str]]:
        """A name and, where it is a module, what is taken from that and lies elsewhere."""
        module, name = origin
        if self.counts(module):
            yield f"{bound} is {name} of {_sha256(self.bare(module).text)}", module
        if not name:
            for first in sorted({attributes[0] for attributes in taken if attributes}):
                deeper = [attributes[1:] for attributes in taken if attributes[:1] == (first,)]
                try:
                    further = self._project.resolve(module, first)
                except ExperimentError:  # an attribute that every module has
                    continue
                if further != (module, first):
                    yield from self._followed(f"{bound}.{first}", further, deeper)


@dataclass(frozen=True)
class _Statement:
    text: str
    imports: Sequence[Import]
    draws: bool


@functools.cache
def _bare(text: str, is_package: bool, drawing: bool) -> _Bare:
    kept = [part for part in _statements(text, is_package) if drawing or not part.draws]
    code = "\n".join(part.text for part in kept if part.text)
    names: dict[str, list[Sequence[str]]] = {}
    for chain in set(NAMES.findall(code)):
        name, *attributes = chain.split(".")
        names.setdefault(name, []).append(tuple(attributes))
    return _Bare(code, [found for part in kept for found in part.imports], names)


_EMPTY = _Bare("", [], {})


@functools.cache
def _statements(text: str, is_package: bool) -> Sequence[_Statement]:
    """The top-level statements of a source."""
    found = []
    for node in Module("", is_package, text).body:
        taken: list[Import] = []
        left = [] if is_package and _passes_names_on(node) else _stripped([node], taken.append)
        draws = isinstance(node, ast.FunctionDef) and DRAWING_FUNCTION.fullmatch(node.name)
        draws = draws or not JUDGING.isdisjoint(defined(node))
        found.append(_Statement("\n".join(map(ast.unparse, left)), taken, bool(draws)))
    return found


def _passes_names_on(node: ast.stmt) -> bool:
    late = isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__dir__")
    return late or bool(face_of(node))


def _stripped(body: Iterable[ast.stmt], take: Callable[[Import], None]) -> list[ast.stmt]:
    """The statements without docstrings and imports, which are handed to `take`."""
    kept = []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for found in imports(node):
                take(found)
        elif is_for_type_checking(node):
            kept += _stripped(node.orelse, take)  # type: ignore[attr-defined]
        elif not _is_idle(node):
            kept.append(_with_stripped_blocks(node, take))
    return kept


def _is_idle(node: ast.stmt) -> bool:
    """Whether a statement is a text that stands for itself, or __all__."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__all__"
    is_value = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_value and isinstance(node.value.value, str)  # type: ignore[attr-defined]


def _with_stripped_blocks(node: ast.stmt, take: Callable[[Import], None]) -> ast.stmt:
    blocks = {name: getattr(node, name) for name in BLOCKS if getattr(node, name, None)}
    if blocks:
        node = copy.copy(node)
    for name, block in blocks.items():
        left = _stripped(block, take)
        setattr(node, name, left or ([ast.Pass()] if name == "body" else []))
    return node
