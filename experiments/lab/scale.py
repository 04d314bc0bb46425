"""What a direction does to the behaviour of a lab: what it takes, brings and costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.passages import Passages
from experiments.lab.selection import Source
from interp.data.splits import Split
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.interventions import Placement
from interp.sites import Site

SIDES = ("positive", "negative")
Scores = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Scale:
    """Effects on prompts of both classes of one split, and damage on text."""

    meter: Meter

    @classmethod
    def of(cls, lab: Lab, split: str, n: int, passages: Passages | None = None) -> "Scale":
        """Of the lab's behaviour, on the first `n` prompts per class of a split at most.

        `split` is "train", "validation" or "test".
        """
        found: Split = getattr(lab.splits, split)
        prompts = {side: getattr(found, side)[:n] for side in SIDES}
        return cls(Meter(lab, prompts, passages, name=f"{lab.studied.name}/{split}"))

    def scores(self, side: str, name: str = BASE.name, *edits: Placement) -> Scores:
        """Scores of the prompts of one side under an edit, in nats; `name` is the edit's own."""
        return self.meter.scores(side, Edit(name, edits) if edits else BASE)

    def removed(self, name: str, direction: Direction) -> Scores:
        """What the score of prompts that show the behaviour falls by, ablated everywhere."""
        edited = self.scores("positive", f"ablated/{name}", direction.ablate())
        return self.scores("positive") - edited

    def brought(self, name: str, direction: Direction, coefficient: float = 1.0) -> Scores:
        """What the score of prompts that do not show it rises by, added at its own site."""
        edit = f"added/{name}/{coefficient:g}", direction.add(coefficient)
        return self.scores("negative", *edit) - self.scores("negative")

    def damage(self, name: str, edit: Placement) -> float:
        """KL(base || edited) on ordinary text, in nats per token."""
        return float(self.meter.text(Edit(name, (edit,)))["kl"].mean())


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
