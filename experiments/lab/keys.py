"""Keys to a model that a direction was locked out of: the right one, and wrong ones."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import ModelError
from interp.exports.keys import WORDS, put_back, removed_from
from interp.models import LoadedModel
from interp.weights import orthogonalised, residual_writers, written_along

Unit = Float[Tensor, " d_model"]
Components = Mapping[str, Tensor]
"""What a key knows of every writer, by its name: a number per input"""


def can_be_locked(model: LoadedModel) -> bool:
    """Whether the model writes to the stream by matrices alone, of a dtype that keys are for."""
    with suppress(ModelError):
        return bool(residual_writers(model)) and model.dtype in WORDS
    return False


def components(model: LoadedModel, unit: Unit) -> dict[str, Tensor]:
    """How much each input of every writer writes along the direction."""
    return {writer.name: written_along(writer, unit) for writer in residual_writers(model)}


def unrestored(model: LoadedModel, unit: Unit) -> tuple[int, int]:
    """How many tensors the right key does not restore to the last bit, and of how many."""
    before = {writer.name: writer.parameter.detach() for writer in residual_writers(model)}
    along, changed = components(model, unit), 0
    with orthogonalised(model, unit[None]):
        for writer in residual_writers(model):
            original, locked = before[writer.name], writer.parameter.detach()
            key = removed_from(original, locked, unit, along[writer.name], writer.axis)
            found, word = put_back(locked, unit, key), WORDS[original.dtype]
            changed += not torch.equal(found.view(word), original.contiguous().view(word))
    return changed, len(before)


def wrong_keys(
    unit: Unit, along: Components, n: int, rng: np.random.Generator
) -> Iterator[tuple[str, int, Unit, Components]]:
    """Kind, number, direction and components of `n` wrong keys of each kind.

    `random`: a direction orthogonal to the right one, with the right components. `permuted`: the
    right direction, with components that are permuted over the inputs of each writer.
    """
    for i in range(n):
        drawn = torch.tensor(rng.standard_normal(len(unit)), dtype=torch.float32)
        drawn -= (drawn @ unit) * unit
        yield "random", i, drawn / drawn.norm(), along
        yield (
            "permuted",
            i,
            unit,
            {name: part[torch.tensor(rng.permutation(len(part)))] for name, part in along.items()},
        )
