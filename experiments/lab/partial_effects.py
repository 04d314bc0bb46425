"""What a direction's projection owes to a label and to a score that is measured with error.

A direction is a weighted sum of states, so that every projection follows from the inner products of
the states, and a bootstrap draw makes directions anew without touching a state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from interp.stats import Interval, null_interval

RECIPES = {"both": (1.0, 1.0), "label": (1.0, 0.0), "score": (0.0, 1.0)}  # what directions are of
LEAST = 0.01  # reliability that is divided by
Values = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Panel:
    """Prompts of several sources, with what the projections of their states are regressed on.

    Prompts of one cluster are resampled together; prompt i counts `counts[i]` times throughout.
    """

    states: Float[Tensor, "sample site pos d_model"]
    label: Values  # 1 or 0
    scores: Float[np.ndarray, "2 sample"]  # the same measured twice, with errors of its own
    source: Int[np.ndarray, " sample"]
    cluster: Int[np.ndarray, " sample"]

    @cached_property
    def products(self) -> Float[np.ndarray, "site pos sample sample"]:
        """Inner products of the states, each centred over all prompts."""
        states = self.states.double().numpy().transpose(1, 2, 0, 3)
        states = states - states.mean(2, keepdims=True)
        return states @ states.swapaxes(2, 3)

    @cached_property
    def member(self) -> Float[np.ndarray, "source sample"]:
        """1 where a prompt is of a source."""
        return (np.unique(self.source)[:, None] == self.source).astype(np.float64)

    def standardised(
        self, values: Float[np.ndarray, "*batch sample"], counts: Values
    ) -> Float[np.ndarray, "*batch sample"]:
        """Values of mean 0 and variance 1 within each source."""
        share = counts * self.member
        share = share / share.sum(1, keepdims=True)
        centred = values - (values @ share.T) @ self.member
        spread = np.sqrt((centred**2 @ share.T) @ self.member)
        return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)

    def regressors(self, counts: Values) -> Float[np.ndarray, "2 sample"]:
        """Label and mean of both scores, which are standardised within their source."""
        values = self.standardised(np.stack([self.label, *self.scores]), counts)
        return np.stack([values[0], values[1:].mean(0)])

    def alike(self, counts: Values) -> tuple[float, float]:
        """Correlation of both scores, within sources; and of the label and the true score."""
        label, *scores = self.standardised(np.stack([self.label, *self.scores]), counts)
        reliability = max(float(np.average(scores[0] * scores[1], weights=counts)), LEAST)
        both = float(np.average(label * (scores[0] + scores[1]) / 2, weights=counts))
        return reliability, both / reliability**0.5

    def projections(
        self, counts: Values, recipe: str = "both"
    ) -> Float[np.ndarray, "site pos sample"]:
        """Of every state on its position's direction from the other sources, standardised.

        The direction is the covariance of the states with label, score or the sum of both.
        """
        regressors = self.standardised(self.regressors(counts), counts)
        weights = counts * (np.array(RECIPES[recipe]) @ regressors)
        others = (1 - self.member) * weights  # per source that is projected
        onto = np.einsum("spij,kj->spki", self.products, others, optimize=True)
        found = np.einsum("spki,ki->spi", onto, self.member)
        return self.standardised(found, counts)

    def effects(self, counts: Values, recipe: str = "both") -> Float[np.ndarray, "pos effect"]:
        """Partial effects of label and true score, averaged over the sites.

        Errors in variables: the score's variance is what both share (Fuller 1987, chapter 1).
        """
        regressors, (reliability, overlap) = self.regressors(counts), self.alike(counts)
        with_states = (regressors * counts) @ self.projections(counts, recipe).mean(0).T
        with_states /= counts.sum() * np.array([[1.0], [reliability**0.5]])
        moments = np.array([[1.0, overlap], [overlap, 1.0]])
        return np.linalg.lstsq(moments, with_states, rcond=None)[0].T


def bootstrapped(
    panel: Panel, summary: Callable[[Values], Mapping[str, float]], n: int, seed: int
) -> dict[str, Interval]:
    """Percentile intervals of a summary, over clusters, which are drawn within their source."""
    rng = np.random.default_rng(seed)
    clusters, first = np.unique(panel.cluster, return_index=True)
    parts = [clusters[panel.source[first] == s] for s in np.unique(panel.source[first])]
    draws = []
    for _ in range(n):
        picked = np.concatenate([rng.choice(part, len(part)) for part in parts])
        times = np.bincount(picked, minlength=clusters.max() + 1)
        draws.append(summary(times[panel.cluster].astype(np.float64)))
    return {
        name: Interval(value, *null_interval(np.array([d[name] for d in draws])), len(clusters))
        for name, value in summary(np.ones(len(panel.source))).items()
    }
