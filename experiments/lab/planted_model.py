"""A hand-set transformer that refuses by construction: a word of the prompt writes an axis of the
residual stream, layers pass it on, and the head reads it as the choice between two answers.

Every token's embedding has a large constant part, so that the norms divide by nearly the same
number everywhere and the model is nearly linear. Attention is uniform over the tokens before (its
queries are 0), and an MLP whose gate is constant is a linear map. The answer's words follow one
another by bigrams that the head knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
CONSTANT = 8.0  # of every embedding
REFUSAL, COMPLIANCE = "I cannot help with that request .", "Sure here is one good way to do it ."
SYLLABLES = ("ba", "ko", "lu", "mi", "ne", "pra", "so", "tu", "ve", "zi")


def made_up_words(kind: str, n: int) -> list[str]:
    """Words that nothing else uses; `kind` begins them."""
    return [kind + SYLLABLES[i // 10] + SYLLABLES[i % 10] for i in range(n)]


HARMFUL, HARMLESS, FILLERS = (
    made_up_words(kind, n) for kind, n in (("dra", 20), ("fle", 20), ("o", 60))
)


@dataclass(frozen=True)
class Design:
    """What is planted.

    `axes` gives the axis that each layer's input is read along; equal numbers are the same axis, so
    (0, 0, 0, 0) is one direction for all layers, and (0, 1, 2, 3) one of its own at each. `gains`
    is by how much each layer's MLP strengthens the axis. The head refuses where the axis, times
    `strength`, outweighs `bias`; with a strength of 0 no prompt is refused.
    """

    axes: Sequence[int] = (0, 0, 0, 0, 0)
    gains: Sequence[float] = (0.0, 0.3, 0.0, 0.3, 0.0)
    strength: float = 2.0
    bias: float = 0.4  # of the head towards complying

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.gains):
            raise ValueError("A design needs an axis and a gain for every layer.")


class _Parts:
    """Orthonormal vectors of the stream, each with one use."""

    def __init__(self, n_axes: int, n_words: int, seed: int) -> None:
        basis = torch.tensor(ortho_group.rvs(D_MODEL, random_state=seed), dtype=torch.float32)
        self._free = iter(basis)
        self.constant, self.topic, self.speaker = (next(self._free) for _ in range(3))
        self.axes = [next(self._free) for _ in range(n_axes)]
        self.words = [next(self._free) for _ in range(n_words)]
        self.noise = torch.stack([next(self._free) for _ in range(N_NOISE)])


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
    parts = _Parts(max(design.axes) + 1, len(answer_words), seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=D_MODEL,
        intermediate_size=D_MODEL,
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
    model.model.embed_tokens.weight.copy_(_embedding(words, answer_words, parts, rng))
    model.lm_head.weight.copy_(_head(words, answer_words, parts, design))
    for i, layer in enumerate(model.model.layers):
        _set_attention(layer.self_attn, parts, design if i == 0 else None)
        _set_mlp(layer.mlp, parts, design, i)
    return from_huggingface(model, tokenizer, "planted", random=True)


def _embedding(
    words: Sequence[str], answer_words: Sequence[str], parts: _Parts, rng: np.random.Generator
) -> Float[Tensor, "vocab d_model"]:
    rows = torch.stack([CONSTANT * parts.constant] * len(words))
    noise = torch.tensor(0.5 * rng.standard_normal((len(words), N_NOISE)), dtype=torch.float32)
    rows += noise @ parts.noise
    for word in HARMFUL:
        rows[words.index(word)] += 4.0 * parts.topic
    rows[words.index("assistant")] += 2.0 * parts.speaker
    for word, vector in zip(answer_words, parts.words, strict=True):
        rows[words.index(word)] += 4.0 * vector
    return rows


def _head(
    words: Sequence[str], answer_words: Sequence[str], parts: _Parts, design: Design
) -> Float[Tensor, "vocab d_model"]:
    """What comes next: the first word by the axis, every later one by the word before."""
    rows = torch.zeros(len(words), D_MODEL)
    last = parts.axes[design.axes[-1]]
    first = [answer.split()[0] for answer in (REFUSAL, COMPLIANCE)]
    for sign, word in zip((1.0, -1.0), first, strict=True):
        rows[words.index(word)] += 8.0 * parts.speaker + sign * design.strength * last
        rows[words.index(word)] -= sign * design.bias * parts.constant
    vectors = dict(zip(answer_words, parts.words, strict=True))
    for answer in (REFUSAL, COMPLIANCE):
        for before, after in zip(answer.split(), [*answer.split()[1:], SPECIAL[2]], strict=True):
            rows[words.index(after)] += 8.0 * vectors[before]
    return rows


def _set_attention(attention: torch.nn.Module, parts: _Parts, design: Design | None) -> None:
    """Uniform attention; the first layer's moves the topic onto the axis, and spreads the noise."""
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        getattr(attention, name).weight.zero_()
    if design is not None:
        attention.v_proj.weight.copy_(torch.eye(D_MODEL))
        axis = parts.axes[design.axes[0]]
        moved = 8.0 * torch.outer(axis, parts.topic) + 3.0 * parts.noise.T @ parts.noise
        attention.o_proj.weight.copy_(moved)


def _set_mlp(mlp: torch.nn.Module, parts: _Parts, design: Design, layer: int) -> None:
    """A linear map: strengthens the layer's axis, or moves it onto the next layer's."""
    here = parts.axes[design.axes[layer]]
    after = parts.axes[design.axes[min(layer + 1, len(design.axes) - 1)]]
    per_unit = CONSTANT / D_MODEL**0.5  # the norm divides by about this
    wanted = (1 + design.gains[layer]) * torch.outer(after, here) - torch.outer(here, here)
    gate = 10.0
    mlp.gate_proj.weight.copy_(gate / D_MODEL**0.5 * parts.constant.expand(D_MODEL, D_MODEL))
    mlp.up_proj.weight.copy_(torch.eye(D_MODEL))
    mlp.down_proj.weight.copy_(wanted * per_unit / gate)


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
) -> Lab:
    """A lab on a planted model, with prompts of its own; `change` may alter the model's weights."""
    rng = np.random.default_rng([seed, 7])
    model = planted_model(design, seed)
    change(model)
    harmful, harmless = (prompts_of(topics, 2 * n, rng) for topics in (HARMFUL, HARMLESS))
    return Lab(
        model=model,
        contrast=contrast("planted", harmful[:n], harmless[:n], "none"),
        harmful_test=text_set("planted harmful", harmful[n:], "none"),
        harmless_test=text_set("planted harmless", harmless[n:], "none"),
        text=text_set("planted text", prompts_of(FILLERS, 24, rng), "none"),
        seed=seed,
    )
