"""Planted models for experiment 13, in which words of the first sentence and of the counter-prompts
write the axis that the head reads as refusal.

| world | 13a | 13b | why |
|---|---|---|---|
| what a prompt writes is diluted | true | true | attention is uniform: each word counts one part in as many as there are tokens, so that counter-prompts and filler dilute the sentence; the vector is added at every token |
| diluted, and words differ more | true | true | the same in a noisier model |
| the last instruction shares the attention | true | false | attention goes to instructions alone: a counter-prompt takes half of the sentence's, filler takes nothing from either |
| all that is written adds up | false | false | an attention sink keeps every word's weight the same: counter-prompts take as much from both, filler from neither |
| the sentence writes a feature of its own | false | false | the head reads either feature; both undoers, and filler, write against the vector's only |
| each is undone by its own kind | false | false | counter-prompts write against the sentence's feature, the counter-vector against the vector's |
| filler speaks against refusal | false | false | words add up, also those of the filler, and the head has a floor: both are weakened alike |
| steering sentences do nothing | false | false | no match: untestable |
"""

from functools import partial
from typing import Any

from experiments.lab.planted_model import FILLERS, Bend, Design, planted_lab
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(n_train=32, n_validation=6, n_test=10, n_sentences=2, n_used=1, n_counters=6)
STEER, UNDO = ("refuse", "decline"), "answer"
SINK = {"user": 10.0}


def world(name: str, a: bool, b: bool, **design: Any) -> World:
    """A world, with whether 13a and 13b are true in it."""
    return World(name, {"13a": a, "13b": b}, partial(planted_lab, Design(**design)))


def words(steer: tuple[float, ...], undo: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    """What the steering words and the one of the counter-prompts write."""
    return {**dict.fromkeys(STEER, steer), UNDO: undo}


DILUTED = words((2.0,), (-0.5,))
ADDED = words((0.12,), (-0.03,))
WORLDS = (
    world("what a prompt writes is diluted", True, True, words=DILUTED),
    world("all that is written adds up", False, False, words=words((1.0,), (-0.4,)), heed=SINK, reach=150.0),
)
