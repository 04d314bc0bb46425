"""Behaviours by name, or of the user's own from a YAML file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from interp.behaviours.behaviour import PLACE, Behaviour, framed
from interp.behaviours.registered import REGISTERED
from interp.data.prompt_files import contrast_from_files, file_text
from interp.data.prompt_sets import contrast
from interp.errors import DataError, nearest
from interp.prompts import Style

WANTED = "a .yaml file that says what shows the behaviour; `interp find --help` has an example"
KEYS = ("name", "positive", "negative", "field", "frame", "shows", "others", "choice", "style")


def behaviour(name: str | Path) -> Behaviour:
    """A registered behaviour by name, or one of the user's own from a .yaml file.

    Raises DataError for an unknown name, naming the nearest, and for a file that is not as
    `read_behaviour` says.
    """
    if str(name) in REGISTERED:
        return REGISTERED[str(name)]()
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return read_behaviour(Path(name))
    raise DataError(f"No behaviour '{name}'{nearest(str(name), REGISTERED)} A file ends in .yaml.")


def read_behaviour(path: Path) -> Behaviour:
    """A behaviour from a YAML file, whose other files are found beside it.

    Keys: positive and negative (prompt files), and either shows (a list of openings; others, too,
    where it is against those) or choice: true. Also name, field (of the text in the prompt files),
    frame (a text that holds {prompt}) and style. Raises DataError that names the file and the key.
    """
    content = _yaml(path)
    for key in ("positive", "negative"):
        if not isinstance(content.get(key), str):
            raise DataError(f"{path}: {key} is missing; give the name of a file of prompts.")
    for key in ("name", "field", "frame"):
        if not isinstance(content.get(key, ""), str):
            raise DataError(f"{path}: {key} is {content[key]!r}; expected a text.")
    style = content.get("style", "template")
    if style not in get_args(Style):
        raise DataError(
            f"{path}: style is {style!r}; expected one of {', '.join(get_args(Style))}."
        )
    choice = content.get("choice", False)
    if not isinstance(choice, bool):
        raise DataError(f"{path}: choice is {choice!r}; expected true or false.")
    name = content.get("name") or path.stem
    files = [path.parent / os.path.expanduser(content[key]) for key in ("positive", "negative")]
    found = contrast_from_files(*files, content.get("field"))
    found = contrast(name, found.positive, found.negative, found.licence, paired=choice)
    try:
        found = framed(found, content.get("frame", PLACE))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    shows, others = (_openings(path, content, key) for key in ("shows", "others"))
    return Behaviour(name, found, shows, others, choice, style)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file_text(path, WANTED))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no keys; expected {', '.join(KEYS)}.")
    for key in content:
        if key not in KEYS:
            raise DataError(f"{path}: no key '{key}'{nearest(str(key), KEYS)}")
    return content


def _openings(path: Path, content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = content.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise DataError(f"{path}: {key} is {found!r}; expected a list of texts, each in quotes.")
    return tuple(found)
