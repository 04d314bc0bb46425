"""Planted models for experiment 05, in which a word of the prompt decides whether it is refused."""

from functools import partial
from typing import Any

from experiments.lab.planted_model import Bend, Design, planted_lab
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(n_sites=2, answer_tokens=6)
ONE, OTHER, OPPOSITE = (1.0, 0.0), (0.0, 1.0), (0.0, -1.0)
FAN = ((0.26, 0.97), (0.26, -0.97), (0.7, 0.7), (0.7, -0.7))


def world(name: str, true: str = "", false: str = "", mark: str = "", **design: Any) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"05{letter}": letter in true for letter in sorted(true + false)}
    return World(name, truth, partial(planted_lab, Design(topic=12.0, **design), mark=mark))


WORLDS = (
    world("one direction", "abcde"),
    world("a third of the words is too weak", "abcde", codes=((1.0,), (0.7,), (0.1,))),
    world("nothing is refused", false="abcde", strength=0.0),
    world("refusal fills a plane", false="abd",
          codes=FAN, bends=[Bend(1.0, code=code) for code in (ONE, OTHER, OPPOSITE)], strength=3.0),
    world("train prompts differ more by another word than by harm", false="ad", mark="with",
          codes=(ONE,), words={"with": (0.0, 3.0)}, strength=3.0),
    world("is wiped, and written anew by the last layer", "ad", "b",
          gains=(0.0, -1.0, -1.0, -1.0, 0.0), late=(1.0,)),
    world("carries how harmless answers begin", "a", "c", second=2.0, lean=0.15),
    world("shares a part with every state", false="c", second=2.0, shared=0.3),
    world("an adapter writes it once more", "ab", "d", late=(1.0,), unmerged=True),
    world("a step", false="e", bends=(Bend(20.0, 1.85), Bend(-20.0, 2.05))),
    world("up and down", false="e", bends=(Bend(5.0), Bend(-11.5, 0.77), Bend(10.0, 1.5))),
)  # fmt: skip
