"""The bench that experiments work on: the model, the data, and captures that several share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.cells import Cells, DataRecord, MemoryCells
from experiments.lab.progress import ProgressLog, Silent
from interp import nulls
from interp.activations import capture
from interp.agreement import in_float32
from interp.behaviours import Behaviour, behaviour, refusal_of
from interp.data.prompt_sets import ContrastSet, TextSet
from interp.data.sets import load_set
from interp.data.splits import Splits, split
from interp.directions import Direction
from interp.errors import ExperimentError, is_out_of_memory
from interp.prompts import Style, Tokens, positions, tokenise
from interp.sites import Site
from interp.untrained import untrained

if TYPE_CHECKING:
    from interp.models import LoadedModel

T = TypeVar("T")
MAX_CACHED_BYTES = 6 * 2**30  # activations beyond this are captured again when asked for


class DataSet(Protocol):
    """What `Lab.uses` records: any named data set with a hash."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...


class Extracted(Protocol):
    """A direction with the activations that it was extracted from."""

    @property
    def direction(self) -> Direction: ...
    @property
    def positive(self) -> Float[Tensor, "positive d_model"]: ...
    @property
    def negative(self) -> Float[Tensor, "negative d_model"]: ...


class Lazy(Generic[T]):
    """A value, or a function that gives it when it is first needed (a download, say)."""

    def __init__(self, source: T | Callable[[], T]) -> None:
        self._source = source

    @cached_property
    def value(self) -> T:
        """The value, made once."""
        source: Any = self._source
        return cast("T", source() if callable(source) else source)


