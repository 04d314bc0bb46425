"""Planted worlds for experiment 04: samples of known geometry, a known output map, known refusal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.lab.worlds import PlantedLab, World
from interp.curvature.inner_products import Metric
from interp.curvature.planted import on_hyperbolic, on_sphere
from interp.sites import Site

from .protocol import RADII, THIRDS, Config

N_LAYERS, D_MODEL, N_PROMPTS = 6, 32, 120
NOISE = 0.03  # of every feature, in root mean square lengths of the surface
OFFSET = np.array([1.5, 1.0, *np.full(D_MODEL - 2, 0.1)])  # of a class from the common mean
CONFIG = Config(
    n_sites=1, n_flat=12, n_planted=6, n_halves=24, n_bases=24, n_targets=24, n_test=36,
    n_resamples=100,
)  # fmt: skip

Geometry = Literal["flat", "clusters", "sphere", "hyperbolic"]
Follows = Literal["l2", "whitened", "causal", "nothing", "jumps"]
Texts = Sequence[str]


def surface(geometry: Geometry, rng: np.random.Generator) -> Float[np.ndarray, "sample d_model"]:
    """A sample of two dimensions, root mean square length 1 before it is bent, without noise."""
    positions = rng.standard_normal((N_PROMPTS, 2))
    if geometry == "clusters":
        centres = np.array([[0.0, 1.3], [1.1, -0.6], [-1.1, -0.6]])
        positions = 0.8 * positions + centres[rng.integers(0, len(centres), N_PROMPTS)]
    positions /= np.sqrt((positions**2).sum(axis=1).mean())
    if geometry == "sphere":
        positions = on_sphere(positions, RADII[geometry])
    elif geometry == "hyperbolic":
        positions = on_hyperbolic(positions, RADII[geometry])[:, :D_MODEL]
    return np.pad(positions, ((0, 0), (0, D_MODEL - positions.shape[1])))


@dataclass(frozen=True, eq=False)
class PlantedOutputs:
    """Logits that are linear in the state, +-A h, and refusal odds along M m, with known A and M."""

    lab: PlantedLab
    output: Follows
    refusal: Follows
    refuses: bool
    weights: Float[np.ndarray, " d_model"]  # diagonal of the unembedding's covariance

    def unembedding(self) -> Metric:
        """Covariance of the unembedding rows."""
        return np.diag(self.weights)

    def states(self, texts: Texts, site: Site) -> Float[np.ndarray, "sample d_model"]:
        """As the experiment sees them."""
        return self.lab.activations(texts, [site])[:, 0, 0].double().numpy()

    def metric(self, follows: Follows, site: Site) -> Metric:
        """What the output or refusal follows."""
        if follows == "whitened":
            sides = self.lab.contrast.positive, self.lab.contrast.negative
            precision = np.linalg.inv(np.mean([np.cov(self.states(s, site).T) for s in sides], 0))
            return precision * D_MODEL / np.trace(precision)
        return self.unembedding() if follows == "causal" else np.eye(D_MODEL)

    def moved_kl(
        self, site: Site, bases: Texts, targets: Texts, steps: Sequence[float]
    ) -> Float[np.ndarray, "step base target"]:
        """KL of the softmax of the moved state's logits; or what has nothing to do with it."""
        rng, shape = self.lab.rng(f"output {site}"), (len(bases), len(targets))
        if self.output == "jumps":
            return rng.chisquare(2, (len(steps), *shape))
        if self.output == "nothing":
            return np.square(steps)[:, None, None] * rng.chisquare(2, shape)
        start, end = (self.states(texts, site)[:, None] for texts in (bases, targets))
        root = np.linalg.cholesky(self.metric(self.output, site))
        step = end[:, 0] - start
        before = log_probs(start @ root)
        after = [log_probs((start + t * step) @ root) for t in steps]
        return np.stack([(np.exp(before) * (before - one)).sum(-1) for one in after])

    def odds(self, prompts: Texts, name: str) -> Float[np.ndarray, " sample"]:
        """Refusal odds: a projection on the difference of the class means, and noise."""
        site, noise = Site(1, "pre"), self.lab.rng(f"odds {name}").standard_normal(len(prompts))
        if self.refusal == "nothing":
            return noise
        found = self.states(prompts, site) @ self.metric(self.refusal, site) @ OFFSET
        return (found - found.mean()) / found.std() + 0.5 * noise

    def refused(self, prompts: Texts, name: str) -> Bool[np.ndarray, " sample"]:
        """Harmful prompts are, if the world refuses at all."""
        return np.full(len(prompts), self.refuses and name == "harmful")


