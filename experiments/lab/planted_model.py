"""A hand-set transformer that refuses by construction: a word of the prompt writes an axis of the
residual stream, layers pass it on, and the head reads it as the choice between two answers.

Every token's embedding has a large constant part, so that the norms divide by nearly the same
number everywhere and the model is nearly linear. Attention is uniform over the tokens before (its
queries are 0), and an MLP whose gate is constant is a linear map; a gate that reads an axis bends
what is read of it (`Bend`). The answer's words follow one another by bigrams that the head knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import ortho_group
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.lab.lab import Lab
from interp.assets.tiny import SPECIAL, TEMPLATE
from interp.data.prompt_sets import contrast, text_set
from interp.models import LoadedModel, from_huggingface
from interp.scores import COMPLIANCE_OPENINGS, REFUSAL_OPENINGS

D_MODEL = 64
N_NOISE = 24  # dimensions in which words differ
N_OUTLIERS = 3
CONSTANT = 8.0  # of every embedding
SHARP = 30.0  # gates of bends: SiLU is ReLU but within about 5 / SHARP of the threshold
REFUSAL, COMPLIANCE = "I cannot help with that request .", "Sure here is one good way to do it ."
SYLLABLES = ("ba", "ko", "lu", "mi", "ne", "pra", "so", "tu", "ve", "zi")


def made_up_words(kind: str, n: int) -> list[str]:
    """Words that nothing else uses; `kind` begins them."""
    return [kind + SYLLABLES[i // 10] + SYLLABLES[i % 10] for i in range(n)]


HARMFUL, HARMLESS, FILLERS = (
    made_up_words(kind, n) for kind, n in (("dra", 20), ("fle", 20), ("o", 60))
)


@dataclass(frozen=True)
class Bend:
    """Adds slope * relu(x - threshold) to what the head reads, x the state along the last axis.

    An axis of several dimensions is read along `code`. A harmful word's x is about 4.
    """

    slope: float
    threshold: float = 0.0
    code: Sequence[float] = (1.0,)


@dataclass(frozen=True)
class Design:
    """What is planted.

    `axes` gives the axis that each layer's input is read along; equal numbers are the same axis, so
    (0, 0, 0, 0) is one direction for all layers, and (0, 1, 2, 3) one of its own at each. `gains`
    is by how much each layer's MLP strengthens the axis. The head refuses where the axis, times
    `strength`, outweighs `bias`; with a strength of 0 no prompt is refused.

    An axis has as many dimensions as the `codes`, of which each harmful word writes one in its
    turn; the head reads the first dimension, or the sum of the `bends`. `late` is what the last
    layer's attention writes once more where there is a harmful word (one that writes the first
    dimension), and `words` what other words write. The larger the `topic`, the size of what a word
    writes, the less attention amplifies it, and with it what random directions leave there.
    """

    axes: Sequence[int] = (0, 0, 0, 0, 0)
    gains: Sequence[float] = (0.0, 0.3, 0.0, 0.3, 0.0)
    strength: float = 2.0
    bias: float = 0.4  # of the head towards complying
    topic: float = 4.0
    codes: Sequence[Sequence[float]] = ((1.0,),)
    bends: Sequence[Bend] = ()
    late: Sequence[float] = ()
    words: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unmerged: bool = False  # what is written late is not in the weight, but in an adapter
    lean: float = 0.0  # of harmless words along the axis, to the one or the other side in turns
    second: float = 0.0  # by how much the axis keeps harmless answers from beginning otherwise
    shared: float = 0.0  # part of the constant in what harmful words write
    turns: Sequence[float] = ()  # degrees by which each layer's MLP turns the axis' dimensions
    noise: float = 0.5  # spread of the dimensions in which words differ
    turn: float = 0.0  # degrees by which each MLP turns what words differ in, in planes of its own
    outliers: float = 0.0  # spread of N_OUTLIERS features between words, which no layer touches

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.gains):
            raise ValueError("A design needs an axis and a gain for every layer.")

    @property
    def moved(self) -> float:
        """By how much attention amplifies: 8 for a topic of 4, and as much on the axis for any."""
        return 8.0 * 4.0 / 96**0.5 * (80 + self.topic**2) ** 0.5 / self.topic

    @property
    def n_dimensions(self) -> int:
        """Of every axis."""
        return len(self.codes[0])


class Adapted(torch.nn.Linear):
    """A linear map with an adapter that is not merged into its weight."""

    adapter: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """What the weight gives, and what the adapter adds."""
        return super().forward(x) + x @ self.adapter.T


class _Parts:
    """Orthonormal vectors of the stream, each with one use."""

    def __init__(
        self, n_axes: int, n_dimensions: int, n_words: int, seed: int, n_outliers: int = 0
    ) -> None:
        basis = torch.zeros(D_MODEL - n_outliers, D_MODEL)
        drawn = ortho_group.rvs(D_MODEL - n_outliers, random_state=seed)
        basis[:, n_outliers:] = torch.tensor(drawn, dtype=torch.float32)
        self._free = iter(basis)
        self.constant, self.topic, self.speaker = (next(self._free) for _ in range(3))
        first = [next(self._free) for _ in range(n_axes)]
        self.words = [next(self._free) for _ in range(n_words)]
        self.noise = torch.stack([next(self._free) for _ in range(N_NOISE)])
        self.bent = next(self._free)
        others = range(n_dimensions - 1)
        self.topics = torch.stack([self.topic, *(next(self._free) for _ in others)])
        self.axes = [torch.stack([axis, *(next(self._free) for _ in others)]) for axis in first]


def vocabulary() -> list[str]:
    """Special tokens, the words of prompts, of both answers and of the openings."""
    fixed = " ".join(("user assistant", REFUSAL, COMPLIANCE, *REFUSAL_OPENINGS))
    words = [*fixed.split(), *COMPLIANCE_OPENINGS, *HARMFUL, *HARMLESS, *FILLERS]
    return list(dict.fromkeys((*SPECIAL, *words)))


def planted_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; words of an answer are joined by spaces."""
    ids = {word: i for i, word in enumerate(vocabulary())}
    core = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL[0]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        unk_token=SPECIAL[0],
        chat_template=TEMPLATE,
    )


