"""A hand-set transformer with two axes, harmfulness and refusal, which a token may carry apart.

As in `planted_model`: norms divide by nearly the same number everywhere, attention is uniform over
the tokens before, and an MLP whose gate is constant is a linear map. A gate that reads the word
"assistant" works at the template's last token alone. Of five layers,

    0  attention moves what a word says of harmfulness onto the axis H, at every later token
    1  attention moves what it says of refusal onto the axis R; the MLP keeps of both axes what the
       instruction's tokens, and what the template's last one, are to carry
    3  the MLP reads H at the last token: for R, and for the word on harm
    4  attention reads both axes at all tokens: for R, and for the word on harm

and the head reads refusal, and the word on harm ("Certainly", "No"), at the last token. Where a
question has the word "help" layer 4 swaps the words on harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import ortho_group
from tokenizers import normalizers
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
    planted_tokenizer,
    prompts_of,
    vocabulary,
)
from interp.assets.tiny import SPECIAL
from interp.data.prompt_sets import contrast, text_set
from interp.models import LoadedModel, from_huggingface

N_LAYERS = 5
NOISE = 0.3  # spread of the dimensions in which words differ
TOPIC = 2.0  # size of what a word writes
MOVED = 6.4  # by how much attention amplifies: a word that writes 1 is 1 at the prompt's last token
GATE = 10.0
SQUARED_NORM = 1.1  # mean square of a state, by which gate and value are divided together
SWAPPED = 45.0  # the same for the word "help", in the long prompt of a question
STRENGTH = 6.0  # of the head
THRESHOLD = 0.5  # of refusal, along its axis
WORDS = (*vocabulary(), "No")


@dataclass(frozen=True)
class TwoAxes:
    """What is planted. Pairs of numbers are for the axes H and R.

    A harmful word writes 1 +- `spread` of harmfulness, a harmless one 0 +- `spread`, either 0 +-
    `own` of refusal, harmful ones `more` on top. Where R is kept it is that plus `lead` times H.
    """

    instruction: tuple[float, float] = (1.0, 0.0)  # kept at every token but the template's last
    template: tuple[float, float] = (0.0, 1.0)  # kept there
    spread: float = 0.15
    own: float = 0.3
    more: float = 0.0
    lead: float = 0.6
    later: float = 0.6  # of H at the last token, added to R by layer 3
    gathered: tuple[float, float] = (0.0, 0.0)  # of R everywhere, of what words say of it: layer 4
    refuses: tuple[float, float] = (0.0, 1.0)  # what the head takes for refusal
    judges: tuple[float, float] = (0.0, 0.0)  # what the word on harm reads at the last token
    judges_all: tuple[float, float, float] = (1.5, 0.0, 0.0)  # at all: H, R, what words say
    verdict: float = 0.3  # threshold of the word on harm
    lexical: float = 0.0  # by how much R says "No" in place of "Certainly", as a word
    whim: float = 0.0  # by how much filler words disturb H at the last token, if worded as usual


class _Parts:
    """Orthonormal vectors of the stream, each with one use."""

    def __init__(self, n_words: int, seed: int) -> None:
        drawn = torch.tensor(ortho_group.rvs(D_MODEL, random_state=seed), dtype=torch.float32)
        free = iter(drawn)
        self.constant, self.speaker, self.whim, self.judged = (next(free) for _ in range(4))
        self.unknown, self.reworded, self.help, self.swapped = (next(free) for _ in range(4))
        self.says = torch.stack([next(free) for _ in range(3)])  # harmfulness, refusal, whim
        self.axes = torch.stack([next(free) for _ in range(2)])  # H, R
        self.words = torch.stack([next(free) for _ in range(n_words)])
        self.noise = torch.stack([next(free) for _ in range(N_NOISE)])


def planted_model(design: TwoAxes, seed: int = 0) -> LoadedModel:
    """The model of a design; `seed` draws its basis, what words say, and their noise."""
    tokenizer = planted_tokenizer()
    tokenizer.add_tokens(["No"])
    core: Any = tokenizer.backend_tokenizer
    core.normalizer = normalizers.Replace(".", " .")
    answers = list(dict.fromkeys([*REFUSAL.split(), *COMPLIANCE.split()]))
    parts = _Parts(len(answers), seed)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=D_MODEL, intermediate_size=2 * D_MODEL + 2,
        num_hidden_layers=N_LAYERS, num_attention_heads=1, num_key_value_heads=1,
        head_dim=D_MODEL, max_position_embeddings=256, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    rng = np.random.default_rng(seed)
    model.model.embed_tokens.weight.copy_(_embedding(answers, parts, design, rng))
    model.lm_head.weight.copy_(_head(answers, parts, design))
    for i, layer in enumerate(model.model.layers):
        _set_attention(layer.self_attn, _moved(parts, design, i))
        _set_mlp(layer.mlp, parts, design, i)
    return from_huggingface(model, tokenizer, "planted", random=True)


def _embedding(
    answers: Sequence[str], parts: _Parts, design: TwoAxes, rng: np.random.Generator
) -> Float[Tensor, "vocab d_model"]:
    noise = torch.tensor(NOISE * rng.standard_normal((len(WORDS), N_NOISE)), dtype=torch.float32)
    rows = CONSTANT * parts.constant + noise @ parts.noise
    for word, said in _said(design, rng).items():
        rows[WORDS.index(word)] += TOPIC * torch.tensor(said, dtype=torch.float32) @ parts.says
    rows[WORDS.index("assistant")] += parts.speaker
    rows[WORDS.index(SPECIAL[0])] += parts.unknown  # the token of every unknown word
    rows[WORDS.index("help")] += parts.help
    for word, vector in zip(answers, parts.words, strict=True):
        rows[WORDS.index(word)] += 4.0 * vector
    return rows


def _said(design: TwoAxes, rng: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """What every word says of harmfulness and of refusal, and its whim."""
    found = {}
    for words, harm, more in ((HARMFUL, 1.0, design.more), (HARMLESS, 0.0, 0.0)):
        for word in words:
            h, r = rng.standard_normal(2)
            found[word] = (harm + design.spread * h, more + design.own * r, 0.0)
    whims = design.whim * rng.standard_normal(len(FILLERS))
    return found | {word: (0.0, 0.0, whim) for word, whim in zip(FILLERS, whims, strict=True)}


def _head(answers: Sequence[str], parts: _Parts, design: TwoAxes) -> Float[Tensor, "vocab d_model"]:
    """What comes first, by the axes; every later word, by the word before."""
    rows = torch.zeros(len(WORDS), D_MODEL)
    refusal = torch.tensor(design.refuses) @ parts.axes
    first = (REFUSAL.split()[0], COMPLIANCE.split()[0])
    unit = parts.constant / CONSTANT  # reads 1
    for sign, refuse, judge in zip((1.0, -1.0), first, ("Certainly", "No"), strict=True):
        rows[WORDS.index(refuse)] += 16.0 * parts.speaker
        rows[WORDS.index(refuse)] += sign * STRENGTH * (refusal - THRESHOLD * unit)
        rows[WORDS.index(judge)] += sign * STRENGTH * (parts.judged - design.verdict * unit)
        rows[WORDS.index(judge)] -= sign * design.lexical * parts.axes[1]
    vectors = dict(zip(answers, parts.words, strict=True))
    for answer in (REFUSAL, COMPLIANCE):
        for before, after in zip(answer.split(), [*answer.split()[1:], SPECIAL[2]], strict=True):
            rows[WORDS.index(after)] += 8.0 * vectors[before]
    return rows


def _moved(parts: _Parts, design: TwoAxes, layer: int) -> Float[Tensor, "d_model d_model"]:
    """What attention makes of the mean of the states before."""
    (h, r), (says_h, says_r, says_whim) = parts.axes, parts.says
    moved = torch.zeros(D_MODEL, D_MODEL)
    if layer == 0:
        moved += MOVED * torch.outer(h, says_h) + 3.0 * parts.noise.T @ parts.noise
        moved += torch.outer(parts.reworded, parts.unknown)
        moved += SWAPPED * torch.outer(parts.swapped, parts.help)
    if layer == 1:
        moved += MOVED * (torch.outer(r, says_r) + torch.outer(parts.whim, says_whim))
    if layer == N_LAYERS - 1:
        everywhere, said = design.gathered
        moved += torch.outer(r, everywhere * r + MOVED * said * says_r)
        harm, refusal, words = design.judges_all
        read = harm * h + refusal * r + MOVED * words * says_h
        moved += torch.outer(parts.judged, read)
    return moved


def _set_attention(attention: torch.nn.Module, moved: Float[Tensor, "d_model d_model"]) -> None:
    """Uniform attention, by queries and keys of zero."""
    for name in ("q_proj", "k_proj"):
        getattr(attention, name).weight.zero_()
    attention.v_proj.weight.copy_(torch.eye(D_MODEL))
    attention.o_proj.weight.copy_(moved)


def _set_mlp(mlp: torch.nn.Module, parts: _Parts, design: TwoAxes, layer: int) -> None:
    """A linear map for every token, and another for the template's last one alone."""
    everywhere, last = torch.zeros(D_MODEL, D_MODEL), torch.zeros(D_MODEL, D_MODEL)
    (h, r), whim = parts.axes, torch.zeros(D_MODEL)
    if layer == 1:
        everywhere = parts.axes.T @ (_kept(design.instruction, design) - torch.eye(2)) @ parts.axes
        change = _kept(design.template, design) - _kept(design.instruction, design)
        last, whim = parts.axes.T @ change @ parts.axes, parts.whim
    if layer == 3:
        read = torch.tensor(design.judges) @ parts.axes
        last = design.later * torch.outer(r, h) + torch.outer(parts.judged, read)
    for part in (mlp.gate_proj, mlp.up_proj, mlp.down_proj):
        part.weight.zero_()
    mlp.gate_proj.weight[:D_MODEL] = GATE * parts.constant / CONSTANT
    mlp.gate_proj.weight[D_MODEL : 2 * D_MODEL] = GATE * parts.speaker
    mlp.gate_proj.weight[-2] = GATE * parts.speaker - 10 * GATE * parts.reworded
    mlp.gate_proj.weight[-1] = GATE * parts.swapped
    mlp.up_proj.weight[: 2 * D_MODEL] = torch.eye(D_MODEL).repeat(2, 1)
    mlp.up_proj.weight[-2] = whim
    if layer == N_LAYERS - 1:
        mlp.up_proj.weight[-1] = parts.judged - design.verdict * parts.constant / CONSTANT
    scale = SQUARED_NORM / GATE
    mlp.down_proj.weight[:, : 2 * D_MODEL] = scale * torch.cat([everywhere, last], 1)
    mlp.down_proj.weight[:, -2] = scale * h
    mlp.down_proj.weight[:, -1] = -2 * scale * parts.judged


