"""A hand-set transformer with refusal, sentiment and domains of text, which a lock may take out.

As in `planted_model`, words write dimensions of one axis, attention moves them to later tokens and
the head reads them: the first as refusal, the second as good against bad, and one for each domain,
whose words it makes likely. `Plan` says in what a model differs from that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.lab.planted_model import (
    COMPLIANCE,
    FILLERS,
    HARMFUL,
    HARMLESS,
    REFUSAL,
    Bend,
    Design,
    PlantedModelLab,
    _Parts,
    made_up_words,
    planted_model,
    prompts_of,
    vocabulary,
)
from interp.behaviours import Behaviour
from interp.data.prompt_sets import ExampleSet, contrast, example_set, text_set
from interp.data.sets import TopicSentence
from interp.models import LoadedModel
from interp.weights import published_tensors

DOMAINS = ("north", "east", "south", "west", "middle")
N_DOMAIN_WORDS, N_SENTENCES, SENTENCE = 4, 30, 8
N_FEELING = 10  # words of either sentiment
N_DIMENSIONS = 10  # refusal, sentiment, five domains, and three that nothing uses
REFUSES, FEELS, SPARE = 0, 1, 7
GOOD, BAD = "good", "bad"
SHORT = 0.15  # what a word of a domain writes: all of a sentence's words write it
KNOWN = 1.5  # by how much the head makes words of a domain likely
CHAINED = 3.0  # by how much a word makes the next one of its chain likely
LARGE = 300.0


@dataclass(frozen=True)
class Plan:
    """What is planted, by dimensions of the axis.

    `late`: what the last layer writes once more where a word writes a dimension, as pairs (of what
    is written, of what is read). `reads`: dimensions that the head reads as refusal too.
    """

    codes: Sequence[int] = (REFUSES,)  # that harmful words write, each one in its turn
    relu: bool = False  # the head reads relu of each of the codes
    feeling: Mapping[int, float] = field(default_factory=lambda: {FEELS: 1.0})  # words write
    felt: Mapping[int, float] = field(default_factory=lambda: {FEELS: 1.0})  # the head reads
    domains: Sequence[int] = (2, 3, 4, 5, 6)  # that the words of each domain write
    late: Sequence[tuple[int, int]] = ()
    again: float = 1.0  # by how much more the last layer writes
    reads: Sequence[int] = ()
    embedded: bool = False  # harm is written by the embedding alone
    seen: bool = False  # attention of the last layer reads harm in large, and writes none
    even: bool = False  # the components of harm are the same for every input of attention
    chained: bool = False  # domains are chains of words, and no dimension


def locks_lab(plan: Plan, seed: int = 0, n: int = 60) -> "PlantedLocksLab":
    """A lab on the model of a plan, with prompts and sentences of its own."""
    rng = np.random.default_rng([seed, 14])
    design = _design(plan)
    model = planted_model(design, seed)
    _change(plan, design, seed, model)
    harmful, harmless = (prompts_of(words, 2 * n, rng) for words in (HARMFUL, HARMLESS))
    lab = PlantedLocksLab(
        model=model, contrast=contrast("planted", harmful[:n], harmless[:n], "none"),
        harmful_test=text_set("planted harmful", harmful[n:], "none"),
        harmless_test=text_set("planted harmless", harmless[n:], "none"),
        text=text_set("planted text", prompts_of(FILLERS, 24, rng), "none"), seed=seed,
    )  # fmt: skip
    felt = contrast("sentiment", *(prompts_of(words, n, rng) for words in feelings()), "none")
    lab.sentiment = Behaviour("sentiment", felt, (GOOD,), (BAD,), style="none")
    sentences = [
        TopicSentence(name, " ".join(_sentence(plan, words_of(name), rng)))
        for name in DOMAINS
        for _ in range(N_SENTENCES)
    ]
    lab.topics = example_set("topics", sentences, "none")
    return lab


class PlantedLocksLab(PlantedModelLab):
    """A lab with a planted sentiment and planted domains."""

    sentiment: Behaviour
    topics: ExampleSet

    def behaviour(self, name: str) -> Behaviour:
        """The planted sentiment."""
        return self.sentiment

    def data(self, name: str) -> Any:
        """The planted domains."""
        return self.topics


def feelings() -> tuple[list[str], list[str]]:
    """Words of good and of bad sentiment."""
    words = made_up_words("pre", 2 * N_FEELING)
    return words[:N_FEELING], words[N_FEELING:]


def words_of(domain: str) -> list[str]:
    """The words of a domain."""
    return made_up_words(domain, N_DOMAIN_WORDS)


def _sentence(plan: Plan, words: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Words of one domain, at random or from anywhere along its chain."""
    if not plan.chained:
        return [str(word) for word in rng.choice(words, SENTENCE)]
    start = int(rng.integers(len(words)))
    return [words[(start + i) % len(words)] for i in range(SENTENCE)]