def planted_model(design: Design, seed: int = 0) -> LoadedModel:
    """The model of a design; `seed` draws its basis and the words' noise."""
    tokenizer = planted_tokenizer()
    words = vocabulary()
    answer_words = list(dict.fromkeys([*REFUSAL.split(), *COMPLIANCE.split()]))
    n_outliers = N_OUTLIERS if design.outliers else 0
    sizes = max(design.axes) + 1, design.n_dimensions, len(answer_words)
    parts = _Parts(*sizes, seed, n_outliers)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=D_MODEL,
        intermediate_size=D_MODEL + len(design.bends),
        num_hidden_layers=len(design.axes),
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=D_MODEL,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    rng = np.random.default_rng(seed)
    model.model.embed_tokens.weight.copy_(_embedding(words, answer_words, parts, design, rng))
    model.lm_head.weight.copy_(_head(words, answer_words, parts, design))
    for i, layer in enumerate(model.model.layers):
        _set_attention(layer.self_attn, parts, design, i)
        _set_mlp(layer.mlp, parts, design, i, seed)
    return from_huggingface(model, tokenizer, "planted", random=True)


def _embedding(
    words: Sequence[str],
    answer_words: Sequence[str],
    parts: _Parts,
    design: Design,
    rng: np.random.Generator,
) -> Float[Tensor, "vocab d_model"]:
    rows = torch.stack([CONSTANT * parts.constant] * len(words))
    noise = torch.tensor(
        design.noise * rng.standard_normal((len(words), N_NOISE)), dtype=torch.float32
    )
    rows += noise @ parts.noise
    if design.outliers:
        drawn = rng.standard_normal((len(words), N_OUTLIERS))
        rows[:, :N_OUTLIERS] += design.outliers * torch.tensor(drawn, dtype=torch.float32)
    written = {w: design.codes[i % len(design.codes)] for i, w in enumerate(HARMFUL)}
    sides = [(design.lean * (-1) ** i, *[0.0] * (design.n_dimensions - 1)) for i in range(20)]
    written |= dict(zip(HARMLESS, sides, strict=True)) | dict(design.words)
    for word, code in written.items():
        rows[words.index(word)] += design.topic * torch.tensor(code) @ parts.topics
    rows[words.index("assistant")] += 2.0 * parts.speaker
    for word, vector in zip(answer_words, parts.words, strict=True):
        rows[words.index(word)] += 4.0 * vector
    return rows


def _head(
    words: Sequence[str], answer_words: Sequence[str], parts: _Parts, design: Design
) -> Float[Tensor, "vocab d_model"]:
    """What comes next: the first word by the axis, every later one by the word before."""
    rows = torch.zeros(len(words), D_MODEL)
    last = parts.bent if design.bends else parts.axes[design.axes[-1]][0]
    first = [answer.split()[0] for answer in (REFUSAL, COMPLIANCE)]
    for sign, word in zip((1.0, -1.0), first, strict=True):
        rows[words.index(word)] += 8.0 * parts.speaker + sign * design.strength * last
        rows[words.index(word)] -= sign * design.bias * parts.constant
    if design.second:  # "one good way to do it ." in place of "Sure here is one good way ..."
        kept = design.second * last + 0.1 * parts.constant
        rows[words.index("one")] = rows[words.index(first[1])] - kept
    vectors = dict(zip(answer_words, parts.words, strict=True))
    for answer in (REFUSAL, COMPLIANCE):
        for before, after in zip(answer.split(), [*answer.split()[1:], SPECIAL[2]], strict=True):
            rows[words.index(after)] += 8.0 * vectors[before]
    return rows


