"""Planted models by what their layers can make of a push: of one vector added to every state.

`planted_locks` with the MLPs of all layers but the first taken out, and others in their place. No
attention of theirs looks at anything (queries and keys are 0, where their gradients are 0 too), so
that a tuning can let a push and a word's sentiment act upon each other by these MLPs alone.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.planted_locks import (
    FEELS,
    N_DIMENSIONS,
    Plan,
    PlantedLocksLab,
    locks_lab,
)
from experiments.lab.planted_model import COMPLIANCE, D_MODEL, REFUSAL, _Parts
from interp.weights import published_tensors

Kind = Literal["wide", "sums", "signs"]
SHUT = -100.0  # a gate so far below 0 passes nothing, and no gradient
OPENS = 10.0  # of a gate that reads a direction


def pushes_lab(kind: Kind, seed: int = 0) -> PlantedLocksLab:
    """A lab on a model whose later layers read of a push:

    `wide`: how far it goes along each of many directions, every one times the sentiment, which they
    write nowhere yet; `signs`: the same of two directions and their opposites; `sums`: nothing, so
    that all they can learn is sums.
    """
    lab = locks_lab(Plan(), seed)
    tensors, parts = published_tensors(lab.model), _parts(seed)
    draws = torch.Generator().manual_seed(seed)
    one = parts.constant / D_MODEL**0.5
    few = _directions(2, parts, draws)
    for layer in range(1, lab.model.n_layers):
        mlp = {name: tensors[f"model.layers.{layer}.mlp.{name}_proj.weight"]
               for name in ("gate", "up", "down")}  # fmt: skip
        mlp["gate"].copy_(SHUT * one.expand_as(mlp["gate"]))
        for name in ("up", "down"):
            mlp[name].zero_()
        if kind != "sums":
            read = few if kind == "signs" else _directions(D_MODEL // 2, parts, draws)
            _read_along(mlp, torch.cat([read, -read]), parts.axes[0][FEELS])
    return lab


def _parts(seed: int) -> _Parts:
    n_words = len(dict.fromkeys([*REFUSAL.split(), *COMPLIANCE.split()]))
    return _Parts(1, N_DIMENSIONS, n_words, seed)


def _directions(n: int, parts: _Parts, draws: torch.Generator) -> Float[Tensor, "n d_model"]:
    """Random ones, along which no prompt moves."""
    used = torch.cat([parts.constant[None], parts.axes[0], parts.topics, parts.noise])
    drawn = torch.randn(n, D_MODEL, generator=draws)
    return torch.nn.functional.normalize(drawn - drawn @ used.T @ used, dim=1)


def _read_along(
    mlp: Mapping[str, Tensor], directions: Float[Tensor, "k d_model"], axis: Tensor
) -> None:
    """Units that pass the axis on by as much as a state lies along a direction."""
    n = len(mlp["gate"]) // len(directions) * len(directions)
    mlp["gate"][:n] = OPENS * directions.repeat(n // len(directions), 1)
    mlp["up"][:n] = axis
