"""A hand-set transformer whose layers write features of their own, and that has several answers.

As in `planted_model`: norms divide by nearly the same number everywhere, attention is uniform over
the tokens before, and every word of an answer follows from the one before. A word of the prompt
says something of each feature; each layer's attention moves a part of that onto the feature's axis,
so that sites of different depth have different directions. Units of the last layer's MLP read the
axes (ReLU), and the head reads from their sums, at the word where it matters,

    refuse    whether the first word of the answer begins a refusal or "Sure"
    word      which of two refusals it begins
    stop      whether an answer ends, or goes on: a refusal with "Sure", an answer in Chinese
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import ortho_group
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.lab.lab import Lab
from experiments.lab.planted_model import (
    COMPLIANCE,
    CONSTANT,
    D_MODEL,
    FILLERS,
    HARMFUL,
    HARMLESS,
    N_NOISE,
    REFUSAL,
    SHARP,
    planted_tokenizer,
    prompts_of,
    vocabulary,
)
from interp.assets.tiny import SPECIAL
from interp.data.prompt_sets import contrast, text_set
from interp.models import LoadedModel, from_huggingface

FIRST = REFUSAL.removesuffix(" .")
OTHER = "Sorry but this would be wrong"
ANSWER = COMPLIANCE.removesuffix(" .")
ADVISES, CHINESE, ASKED = "Instead", "好的", "请用中文回答："
WORDS = vocabulary([*FIRST.split(), *OTHER.split(), *ANSWER.split(), ADVISES, CHINESE, ASKED])
TOPIC, MOVED = 2.0, 6.4  # a word that says 1 is 1 at the prompt's last token, as in two_axes
READS = ("refuse", "word", "stop")
FOLLOWS = 32.0  # of the head, for the word that follows another
BEGINS = 16.0  # for words that begin an answer

Codes = Sequence[Sequence[float]]
"""By unit or word or layer, a number for every feature."""


@dataclass(frozen=True)
class Layered:
    """What is planted. Of `refuse`, `word` and `stop` a unit per code; their sum has a threshold.

    Without units for `word` all refusals are the first, without any for `stop` all answers end.
    """

    harmful: Codes = ((1.0, 1.0),)  # what harmful words say of the features, each in its turn
    harmless: Codes = ((0.0, 0.0),)
    written: Codes = ((0.3, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 0.0), (0.0, 0.0))  # by layer
    refuse: Codes = ((1.0, 0.0),)
    word: Codes = ()
    stop: Codes = ()
    thresholds: tuple[float, float, float] = (0.5, 0.5, 0.3)
    chinese: bool = False  # whether answers that do not end go on in Chinese
    advice: bool = False  # whether refusals that do not end go on in advice, not in the answer
    strength: float = 6.0
    noise: float = 0.3  # spread of the dimensions in which words differ


class _Parts:
    """Orthonormal vectors of the stream, each with one use."""

    def __init__(self, n_features: int, n_words: int, seed: int) -> None:
        drawn = torch.tensor(ortho_group.rvs(D_MODEL, random_state=seed), dtype=torch.float32)
        free = iter(drawn)
        self.constant, self.speaker = (next(free) for _ in range(2))
        self.says = torch.stack([next(free) for _ in range(n_features + 1)])  # and "asked"
        self.axes = torch.stack([next(free) for _ in range(n_features + 1)])
        self.reads = {name: next(free) for name in READS}
        self.words = [next(free) for _ in range(n_words)]
        self.noise = torch.stack([next(free) for _ in range(N_NOISE)])

    @property
    def one(self) -> Float[Tensor, " d_model"]:
        """What reads 1 from every state."""
        return self.constant / CONSTANT


def layered_model(design: Layered, seed: int = 0) -> LoadedModel:
    """The model of a design; `seed` draws its basis and the words' noise."""
    spoken = list(dict.fromkeys(f"{FIRST} {OTHER} {ANSWER} {ADVISES} {CHINESE}".split()))
    parts = _Parts(len(design.harmful[0]), len(spoken), seed)
    n_units = sum(len(getattr(design, name)) for name in READS)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=D_MODEL, intermediate_size=max(1, n_units),
        num_hidden_layers=len(design.written), num_attention_heads=1, num_key_value_heads=1,
        head_dim=D_MODEL, max_position_embeddings=256, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    rng = np.random.default_rng(seed)
    model.model.embed_tokens.weight.copy_(_embedding(spoken, parts, design, rng))
    model.lm_head.weight.copy_(_head(dict(zip(spoken, parts.words, strict=True)), parts, design))
    for i, layer in enumerate(model.model.layers):
        _set_attention(layer.self_attn, parts, design, i)
        _set_units(layer.mlp, parts, design, last=i == len(design.written) - 1)
    return from_huggingface(model, planted_tokenizer(WORDS), "planted", random=True)


