"""Planted models for experiment 14: `experiments.lab.planted_locks`.

One model has refusal, sentiment and five domains of text. Words write a dimension of an axis, which
attention moves to later tokens and the head reads: as refusal openings, as good against bad, and as
the words of a domain. The last column says why a claim is false there.

    world                                     true   false
    each has a direction of its own           abcd          20 steps find no other way to the head
    harm is written by the embedding          abd           nothing else knows of it
    harm reaches the end, unread              d      b      a later layer writes it once more, and
                                                            the head does not read that yet
    attention still sees the words            ad     b      the last layer reads harm in large, and
                                                            writes nothing of it yet
    a second copy of refusal                         abd    a later layer writes it on another axis,
                                                            which the head reads too
    harmful words write four dimensions              a      and the head reads relu of each
    all inputs have the same component               a      so permuted ones are the right ones
    both behaviours are one direction                d      the other's key opens it
    sentiment reads refusal's direction too          d      its own key opens a fifth of it
    a domain is many directions                      c      every word predicts one other
    domains share a direction                        c      the next domain's costs as much
    layers have a unit for the key            e
    layers only add up                               e      no skill can hang on a key
    a wrong key looks like the right one             e      layers see coordinates of a push in
                                                            which the two hardly differ

The last three are `experiments.lab.planted_pushes`; of the others nothing is said there (14e).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from experiments.lab.lab import Lab
from experiments.lab.planted_locks import FEELS, REFUSES, SPARE, Plan, locks_lab
from experiments.lab.planted_pushes import alike_lab, pushes_lab
from experiments.lab.worlds import World

from .hidden import directions
from .protocol import Config

CONFIG = Config(n_sites=2, n_train=32, n_validation=4, n_test=24, n_scored=12, answer_tokens=5,
                n_sentences=8)  # fmt: skip


def world(name: str, true: str = "", false: str = "", **plan: Any) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"14{letter}": letter in true for letter in sorted(true + false)}
    return World(name, truth, partial(locks_lab, Plan(**plan)), {"n_hidden": 0})


def pushed(name: str, true: bool, lab: Callable[[int], Lab]) -> World:
    """A world of 14e."""
    return World(name, {"14e": true}, lab, {"n_tunings": 0})


COPY = {"late": ((SPARE, REFUSES),)}

WORLDS = (
    world("each has a direction of its own", "abcd"),
    world("harm is written by the embedding", "abd", embedded=True),
    world("harm reaches the end, unread", "d", "b", again=5.0, **COPY),
    world("attention still sees the words", "ad", "b", seen=True),
    world("a second copy of refusal", "", "abd", reads=(SPARE,), **COPY),
    world("harmful words write four dimensions", "", "a", relu=True,
          codes=(REFUSES, SPARE, SPARE + 1, SPARE + 2)),
    world("all inputs have the same component", "", "a", even=True),
    world("both behaviours are one direction", "", "d", feeling={REFUSES: 1.0},
          felt={REFUSES: 1.0}),
    world("sentiment reads refusal's direction too", "", "d", feeling={REFUSES: 1.0, FEELS: 1.0},
          felt={REFUSES: 0.8, FEELS: 0.2}),
    world("a domain is many directions", "", "c", chained=True),
    world("domains share a direction", "", "c", domains=(2, 2, 3, 3, 3)),
    pushed("layers have a unit for the key", True,
           partial(pushes_lab, pushes=partial(directions, number=0, n=1))),
    pushed("layers only add up", False, pushes_lab),
    pushed("a wrong key looks like the right one", False,
           partial(alike_lab, pushes=partial(directions, number=0, n=2))),
)  # fmt: skip
