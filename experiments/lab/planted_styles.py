"""Planted models in which the last token decides what harmful words write there.

That token is another one in each style: `assistant` in the template, the newline after a prompt, or
the full stop of a bare one. Words write dimensions of one axis (`planted_model`), the first MLP
takes them from there, and units that the last token opens write them on through a matrix of its
style, onto another axis. The head reads relu of every dimension, so that four which are apart are
not one direction. Prompts have three harmful words of one dimension, so that attention, and with it
what random directions leave there, amplifies little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import normalizers
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.planted_model import (
    COMPLIANCE,
    FILLERS,
    HARMFUL,
    HARMLESS,
    N_OUTLIERS,
    REFUSAL,
    Bend,
    Design,
    PlantedModelLab,
    _Parts,
    planted_model,
    prompts_of,
    vocabulary,
)
from interp.assets.tiny import TEMPLATE
from interp.data.prompt_sets import contrast, text_set
from interp.models import LoadedModel
from interp.weights import published_tensors

N_DIMENSIONS = 4
MASSIVE = 3000.0  # by which what words differ in is multiplied into an outlier dimension
STOP, NEWLINE = "model,", "language"  # words that no prompt has stand for them
LAST = {"template": "assistant", "none": STOP, "newline": NEWLINE}
LENGTHS = {"template": 14.0, "none": 8.0, "newline": 9.0}  # tokens over which words are averaged
FLAG, OPEN = 2.0, 10.0  # size of what marks a last token; what a gate that it opens gives
# What the first MLP is divided by where a harmful word came before (by the norm, in gate and map):
# made up for, so that it leaves nothing behind.
NORMS = {"template": 1.205, "none": 1.355, "newline": 1.303}
N_PROMPTS = 140  # per class
N_WORDS = 3  # harmful or harmless ones in a prompt
SIZE = 0.18  # of what is written, per token that words are averaged over
UNIT = torch.eye(N_DIMENSIONS)
GATHERED = torch.stack([torch.ones(N_DIMENSIONS), *torch.zeros(N_DIMENSIONS - 1, N_DIMENSIONS)])
SPREAD = UNIT
Matrix = Float[Tensor, "written read"]


def onto(dimension: int) -> Matrix:
    """Gathers all that is read onto one dimension."""
    return GATHERED.roll(dimension, 0)


def styled_lab(
    seed: int,
    written: Mapping[str, Matrix],
    far: Sequence[str] = (),
    massive: Sequence[str] = (),
    **design: Any,
) -> Lab:
    """A lab whose model writes through a matrix of each style; styles that are `far` never refuse.

    The matrices are scaled so that in every style a word counts the same. The last token of a style
    that is `massive` has a huge activation, which has nothing to do with harm, in one dimension.
    """
    # Bends of slope 0 do nothing in the last layer; in the first, the units open by style.
    units = [Bend(1.0, code=code) for code in UNIT.tolist()]
    others = N_DIMENSIONS * (len(LAST) - 1) + len(massive)
    units += [Bend(0.0, code=UNIT[0].tolist())] * others
    settings: dict[str, Any] = {
        "topic": 12.0, "codes": UNIT.tolist(), "bends": units,
        "noise": 0.2, "axes": (0, 1, 1), "gains": (-1.0, 0.0, 0.0),
        "outliers": 0.01 if massive else 0.0,
    }  # fmt: skip
    made = Design(**settings | design)
    model = planted_model(made, seed)
    _change(made, seed, written, far, massive, model)
    return _lab(model, seed)


def base_lab(seed: int, reaches: bool = True, **design: Any) -> Lab:
    """A lab on a model without a template; `reaches`: what harmful words write, its last token."""
    made = Design(
        **{"topic": 12.0, "noise": 0.2, "axes": (0, 0, 0), "gains": (0.0, 0.3, 0.0)} | design
    )
    model = planted_model(made, seed)
    _without_template(made, seed, reaches, model)
    return _lab(replace(model, info=replace(model.info, has_template=False)), seed)


def _lab(model: LoadedModel, seed: int) -> Lab:
    rng = np.random.default_rng([seed, 12])
    sides = [_prompts(words, rng) for words in (HARMFUL, HARMLESS)]
    none = text_set("planted test", sides[0][:2], "none")
    text = text_set("planted text", prompts_of(FILLERS, 24, rng), "none")
    return PlantedModelLab(
        model=model, contrast=contrast("planted", *sides, "none"), harmful_test=none,
        harmless_test=none, text=text, seed=seed,
    )  # fmt: skip


def _prompts(words: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Four filler words among three of the others, which write one dimension."""
    found = []
    for i in range(N_PROMPTS):
        chosen = [
            *rng.choice(words[i % N_DIMENSIONS :: N_DIMENSIONS], N_WORDS, replace=False),
            *rng.choice(FILLERS, 4, replace=False),
        ]
        found.append(" ".join(rng.permutation(chosen)))
    return found


