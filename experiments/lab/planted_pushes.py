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
FAR = 0.6  # along it opens a gate, where a random push goes .45 (standard deviation)
ALL_THE_WAY = 2.0  # the same, that a push of its own direction passes and hardly another
COPIES = 3  # of each of its units, so that a few steps reach them
N_READ = 32  # random directions that a layer reads where two pushes look alike
N_SEEN = 6  # of a push, where two look alike
Directions = Float[Tensor, "n d_model"]


def pushes_lab(seed: int = 0, pushes: Callable[[Lab], Directions] | None = None) -> PlantedLocksLab:
    """A lab on a model whose later layers have units for these pushes.

    A unit passes the sentiment on if a state goes far along its direction, and writes that nowhere
    yet. Without any `pushes` there are no units, and all that the layers can learn is sums.
    """
    lab = locks_lab(Plan(), seed)
    tensors, parts = published_tensors(lab.model), _parts(seed)
    used = torch.cat([parts.constant[None], *(
        part[[REFUSES, FEELS]] for part in (parts.axes[0], parts.topics))])  # fmt: skip
    for mlp in _later(tensors, lab.model.n_layers):
        _shut(mlp, parts.constant)
        if pushes is not None:
            found = pushes(lab)
            rest = (found - found @ used.T @ used).repeat(COPIES, 1)
            _open(mlp, parts.constant, parts.axes[0][FEELS], rest, ALL_THE_WAY)
    return lab


def alike_lab(seed: int, pushes: Callable[[Lab], Directions]) -> PlantedLocksLab:
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
        constant = turn @ parts.constant
        _shut(mlp, constant)
        _open(mlp, constant, turn @ parts.axes[0][FEELS], drawn, FAR)
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


def _shut(mlp: Mapping[str, Tensor], constant: Tensor) -> None:
    """Units that pass nothing on, and learn nothing."""
    mlp["gate"].copy_((SHUT / D_MODEL**0.5 * constant).expand_as(mlp["gate"]))
    mlp["up"].zero_()
    mlp["down"].zero_()


def _open(
    mlp: Mapping[str, Tensor], constant: Tensor, axis: Tensor, directions: Directions, far: float
) -> None:
    """Two units for each direction, which pass the axis on where a state lies far along it."""
    units = torch.nn.functional.normalize(directions, dim=1)
    threshold = far / D_MODEL**0.5 * constant  # what reads about `far` from any normed state
    mlp["gate"][: 2 * len(units)] = OPENS * (torch.cat([units, -units]) - threshold)
    mlp["up"][: 2 * len(units)] = axis


def _parts(seed: int) -> _Parts:
    n_words = len(dict.fromkeys([*REFUSAL.split(), *COMPLIANCE.split()]))
    return _Parts(1, N_DIMENSIONS, n_words, seed)