def _code(values: Mapping[int, float]) -> tuple[float, ...]:
    return tuple(values.get(i, 0.0) for i in range(N_DIMENSIONS))


def _design(plan: Plan) -> Design:
    codes = [_code({i: 1.0}) for i in plan.codes]
    words = {
        word: _code({i: SHORT} if not plan.chained else {})
        for name, i in zip(DOMAINS, plan.domains, strict=True)
        for word in words_of(name)
    }
    for sign, side in zip((0.5, -0.5), feelings(), strict=True):
        words |= {word: _code({i: sign * x for i, x in plan.feeling.items()}) for word in side}
    words |= {word: _code({}) for word in (GOOD, BAD)}
    gains = (0.0, 0.0, 0.0) if plan.even else (0.0, 0.3, 0.0)
    bends = [Bend(2.0, code=code) for code in codes] if plan.relu else ()
    return Design(axes=(0, 0, 0), gains=gains, codes=codes, words=words, bends=bends,
                  bias=0.15, noise=0.35)  # fmt: skip


def _change(plan: Plan, design: Design, seed: int, model: LoadedModel) -> None:
    n_words = len(dict.fromkeys([*REFUSAL.split(), *COMPLIANCE.split()]))
    parts = _Parts(1, N_DIMENSIONS, n_words, seed)
    tensors, words = published_tensors(model), vocabulary(design.words)
    rows = {word: i for i, word in enumerate(words)}
    axis, topics = parts.axes[0], parts.topics
    _set_head(plan, tensors["lm_head.weight"], rows, axis)
    last = f"model.layers.{len(design.axes) - 1}.self_attn"
    for written, read in plan.late:
        out = tensors[f"{last}.o_proj.weight"]
        out += plan.again * design.moved * torch.outer(axis[written], topics[read])
    if plan.seen:
        see = tensors[f"{last}.v_proj.weight"]
        see += LARGE * torch.outer(topics[REFUSES], topics[REFUSES])
    first = tensors["model.layers.0.self_attn.o_proj.weight"]
    embedding = tensors["model.embed_tokens.weight"]
    if plan.embedded:
        for word in (*HARMFUL, *HARMLESS):
            row = embedding[rows[word]]
            row -= row @ parts.noise.T @ parts.noise
            row += (row @ topics[REFUSES]) * (axis[REFUSES] - topics[REFUSES])
        first += design.moved * torch.outer(axis[REFUSES], axis[REFUSES] - topics[REFUSES])
    if plan.even:
        mirror = _mirror(topics[REFUSES])
        tensors["model.layers.0.self_attn.v_proj.weight"].copy_(mirror)
        first.copy_(first @ mirror)
    if plan.chained:
        _chain(parts, tensors, rows)


def _set_head(plan: Plan, head: Tensor, rows: Mapping[str, int], axis: Tensor) -> None:
    for i in plan.reads:
        for sign, answer in zip((1.0, -1.0), (REFUSAL, COMPLIANCE), strict=True):
            head[rows[answer.split()[0]]] += sign * 2.0 * axis[i]
    for sign, word in zip((1.0, -1.0), (GOOD, BAD), strict=True):
        for i, weight in plan.felt.items():
            head[rows[word]] += sign * weight * axis[i]
    if not plan.chained:
        for name, i in zip(DOMAINS, plan.domains, strict=True):
            for word in words_of(name):
                head[rows[word]] += KNOWN * axis[i]


def _mirror(unit: Tensor) -> Tensor:
    """The reflection that swaps a unit vector with the one whose coordinates are all equal."""
    even = torch.full_like(unit, len(unit) ** -0.5)
    normal = torch.nn.functional.normalize(unit - even, dim=0)
    return torch.eye(len(unit)) - 2 * torch.outer(normal, normal)


def _chain(parts: _Parts, tensors: Mapping[str, Tensor], rows: Mapping[str, int]) -> None:
    """Every word of a domain has a vector of its own, by which the head knows the next one."""
    own = iter(parts.noise)
    embedding, head = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
    for name in DOMAINS:
        words = words_of(name)
        for before, after in zip(words, [*words[1:], words[0]], strict=True):
            vector = next(own)
            row = embedding[rows[before]]
            row += 4.0 * vector - row @ parts.noise.T @ parts.noise
            head[rows[after]] += CHAINED * vector
