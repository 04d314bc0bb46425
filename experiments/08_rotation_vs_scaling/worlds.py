"""Planted models for experiment 08, in which a word of the prompt decides whether it is refused."""

from functools import partial
from math import cos, radians, sin
from typing import Any

from experiments.lab.planted_model import HARMLESS, Bend, Design, planted_lab
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(n_sites=2, n_test=6, n_others=1)
NOTHING = (0.0,) * 5  # is added to the axis after it was written


def world(name: str, true: str = "", false: str = "", **design: Any) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"08{letter}": letter in true for letter in sorted(true + false)}
    return World(name, truth, partial(planted_lab, Design(topic=12.0, **design)))


def on_circle(harmful: float, harmless: float) -> dict[str, Any]:
    """Words of either kind are as long, at these degrees from what the head reads."""
    one, other = ((cos(radians(t)), sin(radians(t))) for t in (harmful, harmless))
    return {"codes": (one,), "words": dict.fromkeys(HARMLESS, other), "gains": NOTHING}


WORLDS = (
    world("a line", "abe", "cd", gains=NOTHING, strength=1.4, bias=0.2),
    world("an angle, read halfway between the direction and the other axis", "abde", "c",
          **on_circle(-30, 120), late=(0.0, 0.05), strength=1.4, bias=0.15),
    world("an angle, of which a later layer reads the sine", "cd",
          **on_circle(25, 155), turns=(0, 0, 0, -104, 0), strength=2.8, bias=0.25),
    world("every layer has its own axis", false="abce",
          axes=(0, 1, 2, 3, 4), gains=(0.6,) * 5, strength=1.0),
    world("written once more by the last layer", false="ace", gains=NOTHING, late=(2.0,)),
    world("either sign refuses, as the last layer writes", false="abcde",
          gains=NOTHING, bends=(Bend(1.0), Bend(1.0, code=(-1.0,)))),
    world("nothing is refused", false="abcde", strength=0.0),
)  # fmt: skip
