"""The header of a GGUF file, walked before any library reads it.

The readers of other libraries believe the lengths that a header gives: one flipped bit can keep
them busy for hours, or ask for more memory than there is. Here lengths count only within the file.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, LlamaFileType

from interp.errors import ModelError, raised_as

MAGIC = b"GGUF"
VERSIONS = (2, 3)
FORMATS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}
"""struct's letter for each type of value that is one number"""
MOST_NAME_BYTES = (1 << 16) - 1
MOST_DIMENSIONS = 4
# Of all arrays together. The gguf library keeps about 1 kB for each; the largest vocabularies, with
# their scores, types and merges, have 1.3 million.
MOST_ITEMS = 1 << 22


def check_gguf(path: Path) -> None:
    """Raise ModelError for a file that does not begin as a GGUF file does."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(MAGIC))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}. Check who may read it."
        ) from error
    if begin != MAGIC:
        raise ModelError(
            f"{path} is not a GGUF file: it begins with {begin!r}, expected {MAGIC!r}. Give a "
            ".gguf file, a folder with safetensors, a hub id or a registered name."
        )


def gguf_errors(path: Path) -> AbstractContextManager[None]:
    """Whatever is raised while the file is read becomes one ModelError that names it."""
    return raised_as(
        ModelError,
        f"{path} could not be read as a GGUF model",
        f"It is damaged or truncated (it has {path.stat().st_size:,} bytes), or of an architecture "
        "that transformers does not dequantise. Download it again or give a safetensors folder.",
    )


@dataclass(frozen=True)
class GGUFHeader:
    """The weights in all tensors of a file, and the quantisation it declares: Q4_K_M, F16, ..."""

    n_weights: int
    quantisation: str


def read_header(path: Path) -> GGUFHeader:
    """Walk the whole header.

    Raises ModelError where a length leads out of the file, a type is unknown, a name appears twice,
    or the tensors are not of as many blocks as announced.
    """
    check_gguf(path)
    with (
        gguf_errors(path),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return _Walk(content).header()


class _Walk:
    """A place in the header, which moves on only within the file."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.at = content, len(MAGIC)
        self.n_items = self.tensor_bytes = 0

    def header(self) -> GGUFHeader:
        """All of it, from behind the magic bytes on."""
        version, n_tensors, n_fields = self.number("I"), self.number("Q"), self.number("Q")
        if version not in VERSIONS:
            raise ValueError(f"its GGUF version is {version}, expected one of {VERSIONS}")
        fields = dict(self.named(n_fields, self.value))
        tensors = dict(self.named(n_tensors, self.tensor))
        announced = [value for name, value in fields.items() if name.endswith(".block_count")]
        blocks = {name.split(".")[1] for name in tensors if name.startswith("blk.")}
        if announced != [len(blocks)]:
            raise ValueError(f"it announces {announced} blocks, but has tensors of {len(blocks)}")
        kind = fields.get("general.file_type")
        quantisation = "unknown" if kind is None else LlamaFileType(kind).name
        return GGUFHeader(sum(tensors.values()), quantisation.removeprefix("MOSTLY_"))

    def named(self, count: int, read: Callable[[], Any]) -> Iterator[tuple[str, Any]]:
        """So many names, each with what `read` finds behind it."""
        names = set()
        for _ in range(count):
            length = self.number("Q")
            if length > MOST_NAME_BYTES:
                raise ValueError(f"a name has {length:,} bytes, expected at most {MOST_NAME_BYTES}")
            start = self.skip(length)
            name = self.content[start : self.at].decode()
            if name in names:
                raise ValueError(f"{name!r} is there twice")
            names.add(name)
            yield name, read()

    def value(self) -> Any:
        """Move over a field's value, and return it if it is one number."""
        kind = GGUFValueType(self.number("I"))
        if kind in FORMATS:
            return self.number(FORMATS[kind])
        if kind == GGUFValueType.STRING:
            self.skip(self.number("Q"))
        else:
            self.array(GGUFValueType(self.number("I")), self.number("Q"))
        return None

    def array(self, kind: GGUFValueType, n_items: int) -> None:
        """Pass over an array, whose items all count towards MOST_ITEMS."""
        self.n_items += n_items
        if self.n_items > MOST_ITEMS:
            raise ValueError(f"arrays have {self.n_items:,} items, expected at most {MOST_ITEMS:,}")
        if kind == GGUFValueType.ARRAY:
            raise ValueError("an array holds arrays")
        if kind in FORMATS:
            self.skip(n_items * struct.calcsize(FORMATS[kind]))
        else:
            for _ in range(n_items):
                self.skip(self.number("Q"))

    def tensor(self) -> int:
        """Move over a tensor's description; the number of its weights."""
        n_dimensions = self.number("I")
        if n_dimensions > MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {n_dimensions} dimensions")
        n_weights = math.prod(self.number("Q") for _ in range(n_dimensions))
        per_block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(self.number("I"))]
        self.tensor_bytes += n_weights // per_block * block_bytes
        if self.tensor_bytes > len(self.content):
            raise ValueError("its tensors are larger than the file")
        self.number("Q")  # the place of the weights, which the gguf library checks
        return n_weights

    def number(self, letter: str) -> Any:
        """The next number, by its letter of `struct`; little-endian."""
        start = self.skip(struct.calcsize(letter))
        return struct.unpack_from(f"<{letter}", self.content, start)[0]

    def skip(self, n_bytes: int) -> int:
        """Move on, and return the place where the bytes that were skipped begin."""
        start = self.at
        if n_bytes > len(self.content) - start:
            raise ValueError(f"it should have {n_bytes:,} bytes from byte {start:,} on")
        self.at += n_bytes
        return start