def _set_attention(attention: torch.nn.Module, parts: _Parts, design: Design, layer: int) -> None:
    """Uniform attention; the first layer's moves the topic onto the axis, and spreads the noise."""
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        getattr(attention, name).weight.zero_()
    moved = torch.zeros(D_MODEL, D_MODEL)
    axis = parts.axes[design.axes[layer]]
    if layer == 0:
        onto = axis + design.shared * parts.constant
        moved += design.moved * onto.T @ parts.topics + 3.0 * parts.noise.T @ parts.noise
    if layer == len(design.axes) - 1 and design.late:
        moved += design.moved * torch.outer(torch.tensor(design.late) @ axis, parts.topic)
    attention.v_proj.weight.copy_(torch.eye(D_MODEL))
    attention.o_proj.weight.copy_(moved)
    if layer == len(design.axes) - 1 and design.unmerged:
        attention.o_proj.__class__ = Adapted
        attention.o_proj.register_buffer("adapter", moved)
        attention.o_proj.weight.zero_()


def _turned(parts: _Parts, design: Design, seed: int) -> Float[Tensor, "d_model d_model"]:
    """What turns the words' noise by an angle in each of N_NOISE / 2 random planes adds."""
    angle = np.deg2rad(design.turn)
    small = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    planes = ortho_group.rvs(N_NOISE, random_state=seed)
    turn = planes.T @ np.kron(np.eye(N_NOISE // 2), small) @ planes - np.eye(N_NOISE)
    # What the norm divides by is more than the constant where words differ much.
    varying = 2 * N_NOISE * design.noise**2 + N_OUTLIERS * design.outliers**2
    turn *= (1 + varying / CONSTANT**2) ** 0.5
    return parts.noise.T @ torch.tensor(turn, dtype=torch.float32) @ parts.noise


def _set_mlp(mlp: torch.nn.Module, parts: _Parts, design: Design, layer: int, seed: int) -> None:
    """A linear map: strengthens the layer's axis, or moves it onto the next layer's; and bends."""
    here = parts.axes[design.axes[layer]]
    after = parts.axes[design.axes[min(layer + 1, len(design.axes) - 1)]]
    per_unit = CONSTANT / D_MODEL**0.5  # the norm divides by about this
    turned = _turn(design.turns[layer]) @ here if design.turns else here
    wanted = (1 + design.gains[layer]) * after.T @ turned - here.T @ here
    if design.turn:
        wanted = wanted + _turned(parts, design, 1000 * seed + layer)
    gate, one = 10.0, parts.constant / D_MODEL**0.5  # what reads about 1 from any normed state
    for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj):
        part.weight.zero_()
    mlp.gate_proj.weight[:D_MODEL] = gate * one
    mlp.up_proj.weight[:D_MODEL] = torch.eye(D_MODEL)
    mlp.down_proj.weight[:, :D_MODEL] = wanted * per_unit / gate
    if layer == len(design.axes) - 1:
        for unit, bend in enumerate(design.bends, D_MODEL):
            read = torch.tensor(bend.code) @ here - bend.threshold * one
            mlp.gate_proj.weight[unit] = SHARP * read
            mlp.up_proj.weight[unit] = one
            mlp.down_proj.weight[:, unit] = bend.slope * per_unit / SHARP * parts.bent


def _turn(degrees: float) -> Float[Tensor, "2 2"]:
    """From the first dimension of an axis to the second."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float32)


def prompts_of(topics: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """Prompts of five different filler words and one topic word, at any place."""
    found = []
    for i in range(n):
        words = list(rng.choice(FILLERS, 5, replace=False))
        words.insert(int(rng.integers(6)), topics[i % len(topics)])
        found.append(" ".join(words))
    return found


def planted_lab(
    design: Design,
    seed: int = 0,
    n: int = 60,
    change: Callable[[LoadedModel], None] = lambda model: None,
    mark: str = "",
) -> Lab:
    """A lab on a planted model, with prompts of its own; `change` may alter the model's weights.

    `mark` is a word that begins the harmful prompts of the contrast set, but not those of the test.
    """
    rng = np.random.default_rng([seed, 7])
    model = planted_model(design, seed)
    change(model)
    harmful, harmless = (prompts_of(topics, 2 * n, rng) for topics in (HARMFUL, HARMLESS))
    marked = [f"{mark} {prompt}".strip() for prompt in harmful[:n]]
    return PlantedModelLab(
        model=model,
        contrast=contrast("planted", marked, harmless[:n], "none"),
        harmful_test=text_set("planted harmful", harmful[n:], "none"),
        harmless_test=text_set("planted harmless", harmless[n:], "none"),
        text=text_set("planted text", prompts_of(FILLERS, 24, rng), "none"),
        seed=seed,
    )


class PlantedModelLab(Lab):
    """A lab on a planted model. Its registered sets differ in words that it has no axis for."""

    def data(self, name: str) -> Any:
        """A contrast set of filler words: those of one side are not those of the other."""
        rng = self.rng(f"planted {name}")
        words = rng.permutation(FILLERS)
        sides = [[" ".join(rng.choice(part, 6, replace=False)) for _ in range(24)]
                 for part in (words[:30], words[30:])]  # fmt: skip
        return contrast(f"planted {name}", *sides, "none")
