"""Planted worlds for experiment 07: four behaviours, each a stream of states with a linear reader.

At every layer the state of a prompt is a constant, an axis that its class moves along, the words'
noise, and in some worlds a difference that is never read. The score reads the axis at the end.
Ablating a direction leaves of the axis what the direction does not hold of it; what is added at a
layer arrives as far as it lies along the axis. So a direction that points half into noise, or into
what is not read, works half. Sizes vary by 10% between layers and behaviours. Layers 1 to 5 are
candidates, of which depth alone picks 1, 4 and 5; the best is 2 or 3, not the same for every
behaviour, unless the world says so. Text is not read: nothing damages it. Sizes were set on draws 0
to 5, which the 60 that are counted contain; and in none of these worlds do behaviours share a
variance that points to a layer by coincidence.

name                                       true  false  why
quiet layers work                          a b          noise blurs directions, and is weak where
                                                        the axis is strong; c is left open, since
                                                        noise parts the means of few prompts too
quiet layers work, all grows               b     a      the raw variance grows with the norm
the means part where it works, loudly      c     a b d  the axis is strong there, and so is the
                                                        variance, since prompts move unequally far
an unread difference parts the means             c      the class also moves what nobody reads
early layers are quiet, nothing is there         a b d  as nothing is written yet, nothing varies
all layers work alike                            a-d    any pick has a share of 1: random ones too
quiet layers work, at one depth                  a b c  depth alone picks them as well
nothing to steer, but to classify          d     a b c  the axis is weak, and not read
nothing to steer, but at one depth               d      depth alone picks it as well
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import ortho_group
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.worlds import PlantedLab, World
from interp.behaviours import Behaviour, Reading
from interp.data.splits import Split, Splits
from interp.interventions import Ablate, Add, Placement
from interp.models import LoadedModel
from interp.prompts import Tokens
from interp.sites import Site

from .protocol import Config

CONFIG = Config(behaviours=("first", "second", "third", "fourth"), n_sites=0, n_train=16, n_test=8,
                n_classified=24, n_text=2, n_resamples=200)  # fmt: skip
N = 7  # layers
D, N_NOISE = 64, 24
N_PROMPTS = 40  # of a class; the last are for testing
JITTER = 0.1
T = TypeVar("T")
SIDES = {"positive": 1.0, "negative": -1.0}
Sizes = Sequence[float]


def at(inside: float, outside: float, site: int) -> tuple[float, ...]:
    """One size at a layer, another elsewhere."""
    return tuple(inside if layer == site else outside for layer in range(N))


@dataclass(frozen=True)
class Stream:
    """Sizes by layer of one behaviour; those at the end are of the reader."""

    axis: Sizes = (1.0,) * N
    noise: Sizes = (0.5,) * N  # of each of N_NOISE dimensions
    unread: Sizes = (0.0,) * N
    norm: Sizes = (1.0,) * N  # of everything
    spread: float = 0.0  # of how far prompts move along the axis, relative
    strength: float = 4.0  # nats of the score by unit of the axis
    constant: float = 5.0


class Planted:
    """One draw of a stream: its basis, its prompts, and its sizes with their jitter."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self.stream = stream
        rng = np.random.default_rng([seed, 11])
        basis = torch.tensor(ortho_group.rvs(D, random_state=seed), dtype=torch.float32)
        self.constant, self.axis, self.unread = basis[:3]
        self.noises = basis[3 : 3 + N_NOISE]
        jitter = np.exp(JITTER * rng.standard_normal((3, N)))
        sizes = np.array([stream.axis, stream.noise, stream.unread]) * jitter
        self.sizes = torch.tensor(sizes, dtype=torch.float32)
        drawn = rng.standard_normal((2, N_PROMPTS, N_NOISE + 1))
        self.drawn = dict(zip(SIDES, torch.tensor(drawn, dtype=torch.float32), strict=True))

    def state(self, group: str, row: int, layer: int) -> Float[Tensor, " d_model"]:
        """The stream entering a layer."""
        axis, noise, unread = self.sizes[:, layer]
        stream, drawn = self.stream, self.drawn[group][row]
        moved = SIDES[group] * (1 + stream.spread * drawn[-1])
        shown = moved * (axis * self.axis + unread * self.unread)
        varying = noise * drawn[:-1] @ self.noises
        return stream.norm[layer] * (stream.constant * self.constant + shown + varying)

    def score(self, group: str, row: int, edits: Sequence[Placement]) -> float:
        """What the reader makes of a prompt: strength times the axis at the end, in nats."""
        moved = SIDES[group] * (1 + self.stream.spread * self.drawn[group][row, -1])
        end = self.stream.constant * self.constant + moved * self.axis
        for edit in edits:
            if isinstance(edit.intervention, Ablate):
                end = edit.intervention(end)
            elif isinstance(edit.intervention, Add) and edit.sites:
                end = end + edit.intervention.vector / self.stream.norm[edit.sites[0].layer]
        return self.stream.strength * float(end @ self.axis)


