"""Measured cells of an unfinished experiment, saved one by one, so that a killed run continues.

The file is JSON lines, append-only: a header with the fingerprint of the run, then one line per
cell and per data set that was read. A cell's value always comes back through JSON, also when it has
just been computed, so that a resumed run sees exactly what an unbroken run sees.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from interp.assets.files import explaining_full_disk
from interp.errors import ExperimentError

T = TypeVar("T")
DataRecord = Mapping[str, Any]  # name, sha256, n
MEASURED_IS_KEPT = (
    "What was measured before is kept: free some space, or give another --out, and run the same "
    "command again."
)


class Cells(Protocol):
    """Where measured cells are kept, and which data sets were read for them."""

    def get(self, key: str, compute: Callable[[], T]) -> T:
        """Value of cell `key`; computed, and saved, if it has not been measured yet."""
        ...

    def uses(self, record: DataRecord) -> None:
        """Note that a data set was read."""
        ...

    @property
    def used(self) -> tuple[DataRecord, ...]:
        """Every data set that was read, by earlier, broken runs too."""
        ...


class MemoryCells:
    """Keeps cells for the life of the process only: for tests and for work in a notebook."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._used: dict[str, DataRecord] = {}

    def get(self, key: str, compute: Callable[[], T]) -> T:
        """Value of cell `key`, computed once."""
        if key not in self._values:
            value = encode(key, compute())
            self._keep(f'"key": {json.dumps(key)}, "value": {value}')
            self._values[key] = value
        return json.loads(self._values[key])

    def uses(self, record: DataRecord) -> None:
        """Note that a data set was read."""
        if self._used.get(record["name"]) != record:
            self._keep(f'"data": {json.dumps(record)}')
            self._used[record["name"]] = record

    @property
    def used(self) -> tuple[DataRecord, ...]:
        """Every data set that was read."""
        return tuple(self._used.values())

    def _keep(self, content: str) -> None:
        """Save what is about to be known, the inside of a JSON object."""


class FileCells(MemoryCells):
    """Keeps cells in one JSON-lines file; a new one is on disk before `get` returns.

    The file is started anew where its fingerprint is another, or where a data set that was read for
    its cells is no longer the `same`.
    """

    def __init__(
        self, path: Path, fingerprint: str, same: Callable[[DataRecord], bool] = lambda _: True
    ) -> None:
        super().__init__()
        self._path = path
        self._started = time.monotonic()
        records, length = _read(path, fingerprint)
        if not all(same(record["data"]) for record in records if "data" in record):
            records, length = [], 0
        for record in records:
            if "data" in record:
                self._used[record["data"]["name"]] = record["data"]
            else:
                self._values[record["key"]] = json.dumps(record["value"])
        self._earlier = records[-1]["seconds"] if records else 0.0
        _truncate_or_begin(path, fingerprint, length)

    def __len__(self) -> int:
        return len(self._values)

    def seconds(self) -> float:
        """Time spent on this experiment, that of earlier, broken runs included."""
        return self._earlier + time.monotonic() - self._started

    def _keep(self, content: str) -> None:
        _append(self._path, f'{{{content}, "seconds": {self.seconds():.3f}}}')


def encode(key: str, value: object) -> str:
    """`value` as one line of JSON. Floats keep every bit; NaN and infinity are kept as such."""
    try:
        return json.dumps(_plain(value))
    except TypeError as error:
        raise ExperimentError(
            f"Cell '{key}' has a value that JSON cannot hold ({error}); return numbers, strings, "
            "lists or dictionaries with string keys."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value  # numpy and torch


def _read(path: Path, fingerprint: str) -> tuple[list[dict[str, Any]], int]:
    """Whole records under this fingerprint, and the length in bytes up to the last of them."""
    if not path.is_file():
        return [], 0
    lines = path.read_bytes().splitlines(keepends=True)
    records: list[dict[str, Any]] = []
    length = 0
    for line in lines:
        record = _whole(line)
        if record is None:
            break  # the write of this line was cut off
        records.append(record)
        length += len(line)
    if not records or records[0].get("fingerprint") != fingerprint:
        return [], 0
    return records[1:], length


def _whole(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


def _truncate_or_begin(path: Path, fingerprint: str, length: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if length:
        os.truncate(path, length)
        return
    path.unlink(missing_ok=True)
    _append(path, json.dumps({"fingerprint": fingerprint}))


def _append(path: Path, line: str) -> None:
    explained = explaining_full_disk(path.parent, ExperimentError, MEASURED_IS_KEPT)
    with explained, path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
