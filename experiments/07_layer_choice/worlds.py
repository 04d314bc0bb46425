"""Planted worlds for experiment 07: four behaviours, each a hand-set transformer of its own.

The words' noise is weakened and strengthened from layer to layer, and so is what harmful words
write. A direction taken where the noise is strong points half into noise: ablating it leaves part
of the behaviour. Layers 1 to 4 are candidates, of which depth alone picks 1 and 4; the best is 2 or
3, not the same for every behaviour, unless the world says so.

name                                      true  false  why
quiet layers work                         a b   c      noise blurs directions, and parts the means
quiet layers work, the norm has grown           a      there the raw variance is higher than before;
                                                       b is left open, since an MLP that makes all
                                                       grow leaks the norm into the direction
layers where the means part work, and     c     a b d  harmful words write unequal amounts, so the
    are loud                                           variance is large where the axis is strong
all layers work alike                           a-d    any pick has a share of 1: random ones too
quiet layers work, at one depth                 a b c  depth alone picks them as well
nothing to steer, quiet layers tell       d     a b c  the head does not read the axis, which is
    prompts apart                                      weaker than the noise of loud layers
nothing to steer, quiet layers tell             d      depth alone picks them as well
    prompts apart, at one depth
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from experiments.lab.lab import Lab
from experiments.lab.planted_model import HARMLESS, REFUSAL, Bend, Design, planted_lab
from experiments.lab.worlds import World
from interp.behaviours import Behaviour
from interp.data.prompt_sets import text_set

from .protocol import Config

CONFIG = Config(behaviours=("first", "second", "third", "fourth"), n_sites=0, n_train=8, n_test=8,
                n_classified=24, n_text=2, n_resamples=200)  # fmt: skip
N = 6  # layers
OPENING = (REFUSAL.split()[0],)


class PlantedBehavioursLab(Lab):
    """A lab whose behaviours are each of a planted model of its own, by name."""

    def __init__(self, parts: Mapping[str, Lab], seed: int) -> None:
        first = next(iter(parts.values()))
        nothing = text_set("planted text", ["nothing"], "none")
        super().__init__(model=first.model, contrast=first.contrast, harmful_test=nothing,
                         harmless_test=nothing, text=nothing, seed=seed)  # fmt: skip
        self._parts = parts

    def behaviour(self, name: str) -> Behaviour:
        """That of the contrast set of the planted model of this name."""
        return Behaviour(name, self._parts[name].contrast, OPENING)

    def on(self, behaviour: Behaviour) -> Lab:
        """The lab on that planted model, with the cells of this one."""
        return self._parts[behaviour.name].for_experiment(self._cells)


def planted_behaviours(designs: Sequence[Design], seed: int) -> Lab:
    """A behaviour for each design."""
    names = enumerate(zip(CONFIG.behaviours, designs, strict=True))
    return PlantedBehavioursLab(
        {name: planted_lab(design, 10 * seed + i, n=80) for i, (name, design) in names}, seed
    )


def world(name: str, true: str, false: str, designs: Sequence[Design]) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"07{letter}": letter in true for letter in sorted(true + false)}
    return World(name, truth, partial(planted_behaviours, designs))


def steps(sizes: Sequence[float]) -> tuple[float, ...]:
    """Factors of the layers that give these sizes at their inputs, 1 at first."""
    return tuple(np.divide([*sizes[1:], sizes[-1]], [1.0, *sizes[1:]]))


def at(site: int, inside: float, outside: float) -> tuple[float, ...]:
    """Factors that give one size at the input of one layer and at the end, another elsewhere."""
    sizes = [inside if layer in (site, N - 1) else outside for layer in range(N)]
    return steps(sizes)


def gains(factors: Sequence[float]) -> tuple[float, ...]:
    """The gains of these factors."""
    return tuple(factor - 1 for factor in factors)


# Harmless words write the opposite, so that the norm says nothing about the class.
OPPOSITE = dict.fromkeys(HARMLESS, (-1.0,))
PLAIN = Design(axes=(0,) * N, gains=gains(at(0, 0.3, 0.3)), noise=0.15, strength=2.0, bias=0.0,
               topic=12.0, words=OPPOSITE, still=True)  # fmt: skip
NOISE = 0.9
SITES = (2, 3, 2, 3)


def quiet(sites: Sequence[int], **changes: Any) -> list[Design]:
    """Noise that is weak at one layer's input, another's for each behaviour."""
    return [replace(PLAIN, noise=NOISE, louder=at(site, 0.3, 1.0), **changes) for site in sites]


def loud(site: int) -> Design:
    """Where the axis is strong, so is the noise, a little."""
    return Design(
        axes=(0,) * N, gains=gains(steps([1.8 if i == site else 0.45 for i in range(N)])),
        noise=0.33, topic=12.0, still=True, louder=at(site, 1.1, 1.0), codes=((1.0,), (0.7,)),
        bends=(Bend(4.0), Bend(-4.0, 0.3)),
    )  # fmt: skip


def faint(sites: Sequence[int]) -> list[Design]:
    """An axis that the head does not read, far weaker than the noise but at one layer's input."""
    weak = replace(PLAIN, gains=gains(at(0, 0.03, 0.03)), strength=0.0, noise=1.4)
    return [replace(weak, louder=at(site, 0.06, 1.0)) for site in sites]


WORLDS = (
    world("quiet layers work", "ab", "c", quiet(SITES)),
    world("quiet layers work, the norm has grown", "", "a",
          quiet((3,) * 4, growth=(1.0, 1.0, 3.5, 1.0, 1.0, 1.0))),
    world("layers where the means part work, and are loud", "c", "abd",
          [loud(site) for site in SITES]),
    world("all layers work alike", "", "abcd", [PLAIN] * 4),
    world("quiet layers work, at one depth", "", "abc", quiet((4,) * 4)),
    world("nothing to steer, quiet layers tell prompts apart", "d", "abc", faint(SITES)),
    world("nothing to steer, quiet layers tell prompts apart, at one depth", "", "d",
          faint((4,) * 4)),
)  # fmt: skip