@dataclass(frozen=True)
class PlantedBehaviour(Behaviour):
    """A behaviour whose score a planted stream gives."""

    planted: Any = None

    def read(
        self,
        model: LoadedModel,
        prompts: Sequence[str],
        tokens: Tokens,
        edits: Sequence[Placement] = (),
    ) -> Reading:
        """Scores of the texts that `PlantedLab` makes up."""
        found = [prompt.rsplit(" ", 1) for prompt in prompts]
        scores = [self.planted.score(group, int(row), edits) for group, row in found]
        return Reading(torch.tensor(scores, dtype=torch.float64), torch.empty(0, 0))


class PlantedBehavioursLab(PlantedLab):
    """A lab of several planted behaviours."""

    def __init__(self, streams: Sequence[Stream], seed: int) -> None:
        self._planted = {
            name: Planted(stream, 10 * seed + i)
            for i, (name, stream) in enumerate(zip(CONFIG.behaviours, streams, strict=True))
        }
        nothing = partial(self._of, CONFIG.behaviours[0])
        super().__init__(nothing, n_layers=N, n_prompts=N_PROMPTS, untrained=nothing, seed=seed)

    def _of(
        self, name: str, group: str, rows: Sequence[int], sites: Sequence[Site], _: Sequence[int]
    ) -> Float[Tensor, "sample site 1 d_model"]:
        states = [
            torch.stack([self._planted[name].state(group, row, site.layer) for site in sites])
            for row in rows
        ]
        return torch.stack(states)[:, :, None]

    @property
    def splits(self) -> Splits:
        """The first prompts for training, the last for testing."""
        cut = N_PROMPTS - CONFIG.n_classified
        sides = self._contrast.positive, self._contrast.negative
        train, test = (Split(*(side[part] for side in sides)) for part in
                       (slice(cut), slice(cut, None)))  # fmt: skip
        return Splits(train, test, test)

    def cell(self, key: str, compute: Callable[[], T]) -> T:
        """Damage on text is nothing, and not measured."""
        return cast("T", {"kl": [0.0]}) if "/text/" in key else super().cell(key, compute)

    def tokens(self, prompts: Sequence[str]) -> Any:
        """None: there is no tokenizer."""

    def behaviour(self, name: str) -> Behaviour:
        """A planted one."""
        return PlantedBehaviour(name, self._contrast, ("I",), planted=self._planted[name])

    def on(self, behaviour: Behaviour) -> Lab:
        """The same lab with the states of a behaviour."""
        bench = copy.copy(self)
        bench.studied, bench._states = behaviour, partial(self._of, behaviour.name)
        return bench


def world(name: str, true: str, false: str, streams: Sequence[Stream]) -> World:
    """A world, by the letters of the claims that are true in it, and of those that are false."""
    truth = {f"07{letter}": letter in true for letter in sorted(true + false)}
    return World(name, truth, partial(PlantedBehavioursLab, streams))


SITES = (2, 3, 2, 3)
PLAIN = Stream()
GROWING = tuple(3.0**layer for layer in range(N))


def quiet(sites: Sequence[int], outside: float = 1.4, **changes: Any) -> list[Stream]:
    """Noise that is weak at one layer, another for each behaviour; the means part there as well."""
    whole = replace(PLAIN, **changes)
    parted = [tuple(at(2.6, 1.0, site) * np.array(whole.axis)) for site in sites]
    streams = [replace(whole, axis=axis) for axis in parted]
    return [replace(one, noise=at(0.3, outside, i)) for i, one in zip(sites, streams, strict=True)]


def loud(site: int) -> Stream:
    """Where the axis is strong prompts vary more."""
    return Stream(axis=at(1.0, 0.3, site), noise=at(0.5, 0.4, site), spread=0.8)


def unread(site: int) -> Stream:
    """The class moves more of what is not read, but at one layer."""
    return Stream(unread=at(0.2, 1.3, site))


def early(site: int) -> Stream:
    """Nothing is written before a layer, and nothing varies there."""
    written = [layer >= site for layer in range(N)]
    return Stream(axis=np.where(written, 1.0, 0.1).tolist(),
                  noise=np.where(written, 0.5, 0.2).tolist())  # fmt: skip


FAINT: dict[str, Any] = {"axis": (0.4,) * N, "outside": 0.8, "strength": 0.0}

WORLDS = (
    world("quiet layers work", "ab", "", quiet(SITES)),
    world("quiet layers work, all grows", "b", "a", quiet((3,) * 4, norm=GROWING)),
    world("the means part where it works, loudly", "c", "abd", [loud(site) for site in SITES]),
    world("an unread difference parts the means", "", "c", [unread(site) for site in SITES]),
    world("early layers are quiet, nothing is there", "", "abd", [early(site) for site in SITES]),
    world("all layers work alike", "", "abcd", [PLAIN] * 4),
    world("quiet layers work, at one depth", "", "abc", quiet((4,) * 4)),
    world("nothing to steer, but to classify", "d", "abc", quiet(SITES, **FAINT)),
    world("nothing to steer, but at one depth", "", "d", quiet((4,) * 4, **FAINT)),
)  # fmt: skip
