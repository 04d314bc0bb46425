"""What edits do to the score of a behaviour (`interp.behaviours`), each measurement a cell.

`Meter` does so for refusal, with answers and KL beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from experiments.lab.selection import Source
from interp.behaviours import Behaviour
from interp.data.splits import Split
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.interventions import Placement
from interp.sites import Site

SIDES = ("positive", "negative")
Scores = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Scale:
    """Measures one behaviour on the first prompts of one split, and damage on text."""

    lab: Lab
    behaviour: Behaviour
    split: str  # "train", "validation" or "test"
    prompts: Split
    passages: Passages | None = None

    @classmethod
    def of(
        cls, lab: Lab, behaviour: Behaviour, split: str, n: int, passages: Passages | None = None
    ) -> "Scale":
        """A lab on the behaviour's prompts, of which `n` per class are scored at most."""
        found: Split = getattr(lab.splits, split)
        first = Split(found.positive[:n], found.negative[:n])
        return cls(lab, behaviour, split, first, passages)

    def scores(self, side: str, name: str, edits: Sequence[Placement] = ()) -> Scores:
        """Scores of the prompts of one side under an edit, in nats; `name` is the edit's own."""
        texts = getattr(self.prompts, side)
        found = self.lab.cell(
            f"{self.behaviour.name}/{self.split}/{side}/{name}",
            lambda: self.behaviour.scores(self.lab.model, texts, edits).tolist(),
        )
        return np.array(found, np.float64)

    def removed(self, name: str, direction: Direction) -> Scores:
        """What the score of prompts that show the behaviour falls by, ablated everywhere."""
        edited = self.scores("positive", f"ablated/{name}", [direction.ablate()])
        return self.scores("positive", "base") - edited

    def brought(self, name: str, direction: Direction, coefficient: float = 1.0) -> Scores:
        """What the score of prompts that do not show it rises by, added at its own site."""
        edit = f"added/{name}/{coefficient:g}"
        edited = self.scores("negative", edit, [direction.add(coefficient)])
        return edited - self.scores("negative", "base")

    def damage(self, name: str, edit: Placement) -> float:
        """KL(base || edited) on ordinary text, in nats per token."""
        if self.passages is None:
            raise ExperimentError("This scale was given no passages, so it has no damage on text.")
        damage = self.passages.damage
        key = f"{self.behaviour.name}/text/{name}"
        return float(np.mean(self.lab.cell(key, lambda: damage([edit]).kl.tolist())))


def mean_differences(lab: Lab, sites: Sequence[Site], n_train: int) -> list[Source]:
    """The mean difference at the last token of every site that has one, on train prompts.

    `n_train` prompts per class at most. Raises ExperimentError where no site has one.
    """
    train = lab.splits.train
    classes = [lab.activations(getattr(train, side)[:n_train], sites, (-1,)) for side in SIDES]
    found = []
    for i, site in enumerate(sites):
        positive, negative = (states[:, i, 0] for states in classes)
        if not torch.equal(positive.mean(0), negative.mean(0)):
            found.append(Source(mean_difference(positive, negative, site, -1), positive, negative))
    if not found:
        raise ExperimentError("All train prompts have the same state at every candidate site.")
    return found
