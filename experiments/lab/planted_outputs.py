"""Outputs that a planted lab's states have by construction, in a known metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from experiments.lab.outputs import states_at
from experiments.lab.worlds import PlantedLab
from interp.curvature.inner_products import Metric
from interp.sites import Site

Follows = Literal["l2", "whitened", "causal", "nothing", "jumps"]
SCALE = 0.3  # of the logits, so that small steps have a metric
NOISE = 0.5  # of refusal odds, in their own standard deviations


@dataclass(frozen=True, eq=False)
class PlantedOutputs:
    """Logits +-A h with A A' the metric M, and refusal odds h' M m of a class offset m, with noise.

    `weights` is the diagonal of the unembedding's covariance, which is M where `causal` is
    followed. What follows nothing is noise: `nothing` has a rate per squared step, `jumps` none.
    """

    lab: PlantedLab
    output: Follows
    refusal: Follows
    refuses: bool
    weights: Float[np.ndarray, " d_model"]
    offset: Float[np.ndarray, " d_model"]

    def unembedding(self) -> Metric:
        """Covariance of the unembedding rows."""
        return np.diag(self.weights)

    def metric(self, follows: Follows, site: Site) -> Metric:
        """M at a site; the whitened one is the inverse covariance within the classes."""
        if follows == "whitened":
            sides = self.lab.contrast.positive, self.lab.contrast.negative
            covariance = np.mean([np.cov(self.states(texts, site).T) for texts in sides], axis=0)
            precision = np.linalg.inv(covariance)
            return precision * len(precision) / np.trace(precision)
        return self.unembedding() if follows == "causal" else np.eye(len(self.weights))

    def states(self, texts: Sequence[str], site: Site) -> Float[np.ndarray, "sample d_model"]:
        """As the experiment sees them."""
        return states_at(self.lab, texts, site).double().numpy()

    def moved_kl(
        self,
        site: Site,
        goals: Float[np.ndarray, "target d_model"],
        bases: Sequence[str],
        steps: Sequence[float],
    ) -> Float[np.ndarray, "step base target"]:
        """KL of the softmax of the moved state's logits; or what has nothing to do with it."""
        rng, shape = self.lab.rng(f"output {site}"), (len(bases), len(goals))
        if self.output == "jumps":
            return rng.chisquare(2, (len(steps), *shape))
        if self.output == "nothing":
            return np.square(steps)[:, None, None] * rng.chisquare(2, shape)
        start = self.states(bases, site)[:, None]
        root = np.linalg.cholesky(self.metric(self.output, site))
        before = log_probs(start @ root)
        after = [log_probs((start + t * (goals - start)) @ root) for t in steps]
        return np.stack([(np.exp(before) * (before - moved)).sum(-1) for moved in after])

    def odds(self, prompts: Sequence[str], name: str) -> Float[np.ndarray, " sample"]:
        """Refusal odds, as the first layers have them."""
        noise = self.lab.rng(f"odds {name}").standard_normal(len(prompts))
        if self.refusal == "nothing":
            return noise
        site = Site(1, "pre")
        found = self.states(prompts, site) @ self.metric(self.refusal, site) @ self.offset
        return (found - found.mean()) / found.std() + NOISE * noise

    def refused(self, prompts: Sequence[str], name: str) -> Bool[np.ndarray, " sample"]:
        """Harmful prompts with odds above their mean are, if the world refuses at all."""
        refused = self.odds(prompts, name) > 0
        return refused & (self.refuses and name == "harmful")


def log_probs(logits: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch vocab"]:
    """Of the logits and their opposites, so that A h = 0 is the uniform distribution."""
    both = SCALE * np.concatenate([logits, -logits], axis=-1)
    return both - np.log(np.exp(both).sum(axis=-1, keepdims=True))