def log_probs(logits: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch vocab"]:
    """Of the logits and their opposites, whose covariance is then that of the unembedding."""
    both = 0.3 * np.concatenate([logits, -logits], axis=-1)
    return both - np.log(np.exp(both).sum(axis=-1, keepdims=True))


def states_of(geometries: dict[str, tuple[Geometry, ...]], seed: int) -> Callable[..., Any]:
    """States whose surface depends on class and third of the depth; positions are kept."""

    @cache
    def sample(group: str, geometry: Geometry) -> Float[np.ndarray, "sample d_model"]:
        """All prompts of a class."""
        rng = np.random.default_rng([seed, *group.encode()])
        bent = surface(geometry, rng)
        sign = 1 if group == "positive" else -1
        return sign * OFFSET + bent + NOISE * rng.standard_normal(bent.shape)

    def states(
        group: str, rows: Sequence[int], sites: Sequence[Site], positions: Sequence[int]
    ) -> Float[Tensor, "sample site pos d_model"]:
        """Growing with depth."""
        thirds = [int(site.depth / (N_LAYERS + 1) * len(THIRDS)) for site in sites]
        at = zip(sites, thirds, strict=True)
        found = [1.02**s.depth * sample(group, geometries[group][t])[list(rows)] for s, t in at]
        return torch.tensor(np.stack(found, 1)[:, :, None], dtype=torch.float32)

    return states


def world(
    name: str,
    truth: tuple[bool, bool, bool],
    positive: tuple[Geometry, Geometry, Geometry],
    follows: tuple[Follows, Follows],
    negative: tuple[Geometry, Geometry, Geometry] | None = None,
    refuses: bool = True,
) -> World:
    """By the truth of 04a, b and c; geometry per third, and what output and refusal follow."""
    geometries = {"positive": positive, "negative": negative or positive}
    weights = np.ones(D_MODEL)
    if "causal" in follows:
        weights[:2] = 0.005

    def lab(seed: int) -> PlantedLab:
        """One draw."""
        states = states_of(geometries, seed)  # type: ignore[arg-type]
        made = PlantedLab(
            states, untrained=states, n_layers=N_LAYERS, n_prompts=N_PROMPTS, seed=seed
        )
        made.outputs = PlantedOutputs(made, *follows, refuses, weights)  # type: ignore[attr-defined]
        return made

    return World(name, dict(zip(("04a", "04b", "04c"), truth, strict=True)), lab)


FLAT, CLUSTERS, SPHERE, HYPERBOLIC = (
    (geometry,) * 3 for geometry in ("flat", "clusters", "sphere", "hyperbolic")
)
WORLDS = (
    world("flat; all follows L2", (True, True, True), FLAT, ("l2", "l2")),
    world("flat clusters; all follows L2", (True, True, True), CLUSTERS, ("l2", "l2")),
    world("sphere; all is whitened", (False, False, False), SPHERE, ("whitened", "whitened")),
    world("hyperbolic; all is weighted", (False, False, False), HYPERBOLIC, ("causal", "causal")),
    world(
        "sphere in the last third alone; nothing follows",
        (False, False, False), ("flat", "flat", "sphere"), ("nothing", "nothing"),
    ),
    world(
        "classes bent opposite ways; output jumps; no refusal",
        (False, False, False), SPHERE, ("jumps", "l2"), HYPERBOLIC, False,
    ),
)  # fmt: skip
