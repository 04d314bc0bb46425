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
Values = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Panel:
    """Prompts with what their projections are regressed on: the label, and refusal odds."""

    states: Float[Tensor, "sample site pos d_model"]
    harmful: Values  # 1 or 0
    reworded: Values  # refusal odds of the request in other words
    odds: Values  # and as it is
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

    def projections(
        self, counts: Values, recipe: str = "both"
    ) -> Float[np.ndarray, "site pos sample"]:
        """Of every state on its position's direction from the other sources, standardised."""
        both = self.standardised(np.stack([self.harmful, self.reworded]), counts)
        weights = counts * (np.array(RECIPES[recipe]) @ both)
        others = (1 - self.member) * weights  # per source that is projected
        found = np.einsum("spij,kj,ki->spi", self.products, others, self.member, optimize=True)
        return self.standardised(found, counts)

    def effects(self, counts: Values, recipe: str = "both") -> Float[np.ndarray, "pos effect"]:
        """Partial effects of label and odds, averaged over the sites."""
        both = self.standardised(np.stack([self.harmful, self.reworded]), counts)
        found = self.projections(counts, recipe).mean(0)
        moments = (both * counts) @ both.T
        return np.linalg.lstsq(moments, (both * counts) @ found.T, rcond=None)[0].T

    def summary(self, counts: Values) -> dict[str, float]:
        """Every statistic of 11a by its name."""
        effects = self.effects(counts)
        found = dict(zip(NAMES, effects.T.ravel().tolist(), strict=True))
        odds = self.standardised(np.stack([self.reworded, self.odds, self.harmful]), counts)
        alike = (odds * counts) @ odds.T / counts.sum()
        found |= {f"{name}.difference": x for name, x in differences(effects).items()}
        found |= {"dissociation": dissociation(effects),
                  "reliability": float(alike[0, 1]), "overlap": float(alike[0, 2])}  # fmt: skip
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
