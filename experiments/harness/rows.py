"""Small tables in the results folder, a dataclass a row: read and written without pandas."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from interp.assets.files import replace_file
from interp.errors import ExperimentError

Row = TypeVar("Row")

READ: Mapping[Any, Callable[[str], Any]] = {bool: lambda text: text == "true"}
"""How a type is read, where calling it does not."""


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Every row of the file; none where there is no file.

    Raises ExperimentError, naming the line, for one that is not as `kind` says.
    """
    if not path.is_file():
        return []
    types = get_type_hints(kind)
    read = {name: READ.get(type_, type_) for name, type_ in types.items()}
    found = []
    with path.open(newline="", encoding="utf-8") as file:
        entries = csv.DictReader(file)
        for entry in entries:
            try:
                found.append(kind(**{name: read[name](text) for name, text in entry.items()}))
            except (KeyError, TypeError, ValueError) as error:
                raise ExperimentError(
                    f"{path}, line {entries.line_num} is damaged; expected the columns "
                    f"{', '.join(types)}. Restore the file, or remove it and measure again."
                ) from error
    return found


def write_rows(path: Path, rows: Iterable[Any], kind: type) -> Path:
    """Write the file whole, in place of an earlier one."""

    def write(building: Path) -> None:
        """The header and every row."""
        with building.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*get_type_hints(kind)], lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: _text(v) for k, v in asdict(row).items()} for row in rows)

    replace_file(path, write)
    return path


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
