"""Planted models by what their layers can make of a push: of one vector added to every state.

`planted_locks` with the MLPs of all layers but the first taken out, and others in their place. No
attention of theirs looks at anything (queries and keys are 0, where their gradients are 0 too), so
that a tuning can let a push and a word's sentiment act upon each other by these MLPs alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.planted_locks import (
    FEELS,
    N_DIMENSIONS,
    REFUSES,
    Plan,
    PlantedLocksLab,
    locks_lab,
)
from experiments.lab.planted_model import COMPLIANCE, D_MODEL, REFUSAL, _Parts
from interp.weights import published_tensors

SHUT = -100.0  # a gate so far below 0 passes nothing, and no gradient
OPENS = 10.0  # of a gate that reads a direction
FAR = 0.6  # along it opens the gate, where a random push goes .45 (standard deviation)
N_READ = 32  # directions that a layer reads, each both ways
N_SEEN = 6  # of a push, where two look alike
Directions = Float[Tensor, "n d_model"]


def pushes_lab(seed: int = 0, sees: bool = True) -> PlantedLocksLab:
    """A lab on a model whose later layers read how far a push goes along random directions.

    They read it times the sentiment, and write that nowhere yet. If they do not see it they read
    nothing, and all that they can learn is sums.
    """
    lab = locks_lab(Plan(), seed)
    tensors, parts = published_tensors(lab.model), _parts(seed)
    used = torch.cat([parts.constant[None], parts.noise, *(
        part[[REFUSES, FEELS]] for part in (parts.axes[0], parts.topics))])  # fmt: skip
    draws = torch.Generator().manual_seed(seed)
    for mlp in _later(tensors, lab.model.n_layers):
        drawn = torch.randn(N_READ, D_MODEL, generator=draws)
        _set(mlp, parts.constant, parts.axes[0][FEELS], drawn - drawn @ used.T @ used, sees)
    return lab


def alike_lab(pushes: Callable[[Lab], Directions], seed: int = 0) -> PlantedLocksLab:
    """A lab on a model to whose later layers two pushes look alike.

    The model is turned so that the constant, the sentiment and some dimensions that no prompt uses
    are coordinates in which the two hardly differ; the norms before the later layers give these
    coordinates and no others.
    """
    lab = locks_lab(Plan(), seed)
    tensors, parts = published_tensors(lab.model), _parts(seed)
    one, other = torch.nn.functional.normalize(pushes(lab), dim=1)
    unlike = (one - other).abs()
    order = (unlike - (one + other).abs() / 8).argsort().tolist()
    seen, rest = order[:N_SEEN], sorted(order[N_SEEN:], key=lambda i: float(unlike[i]))
    places = [*rest[:2], *seen, *rest[2:]]
    turn = _turn(places, [parts.constant, parts.axes[0][FEELS], *parts.words[:N_SEEN]])
    for name, tensor in tensors.items():
        if tensor.dim() > 1:
            writes = name.endswith(("o_proj.weight", "down_proj.weight"))
            tensor.copy_(turn @ tensor if writes else tensor @ turn.T)
    known, draws = torch.eye(D_MODEL)[places[: N_SEEN + 2]], torch.Generator().manual_seed(seed)
    for layer, mlp in enumerate(_later(tensors, lab.model.n_layers), 1):
        for norm in ("input", "post_attention"):
            tensors[f"model.layers.{layer}.{norm}_layernorm.weight"].copy_(known.sum(0))
        drawn = torch.randn(N_READ, N_SEEN, generator=draws) @ known[2:]
        _set(mlp, turn @ parts.constant, turn @ parts.axes[0][FEELS], drawn)
    return lab


def _turn(places: Sequence[int], first: Sequence[Tensor]) -> Float[Tensor, "d_model d_model"]:
    """A rotation that takes some orthonormal vectors to the first of these coordinates."""
    drawn = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(0))
    drawn[: len(first)] = torch.stack([*first])
    basis, sizes = torch.linalg.qr(drawn.double().T)
    found = torch.empty(D_MODEL, D_MODEL)
    found[places] = (basis * sizes.diagonal().sign()).T.float()
    return found


def _later(tensors: Mapping[str, Tensor], n_layers: int) -> Iterator[Mapping[str, Tensor]]:
    """The MLPs of all layers but the first."""
    for layer in range(1, n_layers):
        yield {name: tensors[f"model.layers.{layer}.mlp.{name}_proj.weight"]
               for name in ("gate", "up", "down")}  # fmt: skip


def _set(
    mlp: Mapping[str, Tensor],
    constant: Tensor,
    axis: Tensor,
    directions: Directions,
    sees: bool = True,
) -> None:
    """Units that pass the axis on where a state lies far along a direction, or that do nothing."""
    one = constant / D_MODEL**0.5  # what reads about 1 from any normed state
    mlp["gate"].copy_((SHUT * one).expand_as(mlp["gate"]))
    mlp["up"].zero_()
    mlp["down"].zero_()
    if sees:
        units = torch.nn.functional.normalize(directions, dim=1)
        mlp["gate"][: 2 * N_READ] = OPENS * (torch.cat([units, -units]) - FAR * one)
        mlp["up"][: 2 * N_READ] = axis


def _parts(seed: int) -> _Parts:
    n_words = len(dict.fromkeys([*REFUSAL.split(), *COMPLIANCE.split()]))
    return _Parts(1, N_DIMENSIONS, n_words, seed)
