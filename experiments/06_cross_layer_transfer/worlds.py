"""Planted models for experiment 06, in which a word of the prompt decides whether it is refused."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from experiments.lab.planted_model import Design, planted_lab
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(
    n_sources=2, n_targets=2, n_train=24, n_validation=6, n_test=6, n_profile=0, n_pairs=1,
    n_resamples=10,
)  # fmt: skip
N = 8  # layers


def world(name: str, true: str = "", false: str = "", **design: Any) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"06{letter}": letter in true for letter in sorted(true + false)}
    settings = {"axes": (0,) * N, "gains": (0.0, 0.3) * (N // 2), "topic": 12.0} | design
    return World(name, truth, partial(planted_lab, Design(**settings)))


# ------------------------------------------------------------------------------ worlds of 20 layers

DEEP = 20  # 16 are left where a source in the middle and its neighbours are left out
# The axis of every layer, in no order that follows depth; 0 at every source.
PATTERN = tuple(map(int, "01101001100101001010"))


def moved(sizes: Sequence[float]) -> tuple[float, ...]:
    """Gains that make what harmful words write that large at each layer's input, 1 at first."""
    return tuple(np.divide([*sizes[1:], sizes[-1]], [1.0, *sizes[1:]]) - 1)


def deep(name: str, true: str = "", false: str = "", **design: Any) -> World:
    """A model of 20 layers whose axis is small, so that its norm is the same everywhere."""
    sizes = design.pop("sizes")
    settings = {"axes": (0,) * DEEP, "gains": moved(sizes), "strength": 6.0, "noise": 0.15} | design
    return world(name, true, false, **settings)


def by_axis(sizes: Mapping[int, float]) -> list[float]:
    """The size of each layer's axis."""
    return [sizes[axis] for axis in PATTERN]


UNEVEN = by_axis({0: 0.15, 1: 0.45})
WORLDS = (
    world("one direction, passed on with unequal strength", "abcdf"),
    world("every layer has a direction of its own", false="abcd", axes=tuple(range(N)),
          gains=(0.3,) * N, noise=0.15),
    world("layers take turns at two directions, others from halfway", false="bcd",
          axes=(0, 1, 0, 1, 2, 3, 2, 3), gains=(0.1,) * N, noise=0.15),
    world("is wiped, and written anew by the last layer; layers turn their space", false="af",
          gains=(0.0,) * (N - 2) + (-1.0, 0.0), late=(1.0,), noise=1.0, turn=50.0, topic=4.0),
    world("nothing is refused, few dimensions are alike, others turned", false="abcdef",
          strength=0.0, noise=1.0, turn=90.0, outliers=7.0, topic=4.0),
    deep("works where the class means part", "e", sizes=by_axis({0: 0.45, 1: 0.15}), axes=PATTERN),
    deep("works where they do not part", "", "e", sizes=[*UNEVEN[:-1], 0.45], axes=PATTERN),
)  # fmt: skip