def _embedding(
    spoken: Sequence[str], parts: _Parts, design: Layered, rng: np.random.Generator
) -> Float[Tensor, "vocab d_model"]:
    drawn = design.noise * rng.standard_normal((len(WORDS), N_NOISE))
    rows = CONSTANT * parts.constant + torch.tensor(drawn, dtype=torch.float32) @ parts.noise
    for words, codes in ((HARMFUL, design.harmful), (HARMLESS, design.harmless)):
        for i, word in enumerate(words):
            code = torch.tensor([*codes[i % len(codes)], 0.0])
            rows[WORDS.index(word)] += TOPIC * code @ parts.says
    rows[WORDS.index(ASKED)] += TOPIC * parts.says[-1]
    rows[WORDS.index("assistant")] += parts.speaker
    for word, vector in zip(spoken, parts.words, strict=True):
        rows[WORDS.index(word)] += 4.0 * vector
    return rows


def _head(
    words: dict[str, Tensor], parts: _Parts, design: Layered
) -> Float[Tensor, "vocab d_model"]:
    """What comes first, by what is read; every later word, by the word before and by `stop`."""
    rows = torch.zeros(len(WORDS), D_MODEL)
    refuse, word, stop = (
        parts.reads[name] - threshold * parts.one
        for name, threshold in zip(READS, design.thresholds, strict=True)
    )
    nothing = torch.zeros(D_MODEL)
    either = (word, -word) if design.word else (nothing, -2 * parts.one)
    begun = {"I": either[0], "Sorry": either[1], "Sure": nothing}
    for first, chosen in begun.items():
        refusing = 2 * design.strength * refuse if first != "Sure" else 0.0
        rows[WORDS.index(first)] += BEGINS * parts.speaker + refusing + 4.0 * chosen
    then = ADVISES if design.advice else "Sure"
    rows[WORDS.index("here")] += FOLLOWS / 4 * words[ADVISES]
    for answer, goes_on in ((FIRST, then), (OTHER, then), (ANSWER, CHINESE)):
        for before, after in zip(answer.split(), [*answer.split()[1:], goes_on], strict=True):
            rows[WORDS.index(after)] += FOLLOWS / 4 * words[before]
        rows[WORDS.index(SPECIAL[2])] += FOLLOWS / 4 * words[answer.split()[-1]]
    end = WORDS.index(SPECIAL[2])
    rows[end] += FOLLOWS / 4 * words[CHINESE]
    rows[end] += design.strength * (stop if design.stop else parts.one)
    rows[WORDS.index(CHINESE)] += 40.0 * parts.axes[-1] - (0 if design.chinese else 20) * parts.one
    return rows


def _set_attention(attention: torch.nn.Module, parts: _Parts, design: Layered, layer: int) -> None:
    """Uniform attention; what words say of a feature is moved onto its axis."""
    gains = torch.diag(torch.tensor([*design.written[layer], 1.0 if layer == 0 else 0.0]))
    moved = MOVED * parts.axes.T @ gains @ parts.says
    if layer == 0:
        moved += 3.0 * parts.noise.T @ parts.noise
    for name in ("q_proj", "k_proj"):
        getattr(attention, name).weight.zero_()
    attention.v_proj.weight.copy_(torch.eye(D_MODEL))
    attention.o_proj.weight.copy_(moved)


def _set_units(mlp: torch.nn.Module, parts: _Parts, design: Layered, last: bool) -> None:
    """Units that read the axes, in the last layer alone."""
    for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj):
        part.weight.zero_()
    codes = [(name, code) for name in READS for code in getattr(design, name)]
    for unit, (name, code) in enumerate(codes if last else ()):
        mlp.gate_proj.weight[unit] = SHARP * torch.tensor([*code, 0.0]) @ parts.axes
        mlp.up_proj.weight[unit] = parts.one
        mlp.down_proj.weight[:, unit] = parts.reads[name] / SHARP


def layered_lab(design: Layered, seed: int = 0, n: int = 60) -> Lab:
    """A lab on a planted model, with `n` prompts per class for extraction and as many for tests."""
    rng = np.random.default_rng([seed, 13])
    harmful, harmless = (prompts_of(topics, 2 * n, rng) for topics in (HARMFUL, HARMLESS))
    return Lab(
        model=layered_model(design, seed),
        contrast=contrast("planted", harmful[:n], harmless[:n], "none"),
        harmful_test=text_set("planted harmful", harmful[n:], "none"),
        harmless_test=text_set("planted harmless", harmless[n:], "none"),
        text=text_set("planted text", prompts_of(FILLERS, 24, rng), "none"),
        seed=seed,
    )
