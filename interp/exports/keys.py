"""The key of a locked model: what was taken out of its writers, and how to put it back exactly.

A writer W with rows [inputs, d_model] was locked to L, which is W - c u^T rounded, with c = W u.
L + c u^T, rounded, is W but where rounding crossed to another power of two; the key holds c, and
the bits of W at those places. The sum is two roundings that IEEE 754 fixes, so that it comes to the
same bits on every machine. A key has one such part for every set of other locks that are closed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp.assets.files import replace_file
from interp.errors import ModelError
from interp.weights import ROWS_AT_ONCE

FORMAT = "interp-key-1"
WIDEST_GAP = 255
WORDS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
"""The integers that show the bits of a weight, by its dtype"""


@dataclass(frozen=True, eq=False)
class Removed:
    """What was taken out of one writer, whose axis `axis` runs along d_model.

    `along` is float32 [inputs]; `gaps` (uint8) lead from one place of the flat weight to the next,
    the first of them from -1, and `bits` are those of the weight there.
    """

    axis: int
    along: Tensor
    gaps: Tensor
    bits: Tensor

    @property
    def positions(self) -> Int[Tensor, " places"]:
        """The places in the flat weight."""
        return self.gaps.long().cumsum(0) - 1


@dataclass(frozen=True, eq=False)
class Key:
    """One part of a key: a direction [d_model], what was removed from every writer along it.

    With two sha256, of the tensors that it opens and of those that it gives. `head` names a
    head that only the locked model has: unlocked, it is the embedding's matrix.
    """

    unit: Float[Tensor, " d_model"]
    removed: Mapping[str, Removed]
    locked: str
    original: str
    head: str = ""


def removed_from(
    original: Tensor, locked: Tensor, unit: Float[Tensor, " d_model"], along: Tensor, axis: int
) -> Removed:
    """What puts a locked weight back, from both; raises ModelError for another dtype than WORDS."""
    if original.dtype not in WORDS:
        raise ModelError(
            f"Weights in {str(original.dtype).removeprefix('torch.')} cannot be locked; expected "
            "bfloat16 or float32."
        )
    word = WORDS[original.dtype]
    wanted = original.contiguous().view(word).flatten()
    summed = with_part(locked, unit, along, axis).view(word).flatten()
    positions = _filled((wanted != summed).nonzero()[:, 0])
    return Removed(axis, along, _gaps(positions).to(torch.uint8), wanted[positions])


def _gaps(positions: Tensor) -> Tensor:
    return positions.diff(prepend=torch.tensor([-1]))


def _filled(positions: Tensor) -> Tensor:
    """Ascending places, with others in between so that a byte holds every gap."""
    gaps = _gaps(positions)
    missing = (gaps - 1) // WIDEST_GAP
    nth = torch.arange(1, int(missing.sum()) + 1)
    nth -= (missing.cumsum(0) - missing).repeat_interleave(missing)
    between = (positions - gaps).repeat_interleave(missing) + WIDEST_GAP * nth
    return torch.cat([positions, between]).sort().values


def put_back(locked: Tensor, unit: Float[Tensor, " d_model"], removed: Removed) -> Tensor:
    """The weight as it was, bit for bit."""
    weight = with_part(locked, unit, removed.along, removed.axis)
    weight.view(WORDS[weight.dtype]).view(-1)[removed.positions] = removed.bits
    return weight


def with_part(locked: Tensor, unit: Tensor, along: Tensor, axis: int) -> Tensor:
    """Locked + c u^T, summed in float32 and rounded to the dtype of the weight; a new tensor."""
    rows = locked.movedim(axis, -1).reshape(-1, len(unit))
    parts = zip(rows.split(ROWS_AT_ONCE), along.split(ROWS_AT_ONCE), strict=True)
    summed = torch.cat([(part.float() + torch.outer(c, unit)).to(rows.dtype) for part, c in parts])
    return summed.reshape(locked.movedim(axis, -1).shape).movedim(-1, axis).contiguous()


def tensors_sha256(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """sha256 of a text and of tensors by name: dtypes, shapes, bytes; whatever file they are in."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_key(path: Path, key: Sequence[Key]) -> None:
    """Write a key to one safetensors file, readable by its owner alone, with its own sha256."""
    tensors = {
        f"{prefix(i)}{name}": tensor
        for i, part in enumerate(key)
        for name, tensor in _named_tensors(part)
    }
    text = json.dumps([_facts(part) for part in key], sort_keys=True)
    metadata = {"format": FORMAT, "key": text, "sha256": tensors_sha256(tensors, text)}
    replace_file(
        path, lambda temporary: save_file(tensors, temporary, metadata=metadata), private=True
    )


def prefix(part: int) -> str:
    """Begins the names of a part's tensors."""
    return f"{part}." if part else ""


def _facts(part: Key) -> dict[str, Any]:
    axes = {name: removed.axis for name, removed in part.removed.items()}
    return {"locked": part.locked, "original": part.original, "head": part.head, "axes": axes}


def read_key(path: Path) -> list[Key]:
    """Read a key; raises ModelError for a file that is none, or is not as it was written."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} cannot be read as a key ({error}); expected the .safetensors file that "
            "`interp lock` wrote, whole."
        ) from error
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path} is no key; expected the file that `interp lock` wrote.")
    text = metadata.get("key", "")
    if tensors_sha256(tensors, text) != metadata.get("sha256"):
        raise ModelError(f"{path} is not as `interp lock` wrote it. Copy the key again.")
    found = json.loads(text)
    # One part alone was once written without a list around it.
    parts = found if isinstance(found, list) else [found]
    return [_read_part(tensors, prefix(i), facts) for i, facts in enumerate(parts)]


def _read_part(tensors: Mapping[str, Tensor], before: str, facts: dict[str, Any]) -> Key:
    kinds = ("along", "gaps", "bits")
    removed = {
        name: Removed(axis, *(tensors[f"{before}{kind}.{name}"] for kind in kinds))
        for name, axis in facts.pop("axes").items()
    }
    return Key(tensors[f"{before}direction"], removed, **facts)


def _named_tensors(key: Key) -> Iterator[tuple[str, Tensor]]:
    yield "direction", key.unit.contiguous()
    for name, removed in key.removed.items():
        yield f"along.{name}", removed.along.contiguous()
        yield f"gaps.{name}", removed.gaps
        yield f"bits.{name}", removed.bits
