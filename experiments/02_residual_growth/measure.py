"""States between blocks, what layers add to their covariance, and the subspaces of that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import eigh, svd
from torch import nn

from experiments.lab.lab import Lab
from interp import geometry
from interp.activations import capture
from interp.agreement import in_float32
from interp.errors import ModelError
from interp.interventions import Placement, ablate
from interp.sites import Site
from interp.weights import residual_writers

from .protocol import N_LARGEST, N_PRIVATE, N_TOKENS, RANK, Config

States = Float[np.ndarray, "sample boundary d_model"]
Basis = Float[np.ndarray, "k d_model"]
"""Orthonormal rows."""


@dataclass(frozen=True)
class Stream:
    """States at every boundary, of prompts in random order: the first half is to fit on."""

    prompts: Sequence[str]
    states: States  # at the last token of the instruction
    ends: Float[np.ndarray, "sample end token d_model"]  # first and last boundary, last tokens

    @cached_property
    def mean(self) -> Float[np.ndarray, " d_model"]:
        """Mean over prompts and boundaries of the states' directions."""
        units = self.states / np.linalg.norm(self.states, axis=-1, keepdims=True)
        return units.mean((0, 1))

    @cached_property
    def largest(self) -> Int[np.ndarray, " k"]:
        """The dimensions that hold most of the mean."""
        as_site = torch.from_numpy(self.mean)[None, None]
        return geometry.largest_dimensions(as_site, N_LARGEST)[0].numpy()

    def without_largest(self, states: np.ndarray) -> np.ndarray:
        """Those dimensions left out."""
        return np.delete(states, self.largest, axis=-1)

    @property
    def halves(self) -> tuple[States, States]:
        """States to fit on, and to test on."""
        half = len(self.states) // 2
        return self.states[:half], self.states[half:]


def boundaries(n_layers: int) -> list[Site]:
    """What enters every block, and what leaves the last."""
    return [*(Site(layer, "pre") for layer in range(n_layers)), Site(n_layers - 1, "post")]


def measure(config: Config, lab: Lab) -> Stream:
    """Equally many prompts of both classes."""
    sides = lab.contrast.positive, lab.contrast.negative
    size = min(config.n_prompts or len(sides[0]), *map(len, sides))
    rng = lab.rng("prompts")
    chosen = [side[i] for side in sides for i in rng.choice(len(side), size, replace=False)]
    prompts = [chosen[i] for i in rng.permutation(len(chosen))]
    last = lab.position("last_instruction")
    places = [last - back for back in range(N_TOKENS)]
    found = lab.activations(prompts, boundaries(lab.model.n_layers), places).double().numpy()
    return Stream(prompts, found[:, :, 0], found[:, [0, -1]])


def variance(
    states: States, weights: Float[np.ndarray, "draw sample"]
) -> Float[np.ndarray, "draw boundary"]:
    """Variance summed over dimensions, of draws that weigh the prompts (rows sum to 1)."""
    found = []
    for at_site in np.moveaxis(states - states.mean(0), 1, 0):
        gram = at_site @ at_site.T
        found.append(weights @ np.diag(gram) - ((weights @ gram) * weights).sum(-1))
    return np.stack(found, axis=1)


def growth_signs(n_layers: int, layers: Iterable[int]) -> Float[np.ndarray, " boundary"]:
    """Weights of the boundaries' covariances in the summed growth of some layers."""
    steps = np.diff(np.eye(n_layers + 1), axis=0)
    return steps[list(layers)].sum(0)


def growth_basis(states: States, signs: Float[np.ndarray, " boundary"]) -> Basis:
    """The leading directions of a sum of growths: X' diag(signs) X of the centred states X."""
    centred = states - states.mean(0)
    rows = centred.reshape(-1, states.shape[-1])
    matrix = (centred * signs[:, None]).reshape(rows.shape).T @ rows
    return leading(matrix)


def leading(matrix: Float[np.ndarray, "d_model d_model"]) -> Basis:
    """Eigenvectors of the largest eigenvalues, largest first."""
    d = len(matrix)
    return eigh(matrix, subset_by_index=[d - RANK, d - 1])[1].T[::-1]


def explained(states: States, signs: Float[np.ndarray, " boundary"], basis: Basis) -> float:
    """Share of a sum of growths that lies in a subspace."""
    return float(spread(states @ basis.T) @ signs / (spread(states) @ signs))


def spread(states: States) -> Float[np.ndarray, " boundary"]:
    """Variance over prompts (divisor n), summed over dimensions."""
    return states.var(0).sum(-1)


def rotated(states: States, rng: np.random.Generator) -> States:
    """The same start and updates, each layer's turned by a random signed permutation of axes."""
    found, d_model = [states[:, 0]], states.shape[-1]
    for update in np.moveaxis(np.diff(states, axis=1), 1, 0):
        turned = update[:, rng.permutation(d_model)] * rng.choice([-1.0, 1.0], d_model)
        found.append(found[-1] + turned)
    return np.stack(found, axis=1)


def shared_basis(states: States) -> Basis:
    """Of the growth on even layers."""
    n_layers = states.shape[1] - 1
    return growth_basis(states, growth_signs(n_layers, range(0, n_layers, 2)))


def private_bases(states: States, shared: Basis) -> dict[int, Basis]:
    """By layer: directions of its update outside `shared` that hold as much variance as it does.

    Layers whose update has no such directions are left out; of the others those where most is held.
    """
    found, held = {}, {}
    for layer, update in enumerate(np.moveaxis(np.diff(states, axis=1), 1, 0)):
        centred = update - update.mean(0)
        inside = centred @ shared.T @ shared
        _, sizes, directions = svd(centred - inside, full_matrices=False)
        enough = np.cumsum(sizes**2) >= (inside**2).sum()
        if enough.any():
            found[layer] = directions[: int(enough.argmax()) + 1]
            held[layer] = (inside**2).sum()
    most = sorted(held, key=lambda layer: -held[layer])[:N_PRIVATE]
    return {layer: found[layer] for layer in sorted(most)}


def states_without(lab: Lab, prompts: Sequence[str], basis: Basis) -> States:
    """First and last boundary at the last token, with a subspace out of every write.

    Ablation at every state computes what weights without the subspace compute (`interp.weights`).
    """
    first, *_, last = boundaries(lab.model.n_layers)
    edit = Placement(ablate(*torch.from_numpy(basis.copy())))
    where = (lab.position("last_instruction"),)
    with in_float32(lab.model):
        tokens = lab.tokens(prompts)
        found = capture(lab.model, tokens, [edit], sites=[first, last], positions=where)
    return found[:, :, 0].double().numpy()


def weight_bases(lab: Lab, aside: Basis) -> dict[str, list[Basis]]:
    """Of attention and MLP, by layer: leading left singular vectors of the output matrix.

    Outside `aside`. Empty where a norm follows the matrices: they are not what is written.
    """
    try:
        writers = residual_writers(lab.model)
    except ModelError:
        return {}
    kept = [
        w for w in writers if w.attribute == "weight" and not isinstance(w.module, nn.Embedding)
    ]
    found = []
    for writer in lab.progress(kept, "output matrices"):
        matrix = writer.parameter.detach().movedim(writer.axis, 0).double().cpu().numpy()
        matrix = matrix - aside.T @ (aside @ matrix)
        found.append(leading(matrix @ matrix.T))
    return {"attention": found[0::2], "mlp": found[1::2]}
