"""Hand-set transformers for experiment 02: what each layer writes, how much and where, is planted.

A small random Llama reads; its output matrices are replaced. Every write has a shared part, into 8
directions that all layers have, and a private one, into 8 of the layer's own; `sizes` are the
standard deviations of the writes over prompts, set exactly in one pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from experiments.lab.lab import Lab
from experiments.lab.small_models import made_up_texts, small_lab, small_llama
from experiments.lab.worlds import World
from interp.models import LoadedModel

from .protocol import N_LARGEST, RANK, Config

N_LAYERS, D_MODEL, N_PROMPTS = 12, 128, 24
DEAD = D_MODEL // 2  # the inputs of an output matrix from here on can be silenced
CONFIG = Config(n_prompts=None, n_resamples=50, n_halvings=15, n_rotations=20)

MIXED = [0.9, 0.4, 0.4, 0.9] * 2 + [0.9] * 4  # some layers write more into their own directions


@dataclass(frozen=True)
class Plan:
    """What is planted."""

    sizes: Sequence[float] = (1.0,) * N_LAYERS  # of each layer's write
    shared: Sequence[float] = (0.0,) * N_LAYERS  # part of its variance in the shared directions
    start: float = 0.1  # norm of an embedding
    neighbours: bool = False  # two layers each have the same private directions
    looped: bool = False  # all layers read alike, so that their writes in shared directions add up
    outliers: Sequence[float] = ()  # what is written to three dimensions, over all else
    idle: bool = False  # the weights' leading directions are private ones that nothing drives
    relieved: bool = False  # the MLP writes the private part, from what is outside the shared


def world(name: str, truth: str, plan: Plan) -> World:
    """Truth: "+a -b" says that 02a is true and 02b false."""
    truths = {f"02{word[1]}": word[0] == "+" for word in truth.split()}
    return World(name, truths, lambda seed: planted_lab(plan, seed))


def planted_lab(plan: Plan, seed: int) -> Lab:
    """One draw: weights and prompts."""
    rng = np.random.default_rng(seed)
    texts = made_up_texts(2 * N_PROMPTS, 16, rng)
    lab = small_lab(small_llama(N_LAYERS, D_MODEL, seed), texts, seed)
    plant(lab.model, plan, rng)
    resize(lab, texts, plan)
    return lab


def parts(model: LoadedModel, layer: int) -> list[tuple[nn.Linear, list[nn.Linear]]]:
    """The output matrices of a layer, each with the matrices that make its input."""
    block = model.bridge.blocks[layer]
    mlp = [block.mlp.gate, getattr(block.mlp, "in")]
    named = (block.attn.o, [block.attn.v]), (block.mlp.out, mlp)
    return [(o.original_component, [i.original_component for i in ins]) for o, ins in named]


def plant(model: LoadedModel, plan: Plan, rng: np.random.Generator) -> None:
    """Replace every output matrix."""
    model.bridge.embed.original_component.weight.mul_(plan.start)
    common, own = frame(rng), frame(rng)
    fixed = [into(common, rng), into(common, rng)]
    for layer in range(N_LAYERS):
        if not (plan.neighbours and layer % 2):
            own = frame(rng)
        for index, (writer, _) in enumerate(parts(model, layer)):
            share = float(index == 0) if plan.relieved else plan.shared[layer]
            matrix = share**0.5 * (fixed[index] if plan.looped else into(common, rng))
            matrix += (1 - share) ** 0.5 * into(own, rng)
            if plan.idle:
                matrix[:, DEAD:] = 4 * into(own, rng)[:, DEAD:]
            if plan.outliers:
                matrix += plan.outliers[layer] * into(torch.eye(D_MODEL)[:, :N_LARGEST], rng)
            writer.weight.copy_(matrix)
        limit_reading(model, layer, plan, common)


def limit_reading(
    model: LoadedModel, layer: int, plan: Plan, common: Float[Tensor, "d_model k"]
) -> None:
    """What makes the input of the output matrices, as in layer 0 if looped."""
    mine, first = ([readers for _, readers in parts(model, of)] for of in (layer, 0))
    for index in range(len(mine)):
        for reader, same in zip(mine[index], first[index], strict=True):
            if plan.looped:
                reader.weight.copy_(same.weight)
            if plan.idle:
                reader.weight[DEAD:] = 0
            if plan.relieved and index:
                reader.weight -= reader.weight @ common @ common.T


def frame(rng: np.random.Generator) -> Float[Tensor, "d_model k"]:
    """Orthonormal columns, drawn at random."""
    return torch.linalg.qr(torch.from_numpy(rng.standard_normal((D_MODEL, RANK))).float())[0]


def into(columns: Float[Tensor, "d_model k"], rng: np.random.Generator) -> Float[Tensor, "d i"]:
    """A random matrix that writes into these directions alone."""
    inputs = rng.standard_normal((columns.shape[1], D_MODEL)) / D_MODEL**0.5
    return columns @ torch.from_numpy(inputs).float()


@torch.inference_mode()
def resize(lab: Lab, texts: Sequence[str], plan: Plan) -> None:
    """Scale what every output matrix writes to the planned size, in one pass; its mean becomes 0.

    Means would grow to be most of the norm; into the outlier dimensions a mean is planted.
    """

    def rescale(size: float, module: nn.Linear, inputs: object, out: Tensor) -> Tensor:
        here = out[:, lab.position("last_instruction")]
        factor = size / here.var(0).sum().sqrt()
        module.weight.mul_(factor)
        module.bias.copy_(-factor * here.mean(0))
        module.bias[:N_LARGEST] += size * bool(plan.outliers)
        return factor * out + module.bias

    hooks = []
    for layer, size in enumerate(plan.sizes):
        by_attention = plan.shared[layer] if plan.relieved else 0.5
        shares = by_attention, 1 - by_attention
        for (writer, _), share in zip(parts(lab.model, layer), shares, strict=True):
            hooks.append(writer.register_forward_hook(partial(rescale, share**0.5 * size)))
    lab.model.bridge(torch.tensor(lab.tokens(texts).sequences()))
    for hook in hooks:
        hook.remove()


FAST = [float(np.exp(0.4 * layer)) for layer in range(N_LAYERS)]  # variance: exp(.8) per block
SHARED = Plan(shared=MIXED, looped=True)
WORLDS = (
    world("private, exponential", "+a +b -c -d -e -f", Plan(sizes=FAST)),
    world("shared, equal steps", "-a +b +c +d +e +f", SHARED),
    world("private, equal steps, a large start", "-a -b +c -d -e -f", Plan(start=1.0)),
    world(
        "two neighbours share, steps grow", "-a -d -f",
        Plan(sizes=[layer + 1.0 for layer in range(N_LAYERS)], neighbours=True),
    ),
    world("growth ends after two thirds", "-a -c", Plan(sizes=[*FAST[:8], 1.0, 1.0, 1.0, 1.0])),
    world(
        "steps are equal and the start is near in three dimensions alone", "-b -c -e",
        Plan(start=0.2, outliers=[10.0, 60.0] * 6),
    ),
    world("nothing drives the leading weights", "+d -e", replace(SHARED, idle=True)),
    world("the rest grows instead", "+d -f", replace(SHARED, relieved=True)),
)  # fmt: skip
