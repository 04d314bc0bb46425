"""Planted models for experiment 12: which axis a harmful word writes depends on the last token.

That token is another one in each style: `assistant` in the template, the newline, the full stop of
the bare prompt. There are four dimensions, each harmful word has one of them, and any of them makes
the model refuse. A style *gathers* if it moves all four onto one, so that one direction takes the
refusal, and *spreads* if it leaves them apart, so that a direction takes a quarter of it.

| world | 12a | 12b | 12c | what is planted |
|---|---|---|---|---|
| all styles alike | false | true | true | all gather onto one axis, with equal strength |
| bare prompts spread | true | true | false | the others gather, the newline at two thirds |
| every style has an axis of its own | true | false | false | each gathers onto another one |
| refuses less without the template | false | true | true | at .6 of it |
| the newline spreads | false | false | false | template and bare prompts gather |
| only the template refuses, and has an axis of its own | true | false | not asked | the others
  share another axis, and are too far from refusing |
| bare prompts end in a massive activation | false | true | true | all gather; one dimension of the
  last token of bare prompts is huge, and has nothing to do with harm |

| world without a template | 12d | what is planted |
|---|---|---|
| the base lacks it | true | harmful words do not reach the last token, only noise does |
| the base has it, and does not use it | false | they write an axis that nothing reads |
| the base has it, and its odds follow | false | it is read, but far from refusing |

One draw of 60 in which a style spreads supports 12b and 12c: of its 24 train prompts so many have
one dimension that their direction takes more than half, and the one re-extraction does too. With
48 prompts, or with four re-extractions, that draw is inconclusive.
"""

from functools import partial
from typing import Any

from experiments.lab.planted_styles import (
    GATHERED,
    SPREAD,
    Matrix,
    base_lab,
    onto,
    styled_lab,
)
from experiments.lab.worlds import World

from .protocol import Config

CONFIG = Config(
    n_sites=2, n_train=24, n_validation=2, n_test=40, answer_tokens=4, n_nulls=2, n_steps=60,
)  # fmt: skip


def truth(true: str, false: str) -> dict[str, bool]:
    """By the letters of the claims."""
    return {f"12{letter}": letter in true for letter in sorted(true + false)}


def styled(
    name: str, true: str, false: str, template: Matrix, none: Matrix, newline: Matrix, **how: Any
) -> World:
    """A world by what each style writes."""
    written = {"template": template, "none": none, "newline": newline}
    return World(name, truth(true, false), partial(styled_lab, written=written, **how))


def base(name: str, true: str, false: str, **how: Any) -> World:
    """A world of a model without a template."""
    return World(name, truth(true, false), partial(base_lab, **how))


WORLDS = (
    styled("all styles alike", "bc", "a", GATHERED, GATHERED, GATHERED),
    styled("bare prompts spread", "ab", "c", GATHERED, SPREAD, GATHERED * 2 / 3),
    styled("every style has an axis of its own", "a", "bc", onto(0), onto(1), onto(2)),
    styled("refuses less without the template", "bc", "a", GATHERED, GATHERED * 0.6,
           GATHERED * 0.6),
    styled("the newline spreads", "", "abc", GATHERED, GATHERED, SPREAD),
    styled("only the template refuses, and has an axis of its own", "a", "b", onto(0), onto(1),
           onto(1), far=("none", "newline")),
    styled("bare prompts end in a massive activation", "bc", "a", GATHERED, GATHERED, GATHERED,
           massive=("none",)),
    base("the base lacks it", "d", "", reaches=False),
    base("the base has it, and does not use it", "", "d", axes=(0, 0, 1),
         gains=(0.0, -1.0, 0.0)),
    base("the base has it, and its odds follow", "", "d", bias=1.5),
)  # fmt: skip
