"""Planted models for experiment 09: `experiments.lab.planted_rounds`.

For 09a, b and d a harmful word writes two features, at layers of their own: "refuse", which the
head reads at the first word of the answer, and "keep", which it reads for what a world says.
Sites before the most of "refuse" is written have a direction that is mostly "keep": a weak one. For
09c the taught models are hand-set too, so that the number of directions is known.

    world                                            a      b      d      why
    keep stops, words and keeps out Chinese          true   true   true   without it a refusal goes
                                                                          on, in other words; with
                                                                          neither the answer ends in
                                                                          Chinese
    keep stops a refusal                             true   false  false  and nothing else
    keep words a refusal, and keeps out advice       false  true   false  without it a refusal ends
                                                                          in advice
    every other answer is mixed, edited or not       false  false  false  and in Chinese
    any edit of that size does it                    false  false  false  stop, words and Chinese
                                                                          hang on keep, and on what
                                                                          words differ in most

    world                                            c      why
    an axis per round                                true   words of each round write an axis of
                                                            their own, at a layer of its own; any
                                                            of them is enough to refuse
    an axis per round, words differ more             true   in a noisier model
    rounds strengthen one axis                       false  there is nothing else to ablate
    the last sentence is harder                      false  two axes more, in its control too
    one to three axes, by the seed of the teaching   false  whatever the words
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from experiments.lab.lab import Lab
from experiments.lab.planted_rounds import Layered, layered_lab, layered_model
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(
    n_sites=3, n_train=40, n_test=24, answer_tokens=20, n_nulls=2, n_asked=4, n_taught=2,
    n_repetitions=3, n_counted=20,
)  # fmt: skip
KEEP, SIDES = ((0.0, 1.0),), ((0.0, 0.0, 1.0), (0.0, 0.0, -1.0))
WRITTEN = ((0.4, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
THREE: dict[str, Any] = {"written": WRITTEN, "refuse": ((1.0, 0.0, 0.0),), "chinese": True}
ANY = ((0.0, 1.0, 0.0), *SIDES)
N = 90  # prompts per class
NAMES = ("rounds", "control 0", "control 1")


def world(name: str, true: str = "", false: str = "", **design: Any) -> World:
    """A world of 09a, b and d: those that are true, and those that are false."""
    truth = {f"09{letter}": letter in true for letter in sorted(true + false)}
    planted = Layered(**{"written": [row[:2] for row in WRITTEN], **design})
    return World(name, truth, lambda seed: layered_lab(planted, seed, N))


def axes(n: int, **design: Any) -> Layered:
    """A feature per layer, each written by words of its own; any of them is refused."""
    one = [tuple(float(i == j) for j in range(n)) for i in range(n)]
    written = [*one, *[(0.0,) * n] * (5 - n)]
    return Layered(harmful=one, harmless=((0.0,) * n,), refuse=one, written=written,
                   thresholds=(0.35, 0.5, 0.3), **design)  # fmt: skip


def taught(
    name: str, true: bool, n_axes: Callable[[int, int], Sequence[int]], **design: Any
) -> World:
    """A world of 09c: by seed and repetition, how many axes the rounds and both controls have."""

    def lab(seed: int) -> Lab:
        model = cache(lambda n: layered_model(axes(n, **design), seed))
        made = layered_lab(axes(1, strength=-6.0, **design), seed, N)
        made.rounds = lambda repetition: {  # type: ignore[attr-defined]
            one: model(n) for one, n in zip(NAMES, n_axes(seed, repetition), strict=True)
        }
        return made

    return World(name, {"09c": true}, lab)


def by_chance(seed: int, repetition: int) -> Sequence[int]:
    """One to three axes each."""
    return np.random.default_rng([seed, repetition]).integers(1, 4, size=len(NAMES)).tolist()


WORLDS = (
    world("keep stops, words and keeps out Chinese", "abd", word=KEEP, stop=KEEP, chinese=True),
    world("keep stops a refusal", "a", "bd", stop=KEEP),
    world("keep words a refusal, and keeps out advice", "b", "ad", word=KEEP, stop=KEEP,
          advice=True),
    world("every other answer is mixed, edited or not", "", "abd", stop=SIDES[:1],
          harmful=((1.0, 1.0, 1.0), (1.0, 1.0, -1.0)), harmless=SIDES[:1], **THREE),
    world("any edit of that size does it", "", "abd", word=ANY, stop=ANY, noise=0.05,
          harmful=((1.0, 1.0, 1.0), (1.0, 1.0, -1.0)), harmless=SIDES,
          thresholds=(0.5, 1.5, 0.95), **THREE),
    taught("an axis per round", True, lambda *_: (2, 1, 1)),
    taught("an axis per round, words differ more", True, lambda *_: (2, 1, 1), noise=0.6),
    taught("rounds strengthen one axis", False, lambda *_: (1, 1, 1)),
    taught("the last sentence is harder", False, lambda *_: (3, 1, 3)),
    taught("one to three axes, by the seed of the teaching", False, by_chance),
)  # fmt: skip