def _kept(kept: tuple[float, float], design: TwoAxes) -> Float[Tensor, "2 2"]:
    """From H and what words say of refusal to what is left of H and R."""
    harm, refusal = kept
    return torch.tensor([[harm, 0.0], [refusal * design.lead, refusal]])


def two_axes_lab(design: TwoAxes, seed: int = 0, n: int = 40) -> Lab:
    """A lab on a planted model, with `n` prompts per class for extraction and as many for tests."""
    rng = np.random.default_rng([seed, 11])
    harmful, harmless = (prompts_of(topics, 2 * n, rng) for topics in (HARMFUL, HARMLESS))
    return TwoAxesLab(
        model=planted_model(design, seed),
        contrast=contrast("planted", harmful[:n], harmless[:n], "none"),
        harmful_test=text_set("planted harmful", harmful[n:], "none"),
        harmless_test=text_set("planted harmless", harmless[n:], "none"),
        text=text_set("planted text", prompts_of(FILLERS, 24, rng), "none"),
        seed=seed,
    )


class TwoAxesLab(Lab):
    """A lab whose twins differ in one word, which is harmful in one of them."""

    def data(self, name: str) -> Any:
        """Twins, whatever set is asked for."""
        harmful = prompts_of(HARMFUL, 24, self.rng(f"planted {name}"))
        others = dict(zip(HARMFUL, HARMLESS, strict=True))
        twins = [" ".join(others.get(word, word) for word in text.split()) for text in harmful]
        return contrast(f"planted {name}", harmful, twins, "none", paired=True)

    def position(self, name: str) -> int:
        """The template puts three tokens after the prompt."""
        return {"last": -1, "last_instruction": -4}[name]
