"""A hand-set transformer with several behaviours: words of the prompt write what the head reads.

As in `planted_model`, embeddings have a large constant part, so that norms divide by nearly the
same number everywhere; attention is uniform, and MLPs with a constant gate are linear maps. So an
answer's log odds are linear in what the words of the prompt write, and known by construction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import ortho_group
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.lab.lab import Lab
from experiments.lab.planted_model import (
    CONSTANT,
    FILLERS,
    N_NOISE,
    made_up_words,
    prompts_of,
)
from interp.assets.tiny import SPECIAL, TEMPLATE
from interp.behaviours import Behaviour
from interp.data.prompt_sets import contrast, text_set
from interp.interventions import Placement
from interp.models import LoadedModel, from_huggingface
from interp.prompts import encode, render

D_MODEL = 128
N_WORDS = 20  # of either class, of each behaviour
WRITTEN = 1.0  # by how much attention amplifies what words write; prompts have 6 to 11 tokens
SPREAD = 3.0  # and by how much that in which words differ
GATE = 10.0

Axes = Sequence[float]
Maps = Sequence[Float[np.ndarray, "axis axis"]]


@dataclass(frozen=True, eq=False)
class Planted:
    """What is planted, in coordinates of orthonormal axes of the stream.

    Words that show a behaviour write half of its code, the others half of the opposite. Layer l
    maps the axes by `maps[l]`. The log odds of the answer are the behaviour's read, applied to what
    is there after the last layer; those of a behaviour without one are at chance.
    """

    codes: Mapping[str, Axes]
    reads: Mapping[str, Axes]
    maps: Maps
    templated: str = ""  # the behaviour whose prompts are put in the template
    noise: float = 0.15  # spread of the dimensions in which words differ

    @property
    def n_axes(self) -> int:
        """Of the stream."""
        return len(self.maps[0])


def words_of(behaviour: str) -> tuple[list[str], list[str]]:
    """Words that show a behaviour, and words that do not."""
    words = made_up_words(behaviour, 2 * N_WORDS)
    return words[:N_WORDS], words[N_WORDS:]


def answers_of(behaviour: str) -> tuple[str, str]:
    """The answer that shows it, and the other."""
    return f"yes{behaviour}", f"no{behaviour}"


class _Parts:
    """Orthonormal vectors of the stream, each with one use."""

    def __init__(self, n_axes: int, seed: int) -> None:
        basis = torch.tensor(ortho_group.rvs(D_MODEL, random_state=seed), dtype=torch.float32)
        sizes = [1, n_axes, n_axes, N_NOISE, D_MODEL - 1 - 2 * n_axes - N_NOISE]
        self.constant, self.topics, self.axes, self.noise, _ = basis.split(sizes)


def planted_network(
    planted: Planted, seed: int = 0
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The network and its tokenizer; `seed` draws the basis and the words' noise."""
    words = ["user", "assistant", *FILLERS]
    for name in planted.codes:
        words += [*words_of(name)[0], *words_of(name)[1], *answers_of(name)]
    words = [*SPECIAL, *words]
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=D_MODEL, intermediate_size=D_MODEL,
        num_hidden_layers=len(planted.maps), num_attention_heads=1, num_key_value_heads=1,
        head_dim=D_MODEL, max_position_embeddings=64, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    parts, rng = _Parts(planted.n_axes, seed), np.random.default_rng(seed)
    model.model.embed_tokens.weight.copy_(_embedding(words, parts, planted, rng))
    model.lm_head.weight.copy_(_head(words, parts, planted, rng))
    for number, layer in enumerate(model.model.layers):
        _set_attention(layer.self_attn, parts, first=number == 0)
        _set_mlp(layer.mlp, parts, planted, number)
    return model, _tokenizer(words)


def _tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=SPECIAL[0]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=SPECIAL[0], eos_token=SPECIAL[2], unk_token=SPECIAL[0],
        chat_template=TEMPLATE,
    )  # fmt: skip


def _embedding(
    words: Sequence[str], parts: _Parts, planted: Planted, rng: np.random.Generator
) -> Float[Tensor, "vocab d_model"]:
    drawn = torch.tensor(rng.standard_normal((len(words), N_NOISE)), dtype=torch.float32)
    rows = CONSTANT * parts.constant + planted.noise * drawn @ parts.noise
    for name, code in planted.codes.items():
        written = torch.tensor(code, dtype=torch.float32) @ parts.topics
        for sign, side in zip((0.5, -0.5), words_of(name), strict=True):
            rows[[words.index(word) for word in side]] += sign * CONSTANT * written
    return rows


