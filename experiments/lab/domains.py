"""Domains of text: sentences of several topics, and the direction of each."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from interp.activations import capture
from interp.directions import Direction, mean_difference
from interp.prompts import tokenise
from interp.sites import Site

LAST = (-1, -2, -3, -4)  # tokens whose mean state is a sentence's
Sentences = Mapping[str, Sequence[str]]
"""By domain"""


def domain_sentences(lab: Lab, n: int) -> tuple[Sentences, Sentences]:
    """At most `n` train sentences of every domain, and as many for test, drawn with the seed."""
    found: dict[str, list[str]] = {}
    for topic, sentence in lab.data("topics").examples:
        found.setdefault(topic, []).append(sentence)
    rng = lab.rng("domains")
    order = {name: [texts[i] for i in rng.permutation(len(texts))] for name, texts in found.items()}
    return ({name: texts[:n] for name, texts in order.items()},
            {name: texts[n : 2 * n] for name, texts in order.items()})  # fmt: skip


def domain_directions(lab: Lab, train: Sentences, site: Site) -> dict[str, Direction]:
    """Of every domain, its mean state minus that of all others."""
    tokens = tokenise(lab.model, [text for part in train.values() for text in part], "none")
    states = capture(lab.model, tokens, sites=[site], positions=LAST)[:, 0].mean(1)
    named = np.repeat(list(train), [len(part) for part in train.values()])
    return {name: _against(states, named == name, site) for name in train}


def _against(
    states: Float[Tensor, "sentence d_model"], inside: np.ndarray, site: Site
) -> Direction:
    return mean_difference(states[inside], states[~inside], site)
