"""A hash of the code that measures: what its numbers depend on, and nothing else.

It covers the definitions that an experiment reaches by the names that it uses, through imports that
are relative or late and packages that pass names on, and what the modules that hold them run on
import. Of each it takes the statement as `ast.unparse` writes it, without docstrings and comments,
and of each name in it what it is called there and the code that it stands for; never the name or
the place of a file. So a hash stays as it is when things are moved, renamed with their module,
reflowed or taken by another way, and when something is added or removed that nothing reaches.

A module that is handed on as a whole counts as a whole. Of a package's __init__.py statements that
pass names on do not count: the names are followed to their modules.
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
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)

ALL = "*"  # in place of a name: every statement of a module


@dataclass(frozen=True)
class Part:
    """The definitions of a name in a module, "" for what the module runs on import, or ALL."""

    module: str
    name: str


def code_hash(start: Path, root: Path = ROOT, *, drawing: bool = True) -> str:
    """sha256 of the code in `start` and of all that it reaches in the project.

    Without `drawing`, what only judges or draws does not count either: CLAIMS, verdicts and the
    like, packages called plots, modules called figures, functions called plot, plot_x, _plot_x or
    x_figure.
    """
    return _sha256("\n".join(sorted(set(counted(start, root, drawing=drawing).values()))))


def counted(start: Path, root: Path = ROOT, *, drawing: bool = True) -> dict[Part, str]:
    """The parts of modules that count towards `code_hash`, each with its hash."""
    project, name = project_of(start, root)
    reach = _Reach(project, drawing)
    found: dict[Part, str] = {}
    waiting = [Part(name, ALL)]
    while waiting:
        part = waiting.pop()
        if part.module and part not in found and reach.counts(part.module):
            uses = reach.uses(part)
            found[part] = "\n".join([reach.text(part), *sorted({use for use, _ in uses})])
            above = part.module.rpartition(".")[0]
            waiting += [Part(part.module, ""), Part(above, ""), *(other for _, other in uses)]
    return {part: _sha256(text) for part, text in found.items() if text.strip()}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


Use = tuple[str, Part]  # a name and the code that it stands for, as text, and where that lies


class _Reach:
    """The parts of a project's modules, and what they take from each other."""

    def __init__(self, project: Project, drawing: bool) -> None:
        self._project = project
        self._drawing = drawing

    def counts(self, module: str) -> bool:
        """Whether numbers, or if asked the drawing, may depend on this module."""
        drawn = DRAWING.fullmatch(module) and not self._drawing
        return not drawn and not LEFT_OUT.fullmatch(module)

    def text(self, part: Part) -> str:
        """The code of a part."""
        return "\n".join(kept.text for kept in self._statements(part) if kept.text)

    def _statements(self, part: Part) -> list[_Statement]:
        source = self._project.module(part.module)
        if source is None:  # a folder without an __init__.py
            return []
        return [
            kept
            for kept in _statements(source.text, source.is_package)
            if (self._drawing or not kept.draws) and kept.belongs_to(part.name)
        ]

    def uses(self, part: Part) -> list[Use]:
        """Every name that a part uses and that its module imports or defines."""
        source = self._project.module(part.module)
        if source is None:
            return []
        whole = _statements(source.text, source.is_package)
        used: dict[str, list[Sequence[str]]] = {}
        for name, *attributes in {n for kept in self._statements(part) for n in kept.names}:
            used.setdefault(name, []).append(tuple(attributes))
        if part.name not in ("", ALL):
            used.setdefault(part.name, [])  # a library's name that the module passes on
        bound = [found for kept in whole for found in kept.imports]
        uses = [
            use
            for found in bound
            if found.bound in used or (found.bound in ("", ALL) and part.name in ("", ALL))
            for use in self._uses_of(found, source, used.get(found.bound, []))
        ]
        own = {name for kept in whole for name in kept.defines} & set(used) - {part.name}
        if part.name != ALL:
            uses += [self._use(name, Part(part.module, name)) for name in own]
        return uses

    def _uses_of(
        self, found: Import, source: Module, taken: Sequence[Sequence[str]]
    ) -> Iterator[Use]:
        module = found.origin(source.package)
        if not self._project.owns(module):
            if found.bound:
                yield f"{found.bound} is {found.name} of {module}", Part("", "")
        elif found.bound in ("", ALL):
            yield from self._followed(found.bound, Part(module, found.bound), [])
        elif found.name:
            yield from self._followed(
                found.bound, Part(*self._project.resolve(module, found.name)), taken
            )
        else:
            yield from self._followed(found.bound, Part(module, ""), taken)

    def _followed(self, bound: str, part: Part, taken: Iterable[Sequence[str]]) -> Iterator[Use]:
        """A name and, where it is a module, what is taken from that."""
        if part.name or not bound:
            yield self._use(bound, part)
            return
        for first in sorted({(attributes or ("",))[0] for attributes in taken}):
            deeper = [attributes[1:] for attributes in taken if attributes[:1] == (first,)]
            if not first:
                yield self._use(bound, Part(part.module, ALL))
                continue
            try:
                further = Part(*self._project.resolve(part.module, first))
            except ExperimentError:  # an attribute that every module has
                continue
            yield from self._followed(f"{bound}.{first}", further, deeper)

    def _use(self, bound: str, part: Part) -> Use:
        if not self.counts(part.module):
            return "", Part("", "")
        return f"{bound} is {part.name} of {_sha256(self.text(part))}", part


class _Names(ast.NodeVisitor):
    """Collects names in code, each with the attributes that are taken from it."""

    def __init__(self) -> None:
        self.found: list[Sequence[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        self.found.append((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain, below = [node.attr], node.value
        while isinstance(below, ast.Attribute):
            chain.append(below.attr)
            below = below.value
        if isinstance(below, ast.Name):
            self.found.append((below.id, *reversed(chain)))
        else:
            self.visit(below)


def _names(body: Iterable[ast.stmt]) -> frozenset[Sequence[str]]:
    names = _Names()
    for node in body:
        names.visit(node)
    return frozenset(names.found)


@dataclass(frozen=True)
class _Statement:
    """A top-level statement without docstrings, comments and imports, which stand beside it."""

    text: str
    imports: Sequence[Import]
    names: frozenset[Sequence[str]]  # that it uses, each with the attributes taken from it
    defines: frozenset[str]
    runs: bool  # does more than to define names
    draws: bool

    def belongs_to(self, name: str) -> bool:
        """Whether it belongs to the part of that name."""
        return name == ALL or (self.runs if not name else name in self.defines)


@functools.cache
def _statements(text: str, is_package: bool) -> Sequence[_Statement]:
    """The top-level statements of a source."""
    found = []
    for node in Module("", is_package, text).body:
        taken: list[Import] = []
        left = [] if is_package and _passes_names_on(node) else _stripped([node], taken.append)
        names = frozenset(defined(node))
        draws = isinstance(node, ast.FunctionDef) and DRAWING_FUNCTION.fullmatch(node.name)
        draws = bool(draws) or not JUDGING.isdisjoint(names)
        text = "\n".join(map(ast.unparse, left))
        runs = not (names and isinstance(node, DEFINITIONS))
        defines = names if text else frozenset()
        found.append(_Statement(text, taken, _names(left), defines, runs, draws))
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
