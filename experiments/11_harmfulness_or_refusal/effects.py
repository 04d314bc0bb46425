"""Partial effects of harmfulness and of refusal on the projections of 11a, with their bootstrap.

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

RECIPES = {"both": (1.0, 1.0), "label": (1.0, 0.0), "odds": (0.0, 1.0)}  # label and odds in it
LEAST = 0.01  # reliability that is divided by
Values = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Panel:
    """Prompts with what their projections are regressed on: the label, and refusal odds."""

    states: Float[Tensor, "sample site pos d_model"]
    harmful: Values  # 1 or 0
    odds: Float[np.ndarray, "wording sample"]  # refusal odds in two wordings
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
        """Values of mean 0 and variance 1 within each source, where prompt i counts counts[i]."""
        share = counts * self.member
        share = share / share.sum(1, keepdims=True)
        centred = values - (values @ share.T) @ self.member
        spread = np.sqrt((centred**2 @ share.T) @ self.member)
        return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)

    def regressors(self, counts: Values) -> Float[np.ndarray, "2 sample"]:
        """Label and mean odds of both wordings, standardised within their source."""
        values = self.standardised(np.stack([self.harmful, *self.odds]), counts)
        return np.stack([values[0], values[1:].mean(0)])

    def alike(self, counts: Values) -> tuple[float, float]:
        """Correlation of the odds in both wordings, within sources; and of label and true odds."""
        label, *odds = self.standardised(np.stack([self.harmful, *self.odds]), counts)
        reliability = max(float(np.average(odds[0] * odds[1], weights=counts)), LEAST)
        both = float(np.average(label * (odds[0] + odds[1]) / 2, weights=counts))
        return reliability, both / reliability**0.5

    def projections(
        self, counts: Values, recipe: str = "both"
    ) -> Float[np.ndarray, "site pos sample"]:
        """Of every state on its position's direction from the other sources, standardised."""
        regressors = self.standardised(self.regressors(counts), counts)
        weights = counts * (np.array(RECIPES[recipe]) @ regressors)
        others = (1 - self.member) * weights  # per source that is projected
        onto = np.einsum("spij,kj->spki", self.products, others, optimize=True)
        found = np.einsum("spki,ki->spi", onto, self.member)
        return self.standardised(found, counts)

    def effects(self, counts: Values, recipe: str = "both") -> Float[np.ndarray, "pos effect"]:
        """Partial effects of label and odds, averaged over the sites.

        Errors in variables: the odds' variance is what both wordings share (Fuller 1987, ch. 1).
        """
        regressors, (reliability, overlap) = self.regressors(counts), self.alike(counts)
        with_states = (regressors * counts) @ self.projections(counts, recipe).mean(0).T
        with_states /= counts.sum() * np.array([[1.0], [reliability**0.5]])
        moments = np.array([[1.0, overlap], [overlap, 1.0]])
        return np.linalg.lstsq(moments, with_states, rcond=None)[0].T

    def summary(self, counts: Values) -> dict[str, float]:
        """Every statistic of 11a by its name."""
        effects, (reliability, overlap) = self.effects(counts), self.alike(counts)
        found = dict(zip(NAMES, effects.T.ravel().tolist(), strict=True))
        found |= {f"{name}.difference": x for name, x in differences(effects).items()}
        found |= {"dissociation": dissociation(effects),
                  "reliability": reliability, "overlap": overlap}  # fmt: skip
        single = {recipe: self.effects(counts, recipe) for recipe in ("label", "odds")}
        return found | {f"dissociation.by_{name}": dissociation(x) for name, x in single.items()}


NAMES = ("harm.instruction", "harm.template", "refusal.instruction", "refusal.template")


def differences(effects: Float[np.ndarray, "pos effect"]) -> dict[str, float]:
    """Each effect at its own position minus the other position's, where that is above 0."""
    (harm_first, refusal_first), (harm_last, refusal_last) = effects.tolist()
    return {"harm": harm_first - max(harm_last, 0.0),
            "refusal": refusal_last - max(refusal_first, 0.0)}  # fmt: skip


def dissociation(effects: Float[np.ndarray, "pos effect"]) -> float:
    """The smaller of the two differences between the positions."""
    return min(differences(effects).values())


def bootstrapped(
    panel: Panel, summary: Callable[[Values], Mapping[str, float]], n: int, seed: int
) -> dict[str, Interval]:
    """Percentile intervals over clusters, which are drawn within their source."""
    rng, ones = np.random.default_rng(seed), np.ones(len(panel.source))
    clusters, first = np.unique(panel.cluster, return_index=True)
    home = panel.source[first]
    draws = []
    for _ in range(n):
        picked = [rng.choice(part, len(part)) for s in np.unique(home)
                  for part in [clusters[home == s]]]  # fmt: skip
        times = np.bincount(np.concatenate(picked), minlength=clusters.max() + 1)
        draws.append(summary(times[panel.cluster].astype(np.float64)))
    return {
        name: Interval(value, *null_interval(np.array([d[name] for d in draws])), len(clusters))
        for name, value in summary(ones).items()
    }