class Lab:
    """The model, the data in one prompt style, and what has been captured so far.

    `studied` is the behaviour that is measured; given its `contrast` set alone, it is refusal.

    Data sets given as functions are fetched when an experiment first reads them. Reading
    `contrast`, `splits`, `harmful_test`, `harmless_test` or `text` records the set for result.json.
    """

    def __init__(
        self,
        *,
        model: LoadedModel,
        contrast: ContrastSet | None = None,
        studied: Behaviour | None = None,
        harmful_test: TextSet | Callable[[], TextSet],
        harmless_test: TextSet | Callable[[], TextSet],
        text: TextSet | Callable[[], TextSet],
        style: Style = "template",
        seed: int = 0,
        preset: str = "quick",
        cells: Cells | None = None,
        progress: ProgressLog | None = None,
    ) -> None:
        self.model = model
        self.style: Style = style
        self.seed = seed
        self.preset = preset
        self._study(_behaviour_of(contrast, studied))
        self._harmful = Lazy(harmful_test)
        self._harmless = Lazy(harmless_test)
        self._text = Lazy(text)
        self._cells = cells if cells is not None else MemoryCells()
        self._progress = progress if progress is not None else Silent()
        self._captured: dict[tuple[str, Site, int], Tensor] = {}
        self._is_untrained = False
        self._tokens: dict[str, Tokens] = {}
        self._shared: dict[str, Any] = {}
        self._directions: dict[str, Direction] = {}

    def for_experiment(self, cells: Cells) -> Lab:
        """The same bench, sharing captures, with cells and a record of data of its own."""
        bench = copy.copy(self)
        bench._cells = cells
        bench._directions = {}
        return bench

    def behaviour(self, name: str) -> Behaviour:
        """A behaviour by name or file (`interp.behaviours.behaviour`); the one that is studied."""
        return self.studied if name == self.studied.name else behaviour(name)

    def require_refusal(self, why: str) -> None:
        """Raise ExperimentError, with the reason, where another behaviour is studied."""
        if self.studied.name != "refusal":
            raise ExperimentError(
                f"This experiment {why}: it takes no other --behaviour, so not {self.studied.name}."
            )

    def on(self, behaviour: Behaviour) -> Lab:
        """The same bench and cells with the prompts of another behaviour, put in its style.

        Cells are shared: their keys have to name the behaviour.
        """
        bench = copy.copy(self)
        bench._study(behaviour)
        bench.style, bench._captured, bench._tokens = behaviour.style, {}, {}
        return bench

    def _study(self, behaviour: Behaviour) -> None:
        self.studied, self._contrast = behaviour, behaviour.contrast
        self._splits = Lazy(lambda: split(behaviour.contrast, self.seed))

    @property
    def contrast(self) -> ContrastSet:
        """The contrast set, whole."""
        self.uses(self._contrast)
        return self._contrast

    @property
    def splits(self) -> Splits:
        """Train, validation and test of the contrast set, drawn with the seed."""
        self.uses(self._contrast)
        return self._splits.value

    @property
    def harmful_test(self) -> TextSet:
        """Test prompts on which the behaviour is expected; never used to choose anything."""
        self.uses(self._harmful.value)
        return self._harmful.value

    @property
    def harmless_test(self) -> TextSet:
        """Test prompts on which the behaviour is not expected."""
        self.uses(self._harmless.value)
        return self._harmless.value

    @property
    def text(self) -> tuple[str, ...]:
        """Ordinary text, on which damage is measured."""
        self.uses(self._text.value)
        return tuple(self._text.value.texts)

    def tokens(self, prompts: Sequence[str]) -> Tokens:
        """The prompts in the bench's style, tokenised once."""
        key = _key(prompts)
        if key not in self._tokens:
            self._tokens[key] = tokenise(self.model, list(prompts), self.style)
        return self._tokens[key]

    def activations(
        self, prompts: Sequence[str], sites: Sequence[Site], positions: Sequence[int] = (-1,)
    ) -> Float[Tensor, "sample site pos d_model"]:
        """Residual stream of the prompts, float32 on CPU; each site and position captured once.

        Taken in float32 also from a model that runs in bf16, whose rounding is a tenth of the small
        variances and class differences of the first layers (`interp.agreement` measures it).
        Only missing sites are captured, always over all of the prompts: batches, and with them the
        last bits of the numbers, do not depend on what other experiments asked for before.
        """
        key = _key(prompts)
        missing = [s for s in sites if any((key, s, p) not in self._captured for p in positions)]
        if missing:
            found = self._capture(self.tokens(prompts), missing, positions)
            self._make_room(found.nbytes, key)
            for i, site in enumerate(missing):
                for j, position in enumerate(positions):
                    self._captured[key, site, position] = found[:, i, j]
        columns = [torch.stack([self._captured[key, s, p] for p in positions], 1) for s in sites]
        return torch.stack(columns, 1)

    def _capture(
        self, tokens: Tokens, sites: Sequence[Site], positions: Sequence[int]
    ) -> Float[Tensor, "sample site pos d_model"]:
        """In float32, or in the model's own dtype, with a warning, where those do not fit."""
        try:
            with in_float32(self.model):
                return self._capture_as_is(tokens, sites, positions)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or self.model.dtype == torch.float32:
                raise
        self._progress.say(
            f"warning: the weights do not fit into memory in float32; activations are captured in "
            f"{self.model.info.dtype}, which rounds the small differences of the first layers away"
        )
        return self._capture_as_is(tokens, sites, positions)

    def _capture_as_is(
        self, tokens: Tokens, sites: Sequence[Site], positions: Sequence[int]
    ) -> Float[Tensor, "sample site pos d_model"]:
        """In the model's present dtype; of the random weights where those are asked for."""
        with untrained(self.model, self.seed) if self._is_untrained else nullcontext():
            return capture(self.model, tokens, sites=sites, positions=tuple(positions))

    def _make_room(self, n_bytes: int, keep: str) -> None:
        """Forget the captures of other prompts if the new ones would not fit."""
        held = sum(tensor.nbytes for tensor in self._captured.values())
        if held + n_bytes > MAX_CACHED_BYTES:
            for other in [entry for entry in self._captured if entry[0] != keep]:
                del self._captured[other]

    def cell(self, key: str, compute: Callable[[], T]) -> T:
        """Value of one measured cell: saved as soon as it is measured, read back on resume.

        The value must fit JSON (tuples and arrays come back as lists), and comes back through JSON
        also when it is new. The key must name everything that the value depends on, apart from the
        experiment's settings, the model and the data.
        """
        return self._cells.get(key, compute)

    def shared(self, key: str, compute: Callable[[], T]) -> T:
        """A cell that other experiments of this run may have measured already, by the same key.

        For what several need: the key must name all that the value depends on, apart from the
        model and the data. Data sets are read outside of `compute`, so that every experiment that
        takes the value records them.
        """
        value = self.cell(key, lambda: self._shared[key] if key in self._shared else compute())
        return self._shared.setdefault(key, value)

    def position(self, name: str) -> int:
        """A named position (`interp.prompts.positions`): "last", "last_instruction"."""
        return positions(self.model, self.style)[name]

    def untrained(self) -> Lab:
        """The same prompts in the same architecture with random weights (`interp.untrained`).

        Only `activations` are of the random weights; `model` is what it was.
        """
        bench = copy.copy(self)
        bench._is_untrained, bench._captured = True, {}
        return bench

    def progress(
        self, iterable: Iterable[T], description: str, total: int | None = None
    ) -> Iterator[T]:
        """Yield from `iterable`, showing how far it is."""
        known = len(iterable) if total is None and hasattr(iterable, "__len__") else total  # type: ignore[arg-type]
        return self._progress.track(iterable, description, known)

    def data(self, name: str) -> Any:
        """Any registered set by name (`interp.data.SETS`): fetched, verified and recorded."""
        found = load_set(name)
        self.uses(found)
        return found

    def nulls(self, source: Extracted, n: int, purpose: str) -> list[tuple[str, int, Direction]]:
        """`n` random directions of every family, as family, number and direction.

        `purpose` says what they are drawn for: equal purposes and seeds give equal draws.
        """
        seeds = self.rng(purpose).integers(2**31, size=len(nulls.FAMILIES)).tolist()
        states = source.direction, source.positive, source.negative
        return [
            (family, number, direction)
            for family, seed in zip(nulls.FAMILIES, seeds, strict=True)
            for number, direction in enumerate(nulls.of_family(family, *states, n, seed))
        ]

    def save_direction(self, name: str, direction: Direction) -> None:
        """Leave a direction beside the result, as `name`.safetensors."""
        self._directions[name] = direction

    @property
    def directions(self) -> dict[str, Direction]:
        """What is left beside the result, by name."""
        return dict(self._directions)

    def rng(self, purpose: str) -> np.random.Generator:
        """Random generator that depends on the seed and on what it is for, and on nothing else."""
        digest = hashlib.sha256(purpose.encode()).digest()
        words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
        return np.random.default_rng([self.seed, *words])

    def uses(self, *data: DataSet) -> None:
        """Record data sets for result.json, which is measured again when one of them changes."""
        for item in data:
            self._cells.uses({"name": item.name, "sha256": item.sha256, "n": _size(item)})

    @property
    def used(self) -> tuple[DataRecord, ...]:
        """Every recorded data set as {name, sha256, n}."""
        return self._cells.used


def _behaviour_of(found: ContrastSet | None, studied: Behaviour | None) -> Behaviour:
    if (found is None) == (studied is None):
        raise ExperimentError("A lab needs a contrast set or a behaviour, and not both.")
    return refusal_of(found) if studied is None else studied  # type: ignore[arg-type]


def _key(prompts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{len(prompt)}:{prompt}".encode())
    return digest.hexdigest()


def _size(item: Any) -> int:
    if hasattr(item, "__len__"):
        return len(item)
    return len(item.positive) + len(item.negative)