def _head(
    words: Sequence[str], parts: _Parts, planted: Planted, rng: np.random.Generator
) -> Float[Tensor, "vocab d_model"]:
    """The two answers of a behaviour are half of its read, and half of the opposite."""
    rows = torch.zeros(len(words), D_MODEL)
    for name in planted.codes:
        chance = torch.tensor(rng.standard_normal(N_NOISE), dtype=torch.float32) @ parts.noise
        read = planted.reads.get(name)
        vector = chance if read is None else torch.tensor(read, dtype=torch.float32) @ parts.axes
        for sign, answer in zip((0.5, -0.5), answers_of(name), strict=True):
            rows[words.index(answer)] = sign * vector
    return rows


def _set_attention(attention: torch.nn.Module, parts: _Parts, first: bool) -> None:
    """Uniform; that of the first layer moves what words write onto the axes, and spreads noise."""
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        getattr(attention, name).weight.zero_()
    if first:
        attention.v_proj.weight.copy_(torch.eye(D_MODEL))
        moved = WRITTEN * parts.axes.T @ parts.topics + SPREAD * parts.noise.T @ parts.noise
        attention.o_proj.weight.copy_(moved)


def _set_mlp(mlp: torch.nn.Module, parts: _Parts, planted: Planted, layer: int) -> None:
    """A linear map of the axes; the gate reads the constant part, about 1 in any normed state."""
    change = torch.tensor(planted.maps[layer] - np.eye(planted.n_axes), dtype=torch.float32)
    # The norm divides by about this, the words' noise and what attention adds to it included.
    per_unit = ((CONSTANT**2 + 2 * N_NOISE * planted.noise**2) / D_MODEL) ** 0.5
    one = parts.constant / D_MODEL**0.5
    mlp.gate_proj.weight.copy_(GATE * one.expand(D_MODEL, -1))
    mlp.up_proj.weight.copy_(torch.eye(D_MODEL))
    mlp.down_proj.weight.copy_(parts.axes.T @ change @ parts.axes * per_unit / GATE)


@dataclass(frozen=True, eq=False)
class PlantedBehaviour(Behaviour):
    """A behaviour of a planted model, which scores additions at one site without a whole pass.

    Attention writes nothing after the first layer, so that the last token's state needs no others.
    """

    network: LlamaForCausalLM | None = None
    _states: dict[tuple[str, ...], tuple[Tensor, ...]] = field(default_factory=dict)

    @torch.inference_mode()
    def scores(
        self, model: LoadedModel, prompts: Sequence[str], edits: Sequence[Placement] = ()
    ) -> Float[Tensor, " sample"]:
        """As `Behaviour.scores`, for no edit or one at every token of one site, stream pre."""
        network, key = self.network, tuple(prompts)
        assert network is not None
        if key not in self._states:
            ids = torch.tensor([encode(model, render(model, one, self.style), self.style)
                                for one in prompts])  # fmt: skip
            states = network.model(ids, output_hidden_states=True).hidden_states
            self._states[key] = tuple(state[:, -1] for state in states)
        layer = edits[0].sites[0].layer if edits and edits[0].sites else 1
        state = self._states[key][layer]
        for edit in edits:
            state = edit.intervention(state)
        for block in network.model.layers[layer:]:
            state = state + block.mlp(block.post_attention_layernorm(state))
        rows = [model.tokenizer.encode(text)[0] for text in (*self.shows, *self.others)]
        shown, other = (network.model.norm(state) @ network.lm_head.weight[rows].T).T
        return (shown - other).double()


def planted_behaviour(
    planted: Planted, name: str, n: int, rng: np.random.Generator, network: LlamaForCausalLM
) -> PlantedBehaviour:
    """Prompts of fillers and one word that shows the behaviour, or one that does not.

    All end on the same word.
    """
    found = [prompts_of(words, n, rng) for words in words_of(name)]
    sides = [[f"{prompt} {FILLERS[0]}" for prompt in side] for side in found]
    shows, other = answers_of(name)
    style = "template" if name == planted.templated else "none"
    found = contrast(name, *sides, "none")
    return PlantedBehaviour(name, found, (shows,), (other,), style=style, network=network)


class PlantedBehavioursLab(Lab):
    """A lab on a planted model, with planted behaviours in place of the registered ones."""

    def __init__(self, planted: Planted, seed: int = 0, n: int = 60) -> None:
        rng = np.random.default_rng([seed, 10])
        network, tokenizer = planted_network(planted, seed)
        self._behaviours = {
            name: planted_behaviour(planted, name, n, rng, network) for name in planted.codes
        }
        texts = text_set("planted text", prompts_of(FILLERS, 8, rng), "none")
        super().__init__(
            model=from_huggingface(network, tokenizer, "planted", random=True),
            contrast=next(iter(self._behaviours.values())).contrast,
            harmful_test=texts, harmless_test=texts, text=texts, seed=seed,
        )  # fmt: skip

    def behaviour(self, name: str) -> Behaviour:
        """A planted one."""
        return self._behaviours[name]
