"""Planted models for experiment 10: words of the prompt write axes, which the head reads.

Seven behaviours, of which three (refusal, in a template; sentiment and register, without) are read,
and the others are at chance, unless said otherwise. Letters: the claims that are true (T) and
false (F) in a world; of the others it says nothing.

1  an axis for each; that of refusal turns by 25 degrees a layer, and later layers turn what they
   read along with it                                                                    T abc
2  two axes share a part (a cosine of .5), so that each of them moves the other by half; refusal's
   turns as in 1                                                                         T abc
3  one axis for all                                                                      F ab
4  two have a cosine of .85, refusal has an axis of its own                              F ab
5  a large shared topic that nothing reads, beside axes of their own; it changes from layer to
   layer, and with it the cosine of refusal's directions, but not their effect           T b, F ac
6  an axis for each, but every behaviour is also moved by the axis of refusal            T a, F b
7  one axis for all, and so much noise that the directions hardly resemble each other: the gate
   has to make it untestable                                                             F ab
8  an axis for each; refusal turns, and is read 50 degrees off its direction: directions to one
   side do more than the first                                                           T ab, F c
9  four axes, but the answer to persona's prompts is of refusal's axis, of which they write next to
   nothing: its own direction, which is out by the gate, moves it less                   T a, F b
"""

from functools import partial

import numpy as np
from jaxtyping import Float

from experiments.lab.planted_behaviours import Planted, PlantedBehavioursLab
from experiments.lab.worlds import World

from .protocol import BEHAVIOURS, VARIED, Config

CONFIG = Config(n_train=24, n_validation=12, n_test=4, n_nulls=3, n_halves=60, n_handfuls=3)
N_LAYERS, N_AXES = 6, 12
STEP = 25  # degrees
TOPIC = N_AXES - N_LAYERS  # the first of the axes that a changing topic has, one at each layer
SHARED, OTHER = 4, 5  # axes: of what behaviours share, and what refusal turns to
Vectors = Float[np.ndarray, "behaviour axis"]
Map = Float[np.ndarray, "axis axis"]

OWN: Vectors = np.eye(N_AXES)[:3]
FOUR: Vectors = np.eye(N_AXES)[:4]


def beside(axis: int, size: float) -> Vectors:
    """What all have in common."""
    return np.tile(size * np.eye(N_AXES)[axis], (len(OWN), 1))


def turned(degrees: float) -> Map:
    """From refusal's own axis towards another."""
    angle, found = np.radians(degrees), np.eye(N_AXES)
    both = np.ix_((0, OTHER), (0, OTHER))
    found[both] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return found


def passed_on() -> list[Map]:
    """Every layer moves the topic from its own axis to that of the next one."""
    maps = []
    for axis in range(TOPIC, N_AXES - 1):
        one = np.eye(N_AXES)
        one[axis, axis], one[axis + 1, axis] = 0.0, 1.0
        maps.append(one)
    return [*maps, np.eye(N_AXES)]


def turning(vectors: Vectors, degrees: float) -> Vectors:
    """What refusal is read by after its axis has been turned that far; the others as they are."""
    return np.concatenate([vectors[:1] @ turned(degrees).T, vectors[1:]])


def world(
    name: str,
    true: str = "",
    false: str = "",
    codes: Vectors = OWN,
    reads: Vectors | None = None,
    maps: list[Map] | None = None,
    noise: float = 0.15,
) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false.

    What is read is what is written, along its direction, unless `reads` says otherwise.
    """
    truth = {f"10{letter}": letter in true for letter in sorted(true + false)}
    units = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    names: tuple[str, ...] = BEHAVIOURS[: len(codes)]
    written = dict(zip(names, codes.tolist(), strict=True))
    written |= {name: np.eye(N_AXES)[SHARED].tolist() for name in BEHAVIOURS[len(codes) :]}
    read = dict(zip(names, (units if reads is None else reads).tolist(), strict=True))
    planted = Planted(written, read, maps or [np.eye(N_AXES)] * N_LAYERS, VARIED, noise)
    return World(name, truth, partial(PlantedBehavioursLab, planted))


TURNS = [turned(STEP)] * N_LAYERS
TURNED = STEP * N_LAYERS
ALIKE = OWN + beside(SHARED, 1.0) * (OWN[:, :1] == 0)
ALIKE_READ = ALIKE / np.linalg.norm(ALIKE, axis=1, keepdims=True)
LAST = np.eye(len(FOUR))[:, -1:]
NEAR = np.concatenate([OWN[:2], 0.85 * OWN[1:2] + 0.53 * OWN[2:]])
WORLDS = (
    world("an axis for each, that of refusal turns", "abc", reads=turning(OWN, TURNED), maps=TURNS),
    world("two axes share a part", "abc",
          codes=ALIKE, reads=turning(ALIKE_READ, TURNED), maps=TURNS),
    world("one axis for all", false="ab", codes=OWN[[0, 0, 0]]),
    world("two are .85 alike", false="ab", codes=NEAR),
    world("a large topic that nothing reads, another one at each layer", "b", "ac",
          codes=OWN + beside(TOPIC, 2.2), reads=OWN, maps=passed_on()),
    world("refusal's axis moves all", "a", "b",
          reads=OWN + np.array([[0], [1], [1]]) * OWN[0]),
    world("one axis for all, in noise", false="ab", codes=OWN[[0, 0, 0]], noise=0.45),
    world("refusal turns, and is read off its direction", "ab", "c",
          reads=turning(OWN, TURNED - 50), maps=TURNS),
    world("another direction moves an answer more than its own", "a", "b",
          codes=FOUR + 0.03 * FOUR[[0]] * LAST, reads=FOUR[[0, 1, 2, 0]]),
)  # fmt: skip
