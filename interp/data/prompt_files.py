"""Prompts from the user's own .txt, .jsonl, .json and .csv files."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interp.data.prompt_sets import ContrastSet, contrast, unreadable_character
from interp.errors import DataError

TEXT_FIELDS = ("instruction", "prompt", "text")
MOST_BYTES = 1 << 30


def contrast_from_files(
    positive_path: str | Path | None, negative_path: str | Path | None, field: str | None = None
) -> ContrastSet:
    """A contrast set from two prompt files (see `read_prompts`).

    Raises DataError when one is missing, empty or malformed, or when the two share prompts.
    """
    if positive_path is None or negative_path is None:
        missing = "positive" if positive_path is None else "negative"
        raise DataError(f"Only one class: give a file of {missing} prompts as well.")
    positive, negative = read_prompts(positive_path, field), read_prompts(negative_path, field)
    name = f"{Path(positive_path).stem}-{Path(negative_path).stem}"
    return contrast(name, positive, negative, licence="the user's own")


def read_prompts(path: str | Path, field: str | None = None) -> tuple[str, ...]:
    """The prompts of a .txt (one per line), .jsonl, .json (a list) or .csv (with a header) file.

    Entries are strings, or objects whose text is in `field`, else in the first of TEXT_FIELDS that
    the first entry has. Blank lines are skipped. Raises DataError naming the file and the line (the
    entry, for .json) when something is wrong.
    """
    path = Path(os.path.expanduser(path))
    text = file_text(path)
    readers = {".txt": _txt, ".jsonl": _jsonl, ".json": _json, ".csv": _csv}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: unknown kind of file; give one of {', '.join(readers)}.")
    entries = list(readers[path.suffix.lower()](path, text))
    if not entries:
        raise DataError(f"{path} is empty: it holds no prompts.")
    return tuple(_entry_texts(path, entries, field))


def file_text(path: Path, wanted: str = "a .txt, .jsonl, .json or .csv of prompts") -> str:
    """The whole text, with every kind of line end as a line feed; `wanted` is for the error."""
    if found := unreadable_character(str(path)):
        raise DataError(f"The file name {str(path)!a} holds {found}. Rename the file.")
    if not os.path.isfile(path):  # Path.is_file raises for names that are too long
        if os.path.lexists(path):
            raise DataError(f"{path} is a folder, a device or a broken link; expected a file.")
        raise DataError(f"There is no file {path}. Give {wanted}.")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES:,} bytes, too many for prompts.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte {error.start} cannot be read. Save it as UTF-8."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}, line {line}: a NUL, so it is not UTF-8 text. Save it as UTF-8.")
    return text


Entry = tuple[str, Any]
"""Where an entry stands ("line 3"), and the entry: a string or an object"""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines: it would also break at separators that may stand inside a prompt.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _txt(path: Path, text: str) -> Iterator[Entry]:
    return ((f"line {number}", line) for number, line in _lines(text))


def _jsonl(path: Path, text: str) -> Iterator[Entry]:
    for number, line in _lines(text):
        yield f"line {number}", _parsed(path, line, number)


def _json(path: Path, text: str) -> Iterator[Entry]:
    if not text.strip():
        return iter(())
    entries = _parsed(path, text)
    if not isinstance(entries, list):
        raise DataError(
            f"{path}: expected a list of strings or of objects, found {_kind(entries)}."
        )
    return ((f"entry {number}", entry) for number, entry in enumerate(entries, start=1))


def _parsed(path: Path, text: str, line: int = 1) -> Any:
    """A JSON value that begins in the given line of a file."""
    try:
        # No number is a prompt, so none is computed: Python refuses those of 4,300 digits or more.
        return json.loads(text, parse_int=lambda digits: 0)
    except json.JSONDecodeError as error:
        line += error.lineno - 1
        raise DataError(f"{path}, line {line}: not valid JSON: {error.msg}.") from error
    except RecursionError as error:
        raise DataError(
            f"{path}, from line {line} on: lists or objects are nested too deeply; expected "
            "strings, or objects with the text in one field."
        ) from error


def _csv(path: Path, text: str) -> Iterator[Entry]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = _checked_header(path, reader.fieldnames or ()) if text.strip() else ()
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {len(names)} columns, as in the "
                    "header."
                )
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        line = reader.reader.line_num  # DictReader's own is that of the last row that was whole
        raise DataError(
            f"{path}, line {line}: malformed CSV: {error}. Look for a quote that is never closed, "
            "or save the prompts as .jsonl."
        ) from error


def _checked_header(path: Path, names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise DataError(f"{path}, line 1: it is blank; expected the names of the columns.")
    for name, count in Counter(names).items():
        if name and count > 1:
            raise DataError(
                f"{path}, line 1: {count} columns are named {name[:40]!a}; rename them."
            )
    return names


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _entry_texts(path: Path, entries: Sequence[Entry], field: str | None) -> Iterator[str]:
    first = entries[0][1]
    if field is None and isinstance(first, dict):
        field = next((name for name in TEXT_FIELDS if name in first), None)
    for where, entry in entries:
        text = _field_text(path, where, entry, field) if isinstance(entry, dict) else entry
        if not isinstance(text, str):
            raise DataError(f"{path}, {where}: expected a text, found {_kind(text)}.")
        if not text.strip():
            raise DataError(f"{path}, {where}: the prompt is empty.")
        if found := unreadable_character(text):
            raise DataError(f"{path}, {where}: the prompt holds {found}. Remove it.")
        yield text.strip()


def _field_text(path: Path, where: str, entry: Mapping[str, Any], field: str | None) -> Any:
    if field is None or field not in entry:
        wanted = f"field {field!r}" if field else f"field {' or '.join(map(repr, TEXT_FIELDS))}"
        names = ", ".join(map(ascii, entry))[:200]
        raise DataError(f"{path}, {where}: no {wanted}. Its fields are: {names}.")
    return entry[field]