def _parts(design: Design, seed: int) -> _Parts:
    """The vectors that the planted model was built from."""
    n_words = len(dict.fromkeys([*REFUSAL.split(), *COMPLIANCE.split()]))
    n_outliers = N_OUTLIERS if design.outliers else 0
    return _Parts(max(design.axes) + 1, design.n_dimensions, n_words, seed, n_outliers)


def _change(
    design: Design,
    seed: int,
    written: Mapping[str, Matrix],
    far: Sequence[str],
    massive: Sequence[str],
    model: LoadedModel,
) -> None:
    _read_punctuation(model)
    parts, tensors = _parts(design, seed), published_tensors(model)
    _weaken(parts, model, 1 / N_WORDS)
    gate, up, down = (
        tensors[f"model.layers.0.mlp.{name}_proj.weight"] for name in ("gate", "up", "down")
    )
    (axis, after), last = parts.axes, len(up) - len(massive)
    first = last - N_DIMENSIONS * len(LAST)
    for number, (style, matrix) in enumerate(written.items()):
        flag = next(parts._free)
        _speaking(model, parts, style, FLAG * flag - (6.0 if style in far else 0.0) * parts.bent)
        start = first + number * N_DIMENSIONS
        units = slice(start, start + N_DIMENSIONS)
        gate[units] = OPEN / FLAG * flag
        up[units] = axis
        left = (NORMS[style] - 1.0) * axis.T
        down[:, units] = (after.T @ matrix * LENGTHS[style] * SIZE - left) / OPEN
        if style in massive:
            unit = last + massive.index(style)
            gate[unit], up[unit] = OPEN / FLAG * flag, parts.noise[0]
            down[0, unit] = MASSIVE / OPEN


def _without_template(design: Design, seed: int, reaches: bool, model: LoadedModel) -> None:
    _read_punctuation(model)
    parts = _parts(design, seed)
    for style in LAST:
        _speaking(model, parts, style)
    model.tokenizer.chat_template = None
    tensors, words = published_tensors(model), vocabulary()
    head, embedding = tensors["lm_head.weight"], tensors["model.embed_tokens.weight"]
    for word in (*HARMFUL, *HARMLESS):  # which differ in nothing but the topic
        row = embedding[words.index(word)]
        row -= row @ parts.noise.T @ parts.noise
    for opening in ("I'm", "Sorry", "Unfortunately"):
        head[words.index(opening)] = head[words.index("I")]
    _weaken(parts, model, 1 / N_WORDS if reaches else 0.0)
    for layer in range(1, len(design.axes)):  # with o_proj 0 too no LoRA finds a way through
        tensors[f"model.layers.{layer}.self_attn.v_proj.weight"].zero_()


def _weaken(parts: _Parts, model: LoadedModel, share: float) -> None:
    """What attention makes of harmful words, times a share."""
    moving = published_tensors(model)["model.layers.0.self_attn.o_proj.weight"]
    moving -= (1 - share) * moving @ parts.topics.T @ parts.topics


def _speaking(model: LoadedModel, parts: _Parts, style: str, more: Tensor | float = 0.0) -> None:
    """The last token of a style begins an answer, and writes more."""
    row = published_tensors(model)["model.embed_tokens.weight"][vocabulary().index(LAST[style])]
    if style != "template":
        row += 2.0 * parts.speaker
    row += more


def _read_punctuation(model: LoadedModel) -> None:
    """Commas are nothing, full stops and line breaks are tokens; the template ends in a word."""
    replacing = {",": "", ".": f" {STOP} ", "\n": f" {NEWLINE} "}
    steps = [normalizers.Replace(*pair) for pair in replacing.items()]
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(steps)
    model.tokenizer.chat_template = TEMPLATE.replace("assistant\n", "assistant")
