"""Contrast sets and plain texts as tuples of strings; each set carries the sha256 of its texts."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from interp.errors import DataError


@dataclass(frozen=True)
class ContrastSet:
    """Prompts that show a behaviour (positive) and prompts that do not (negative).

    When `paired`, positive[i] and negative[i] differ in the behaviour alone, and splits keep the
    pairs. `sha256` is that of the texts in their order.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    sha256: str
    licence: str
    paired: bool = False


@dataclass(frozen=True)
class TextSet:
    """Texts of one kind; texts with the same number in `clusters` are near-duplicates."""

    name: str
    texts: tuple[str, ...]
    sha256: str
    licence: str
    clusters: Int[np.ndarray, "sample"] = field(compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class ExampleSet:
    """Labelled examples of one kind, tuples of texts and labels."""

    name: str
    examples: tuple[tuple[Any, ...], ...]
    sha256: str
    licence: str

    def __len__(self) -> int:
        return len(self.examples)


def example_set(name: str, examples: Sequence[tuple[Any, ...]], licence: str) -> ExampleSet:
    """An ExampleSet with the sha256 of its examples in their order."""
    digest = hashlib.sha256(json.dumps([list(example) for example in examples]).encode())
    return ExampleSet(name, tuple(examples), digest.hexdigest(), licence)


def unreadable_character(text: str) -> str | None:
    """What no tokenizer should see: a NUL, or half of a surrogate pair; None where neither is."""
    found = re.search("[\0\ud800-\udfff]", text)
    if not found:
        return None
    kind = "a NUL" if found[0] == "\0" else "half of a surrogate pair"
    return f"U+{ord(found[0]):04X} ({kind}), which is no text"


def texts_sha256(*groups: Sequence[str]) -> str:
    """The sha256 of groups of texts, unambiguous about where each text and group ends."""
    return hashlib.sha256(json.dumps([list(group) for group in groups]).encode()).hexdigest()


def text_set(
    name: str,
    texts: Sequence[str],
    licence: str,
    clusters: Int[np.ndarray, "sample"] | None = None,
) -> TextSet:
    """A TextSet with its sha256; without `clusters` every text counts as its own cluster."""
    if clusters is None:
        clusters = np.arange(len(texts))
    return TextSet(name, tuple(texts), texts_sha256(texts), licence, clusters)


def contrast(
    name: str,
    positive: Sequence[str],
    negative: Sequence[str],
    licence: str,
    paired: bool = False,
) -> ContrastSet:
    """A checked ContrastSet.

    Raises DataError when a class is empty, the classes are the same prompts or share some (compared
    without regard to case and spacing), or a paired set has classes of different length.
    """
    for label, texts in (("positive", positive), ("negative", negative)):
        if not texts:
            raise DataError(f"{name}: only one class: there are no {label} prompts.")
    if paired and len(positive) != len(negative):
        raise DataError(f"{name}: {len(positive)} positive and {len(negative)} negative in pairs.")
    _check_disjoint(name, positive, negative)
    sha256 = texts_sha256(positive, negative)
    return ContrastSet(name, tuple(positive), tuple(negative), sha256, licence, paired)


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _check_disjoint(name: str, positive: Sequence[str], negative: Sequence[str]) -> None:
    first, second = ({_normalised(text) for text in texts} for texts in (positive, negative))
    if first == second:
        raise DataError(
            f"{name}: the positive and the negative prompts are the same {len(first)} prompts; "
            "they must differ in the behaviour."
        )
    shared = sorted(first & second)
    if shared:
        raise DataError(
            f"{name}: {len(shared)} prompts are in both the positive and the negative set, for "
            f"example {shared[0][:60]!r}. Remove them from one of the two."
        )
