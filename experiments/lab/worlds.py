"""Planted worlds: models or samples in which a claim is true, or false, by construction.

A hypothesis lists them in `worlds.py` as WORLDS, with the settings that they are measured with as
CONFIG. `interp calibrate` runs the hypothesis' own `run` on them and counts the verdicts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.config import ExperimentConfig
from experiments.lab.lab import Lab
from interp.data.prompt_sets import contrast, text_set
from interp.sites import Site

C = TypeVar("C", bound=ExperimentConfig)
States = Callable[
    [str, Sequence[int], Sequence[Site], Sequence[int]], Float[Tensor, "sample site pos d_model"]
]
"""Group, rows within it, sites and positions to states; equal arguments give equal states."""


@dataclass(frozen=True)
class World:
    """One planted world; every draw of it is a lab of its own."""

    name: str
    truth: Mapping[str, bool]  # by key of the claim; of the others it says nothing
    lab: Callable[[int], Lab]  # by the seed of the draw
    settings: Mapping[str, Any] = field(default_factory=dict)  # where they differ from CONFIG

    def config(self, common: C) -> C:
        """The settings that this world is measured with."""
        return replace(common, **self.settings)


def texts_of(group: str, n: int) -> list[str]:
    """Made-up texts that `PlantedLab` knows the states of."""
    return [f"{group} {row}" for row in range(n)]


class PlantedLab(Lab):
    """A lab whose states are made up instead of captured; its model has a shape and no weights.

    `states` is asked for the groups "positive" and "negative" of the contrast set, and of every
    contrast set named in `data`, as in "twins/positive". `others` are sets of other kinds, whose
    texts are `texts_of` their groups.
    """

    def __init__(
        self,
        states: States,
        *,
        n_layers: int,
        n_prompts: int = 48,
        data: Sequence[str] = (),
        others: Mapping[str, Any] | None = None,
        untrained: States,
        seed: int = 0,
        has_mid: bool = True,
    ) -> None:
        names = {"": ("positive", "negative")}
        names |= {name: (f"{name}/positive", f"{name}/negative") for name in data}
        self._sets: dict[str, Any] = dict(others or {})
        for name, groups in names.items():
            halves = [texts_of(group, n_prompts) for group in groups]
            self._sets[name] = contrast(name or "planted", *halves, "none")
        self._states, self._untrained_states = states, untrained
        nothing = text_set("planted text", ["Nothing."], "none")
        model: Any = SimpleNamespace(n_layers=n_layers, info=SimpleNamespace(has_mid=has_mid))
        super().__init__(
            model=model,
            contrast=self._sets[""],
            harmful_test=nothing,
            harmless_test=nothing,
            text=nothing,
            seed=seed,
        )

    def activations(
        self, prompts: Sequence[str], sites: Sequence[Site], positions: Sequence[int] = (-1,)
    ) -> Float[Tensor, "sample site pos d_model"]:
        """The planted states of the prompts."""
        found = [(group, int(row)) for group, row in (text.rsplit(" ", 1) for text in prompts)]
        states = {
            group: self._states(group, rows, sites, positions)
            for group in dict.fromkeys(group for group, _ in found)
            for rows in [[row for other, row in found if other == group]]
        }
        taken = {group: iter(of_group) for group, of_group in states.items()}
        return torch.stack([next(taken[group]) for group, _ in found])

    def position(self, name: str) -> int:
        """As in a template that puts one token after the prompt."""
        return {"last": -1, "last_instruction": -2}[name]

    def data(self, name: str) -> Any:
        """A planted set."""
        return self._sets[name]

    def untrained(self) -> PlantedLab:
        """The same prompts where nothing was learnt."""
        other = copy.copy(self)
        other._states = self._untrained_states
        return other
