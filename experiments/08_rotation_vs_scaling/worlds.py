# READ NOW, before anything else: RED_TEAM.md at the root of this worktree (from the lead)
"""Planted models for experiment 08, in which a word of the prompt decides whether it is refused."""

from functools import partial
from typing import Any

from experiments.lab.planted_model import Bend, Design, planted_lab
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(
    n_sites=2, n_train=16, n_validation=8, n_test=6, n_length=6, n_others=1, n_reextractions=1
)
ONE, OTHER = (1.0, 0.0), (0.0, 1.0)
NOTHING = (0.0,) * 5  # is added to the axis after it was written


def world(name: str, true: str = "", false: str = "", **design: Any) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"08{letter}": letter in true for letter in sorted(true + false)}
    return World(name, truth, partial(planted_lab, Design(topic=12.0, **design)))


def line(*codes: tuple[float, float]) -> tuple[Bend, ...]:
    """Two bends per code that together read it without any bend."""
    return tuple(
        bend for c in codes for bend in (Bend(1.0, code=c), Bend(-1.0, code=(-c[0], -c[1])))
    )


WORLDS = (
    world("a line", "abe", "cd", gains=NOTHING, strength=1.4, bias=0.2),
    world("a line, strengthened a little by every layer", "abe", "cd",
          gains=(0.0, *(0.05,) * 3, 0.0), strength=1.4, bias=0.2),
    world("a plane, read by the last layer", "d", "abc",
          gains=NOTHING, codes=(ONE,), late=OTHER, bends=line(ONE, OTHER), strength=1.6),
    world("every layer has its own axis", false="abce",
          axes=(0, 1, 2, 3, 4), gains=(0.6,) * 5, strength=1.0),
    world("written once more by the last layer", false="ace", gains=NOTHING, late=(1.0,)),
    world("either sign refuses, and complies where the rest is reversed", "c", "abde",
          gains=NOTHING, bends=(Bend(1.0), Bend(1.0, code=(-1.0,)))),
    world("nothing is refused", false="abcde", strength=0.0),
)  # fmt: skip
