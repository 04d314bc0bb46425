"""Planted models for experiment 13, in which words of the first sentence and of the counter-prompts
write the axis that the head reads as refusal.

World (13a, 13b): why.

- what a prompt writes is diluted (true, true): attention is uniform: each word counts one part in
  as many as there are tokens, so that counter-prompts and filler dilute the sentence; the vector is
  added at every token.
- diluted, and words differ more (true, true): the same in a noisier model.
- counter-prompts take the attention (true, false): attention goes to instructions alone, and to the
  counter-prompt first: it takes most of the sentence's, filler takes nothing from either.
- all that is written adds up (false, false): an attention sink keeps every word's weight the same:
  counter-prompts take as much from both, filler from neither.
- the sentence writes a feature of its own (false, false): the head reads either feature; both
  undoers, and filler, write against the vector's only.
- each is undone by its own kind (false, false): counter-prompts write against the sentence's
  feature, the counter-vector against the vector's.
- filler speaks against refusal (false, false): words add up, also those of the filler, and the head
  has a floor: both are weakened alike.
- diluted a little (false, not asked): half as much: the lead is short of the margin.
- any vector makes it refuse (false, false): a long vector shrinks what keeps the model complying,
  and no counter-prompt undoes that.
"""

from functools import partial
from typing import Any

from experiments.lab.planted_model import FILLERS, Bend, Design, planted_lab
from experiments.lab.worlds import World

from .protocol import Config

Words = dict[str, tuple[float, ...]]

CONFIG = Config(n_train=32, n_test=8, n_counters=6)
STEER, UNDO = ("refuse", "decline"), ("answer", "full", "wrong")
EITHER = (Bend(1.0, code=(1.0, 0.0)), Bend(1.0, code=(0.0, 1.0)))
TWO: dict[str, Any] = {"codes": ((1.0, 0.0),), "bends": EITHER}
SUMS: dict[str, Any] = {"heed": {"user": 10.0}, "reach": 150.0}  # all that is written adds up
AGAINST = -0.004  # what filler writes, too


def words(*steer: float, undo: tuple[float, ...], filler: tuple[float, ...] = ()) -> Words:
    """What steering words, the words of counter-prompts (some half as much) and filler write."""
    half = tuple(x / 2 for x in undo)
    found = dict.fromkeys(STEER, steer) | {w: undo if w == UNDO[0] else half for w in UNDO}
    return found | (dict.fromkeys(FILLERS, filler) if filler else {})


def world(name: str, words: Words, a: bool, b: bool | None, **design: Any) -> World:
    """A world, with whether 13a and 13b are true in it."""
    truth = {"13a": a} if b is None else {"13a": a, "13b": b}
    return World(name, truth, partial(planted_lab, Design(words=words, **design)))


DILUTED = words(2.0, undo=(-0.4,))
WORLDS = (
    world("what a prompt writes is diluted", DILUTED, True, True),
    world("diluted, and words differ more", DILUTED, True, True, noise=1.0),
    world("counter-prompts take the attention", words(0.07, undo=(-0.01,)), True, False,
          heed=dict.fromkeys(STEER, 10.0) | dict.fromkeys(UNDO, 12.0), noise=0.1),
    world("all that is written adds up", words(1.0, undo=(-0.4,)), False, False, **SUMS),
    world("the sentence writes a feature of its own",
          words(0.0, 1.0, undo=(-0.4, 0.0), filler=(AGAINST, 0.0)), False, False, **TWO, **SUMS),
    world("each is undone by its own kind", words(0.0, 1.0, undo=(0.0, -0.8)), False, False,
          **TWO, **SUMS),
    world("filler speaks against refusal", words(1.0, undo=(-0.4,), filler=(AGAINST,)), False,
          False, bends=(Bend(1.0),), **SUMS),
    world("diluted a little", words(0.8, undo=(-0.3,)), False, None, heed={"user": 5.0}, reach=8.0),
    world("any vector makes it refuse", words(1.5, 0.0, undo=(-0.3, 0.0)), False, False,
          codes=((0.0, 1.0),), bias=1.0),
)  # fmt: skip
