"""Planted models for experiment 11: `experiments.lab.planted_two_axes`.

A word of the prompt writes harmfulness H and a part of refusal of its own, r. Refusal is R = .6 H +
r, so that some harmful words are accepted and some harmless ones refused. Worlds differ in what the
sites see of H and R at the two positions, and in what the inversion's answer reads.

    world                                           11a    11b    why
    harmfulness first, refusal last                 true   true   H at the instruction, R at the end
    each position has some of the other             true   true   .4 of it; the inversion reads H
    refusal says No as well                         true   true   as a word, whatever is judged
    one axis                                        false  false  odds and inversion read H itself
    both at both positions                          false  -      H and R at either position
    swapped                                         false  false  R at the instruction, H at the end
    a whim at the end, which the odds share         false  false  one axis; at the last token the
                                                                  filler words disturb it, unless
                                                                  the request is put otherwise
    refusal is written after the sites              false  false  H at both; R by the last layer
    the word on harm follows refusal in part        true   false  the inversion reads H and R
    harm does not lead to refusal                   true   false  R is r alone, which harmful words
                                                                  have more of
"""

from functools import partial
from typing import Any

from experiments.lab.planted_two_axes import TwoAxes, two_axes_lab
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(n_prompts=12, n_resamples=100, n_inverted=14, n_train=20, n_validation=10,
                n_nulls=1, n_reextractions=2)  # fmt: skip
H, R = (1.0, 0.0), (0.0, 1.0)
ONE_AXIS: dict[str, Any] = {
    "instruction": H, "template": H, "refuses": H, "spread": 0.45, "own": 0.0, "later": 0.0,
}  # fmt: skip


def world(name: str, true: str = "", false: str = "", **design: Any) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"11{letter}": letter in true for letter in sorted(true + false)}
    return World(name, truth, partial(two_axes_lab, TwoAxes(**design)))


WORLDS = (
    world("harmfulness first, refusal last", "ab"),
    world("each position has some of the other", "ab", instruction=(1.0, 0.4), template=(0.4, 1.0),
          own=0.4),
    world("refusal says No as well", "ab", lexical=4.0),
    world("one axis", false="ab", **ONE_AXIS),
    world("both at both positions", false="a", instruction=(1.0, 1.0), template=(1.0, 1.0),
          later=0.0),
    world("swapped", false="ab", instruction=R, template=H, later=0.0, gathered=(1.5, 0.0),
          judges=(2.0, 0.0), judges_all=(0.0, 0.0, 0.0)),
    world("a whim at the end, which the odds share", false="ab", whim=0.25, **ONE_AXIS),
    world("refusal is written after the sites", false="ab", template=H, gathered=(0.0, 1.0)),
    world("the word on harm follows refusal in part", "a", "b", judges=(0.0, 0.6),
          judges_all=(1.0, 0.0, 0.0)),
    world("harm does not lead to refusal", "a", "b", lead=0.0, later=0.0, more=0.6),
)  # fmt: skip
