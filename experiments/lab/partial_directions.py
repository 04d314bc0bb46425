"""Directions of a label and of a score, each with the other held fixed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.selection import Source
from interp.directions import direction_from
from interp.sites import Site

Values = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Scored:
    """States of two classes at one site, and a score of every prompt."""

    site: Site
    positions: Sequence[int]
    states: Sequence[Float[Tensor, "sample pos d_model"]]  # positive, negative
    scores: Sequence[Values]

    def resampled(self, rng: np.random.Generator) -> "Scored":
        """With replacement in each class."""
        rows = [rng.integers(len(scores), size=len(scores)) for scores in self.scores]
        states, scores = ([part[r] for part, r in zip(parts, rows, strict=True)]
                          for parts in (self.states, self.scores))  # fmt: skip
        return replace(self, states=states, scores=scores)

    def of_label(self, column: int) -> Source:
        """Partial effect of the label on the states at a position."""
        label, scores = self._centred()
        return self._weighted(_beside(label, scores), column)

    def of_score(self, column: int) -> Source:
        """Partial effect of the score."""
        label, scores = self._centred()
        return self._weighted(_beside(scores, label), column)

    def _centred(self) -> tuple[Values, Values]:
        label = np.repeat([1.0, 0.0], [len(part) for part in self.scores])
        scores = np.concatenate(self.scores)
        return label - label.mean(), scores - scores.mean()

    def _weighted(self, weights: Values, column: int) -> Source:
        """The weighted sum of the states, as long as the classes' means are apart."""
        classes = [part[:, column].double() for part in self.states]
        along = torch.tensor(weights) @ torch.cat(classes)
        found = direction_from(along, "partial", self.site, self.positions[column])
        length = float((classes[0].mean(0) - classes[1].mean(0)).norm())
        return Source(replace(found, norm=length), *classes)


def _beside(own: Values, other: Values) -> Values:
    """What of one the other does not predict."""
    return own - other * (own @ other) / max(float(other @ other), 1e-12)


def interpolated(doses: Sequence[float], rises: Sequence[float], wanted: float) -> float:
    """The dose at which the last of several rises is what is wanted; without that, the best.

    Doses and rises begin with 0, which is not the best; there may be more doses than rises.
    """
    if rises[-1] < wanted:
        return doses[1 + int(np.argmax(rises[1:]))]
    share = (wanted - rises[-2]) / max(rises[-1] - rises[-2], 1e-12)
    low, high = doses[len(rises) - 2], doses[len(rises) - 1]
    return round(low + max(share, 0.01) * (high - low), 3)
