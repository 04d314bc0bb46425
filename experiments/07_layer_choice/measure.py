"""Statistics of every candidate layer, and what its direction does to test prompts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from experiments.lab.rules import MAX_KL
from experiments.lab.scale import SIDES, Scale, mean_differences
from experiments.lab.selection import Source, candidate_sites
from interp import geometry, stats
from interp.directions import Direction, mean_difference
from interp.scores import auroc
from interp.sites import Site

from .protocol import BREAKING, CLASS_PROMPTS, SHARE, Config

TEXT_TOKENS = 32
STATISTICS = ("mean_variance", "max_variance", "cosine", "squared_norm")
STEERING = {"removed": "positive", "brought": "negative"}  # effect, and the side that shows it
CLASSIFIED = "classified"
CHANCE = 0.5


@dataclass(frozen=True, eq=False)
class Layers:
    """One behaviour at every candidate site; without steering where its score says nothing.

    Draw 0 is of all train prompts, others of resamples.

    `statistics` are by STATISTICS, the variances and the squared norm averaged over both classes.
    `effects` are per test prompt: of `removed` and `brought` in nats, of `classified` the
    share of sets of class means by which it is right.
    `random` holds the mean effects of random directions at the best site that counts, by edit,
    `prompts` a hash of each test prompt.
    """

    name: str
    n_layers: int
    sites: Sequence[Site]
    kl: Float[np.ndarray, "edit site"]  # nats per token of text: direction ablated, added
    statistics: dict[str, Float[np.ndarray, "draw site"]]
    effects: dict[str, Float[np.ndarray, "draw site sample"]]
    random: dict[str, Float[np.ndarray, " null"]]
    validity: stats.Interval
    prompts: dict[str, Sequence[str]]

    @property
    def counted(self) -> dict[str, Bool[np.ndarray, " site"]]:
        """Sites whose direction does not damage text, by edit; all of them for classification."""
        kept = self.kl[0] <= MAX_KL, self.kl[1] <= BREAKING
        every = np.ones(len(self.sites), bool)
        return dict(zip(STEERING, kept, strict=True)) | {CLASSIFIED: every}

    @property
    def best(self) -> dict[str, int]:
        """The site that counts and does most to all test prompts, by edit; none without one."""
        means = {name: self.effects[name][0].mean(1) for name in STEERING if name in self.effects}
        return {name: int(np.where(self.counted[name], values, -np.inf).argmax())
                for name, values in means.items() if self.counted[name].any()}  # fmt: skip

    @property
    def depth(self) -> Float[np.ndarray, " site"]:
        """Of every site, in blocks."""
        return np.array([site.depth for site in self.sites])


def layers_of(config: Config, lab: Lab) -> Layers:
    """Measure the behaviour of the lab. Only one whose score is valid is steered."""
    sites = candidate_sites(lab, config.n_sites or lab.model.n_layers)
    found = mean_differences(lab, sites, config.n_train)
    rng = lab.rng(f"07.{lab.studied.name}.again")
    draws = [found, *(resampled(found, rng) for _ in range(config.n_reextractions))]
    texts = lab.text
    chosen = lab.rng("07.text").permutation(len(texts))[: config.n_text]
    passages = Passages(lab.model, tuple(texts[int(i)] for i in chosen), TEXT_TOKENS)
    scale = Scale.of(lab, "test", config.n_test, passages)
    valid = validity(scale)
    steers = valid.low > CHANCE
    effects = steering(scale, draws) if steers else {}
    own = [source.direction.site for source in found]
    measured = Layers(
        lab.studied.name,
        lab.model.n_layers,
        [site for site in own if site is not None],
        damages(scale, found) if steers else np.full((2, len(found)), np.nan),
        statistics(draws),
        effects | {CLASSIFIED: classified(lab, draws, config.n_classified)},
        {},
        valid,
        {name: hashed(lab, scale, name, config.n_classified) for name in (*effects, CLASSIFIED)},
    )
    best = {name: found[site] for name, site in measured.best.items()}
    random = {name: random_effects(scale, name, one, config.n_nulls) for name, one in best.items()}
    return replace(measured, random=random)


def hashed(lab: Lab, scale: Scale, name: str, n_classified: int) -> list[str]:
    """What stands for the prompts that an effect was measured on, in their order."""
    if name == CLASSIFIED:
        texts = [text for side in SIDES for text in getattr(lab.splits.test, side)[:n_classified]]
    else:
        texts = scale.meter.prompts[STEERING[name]]
    return [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]


def resampled(found: Sequence[Source], rng: np.random.Generator) -> list[Source]:
    """Statistics and directions of all sites from one resample of the train prompts per class."""
    sizes = len(found[0].positive), len(found[0].negative)
    rows = [rng.integers(size, size=size) for size in sizes]
    drawn = []
    for one in found:
        parts = one.positive[rows[0]], one.negative[rows[1]]
        where = one.direction.site, one.direction.position
        drawn.append(Source(mean_difference(*parts, *where), *parts))
    return drawn


def statistics(draws: Sequence[Sequence[Source]]) -> dict[str, Float[np.ndarray, "draw site"]]:
    """The notes' statistics at every site, and the mean squared norm."""
    rows = [[statistics_at(source) for source in draw] for draw in draws]
    return {name: np.array([[at[name] for at in row] for row in rows]) for name in STATISTICS}


def statistics_at(source: Source) -> dict[str, float]:
    """Those of one site; variances with divisor n - 1, averaged over the classes."""
    both = [part[:, None] for part in (source.positive, source.negative)]
    return {
        "mean_variance": float(np.mean([geometry.mean_variance(x).item() for x in both])),
        "max_variance": float(np.mean([geometry.maximum_variance(x).item() for x in both])),
        "cosine": geometry.mean_cosine(both[0], both[1]).item(),
        "squared_norm": squared_norm(source),
    }


def squared_norm(source: Source) -> float:
    """Mean over prompts, averaged over the classes."""
    both = source.positive.double(), source.negative.double()
    return float(np.mean([part.square().sum(-1).mean().item() for part in both]))


def added(source: Source) -> Direction:
    """The direction as long as the share of the state's norm that is added."""
    return replace(source.direction, norm=SHARE * squared_norm(source) ** 0.5)


def effect(scale: Scale, name: str, key: str, one: Direction) -> Float[np.ndarray, " sample"]:
    """`removed` or `brought` by a direction, per prompt, in nats."""
    return scale.removed(key, one) if name == "removed" else scale.brought(key, one)


def steering(
    scale: Scale, draws: Sequence[Sequence[Source]]
) -> dict[str, Float[np.ndarray, "draw site sample"]]:
    """What the direction of every site and draw removes and brings."""
    plan = [(draw, source) for draw, found in enumerate(draws) for source in found]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in STEERING}
    for draw, source in scale.meter.lab.progress(plan, f"layers, {scale.meter.lab.studied.name}"):
        for name, values in rows.items():
            key = f"{source.direction.site}/{draw}"
            values.append(effect(scale, name, key, added(source)))
    return {name: np.array(x).reshape(len(draws), -1, len(x[0])) for name, x in rows.items()}


def random_effects(scale: Scale, name: str, source: Source, n: int) -> Float[np.ndarray, " null"]:
    """Mean effect of random directions at a site, as long as the one they are held against."""
    drawn = scale.meter.lab.nulls(replace(source, direction=added(source)), n, f"07.{name}.nulls")
    site = source.direction.site
    return np.array([effect(scale, name, f"{site}/{f}/{i}", one).mean() for f, i, one in drawn])


def damages(scale: Scale, found: Sequence[Source]) -> Float[np.ndarray, "edit site"]:
    """KL on ordinary text of every site's direction, ablated and added."""
    rows = []
    for source in found:
        one = added(source)
        edits = {"ablated": one.ablate(), "added": one.add()}
        rows.append([scale.damage(f"{name}/{one.site}", edit) for name, edit in edits.items()])
    return np.array(rows).T


def classified(
    lab: Lab, draws: Sequence[Sequence[Source]], n: int
) -> Float[np.ndarray, "draw site sample"]:
    """By what share of the sets of class means a test prompt is nearer to that of its own class."""
    sites = [s.direction.site for s in draws[0] if s.direction.site is not None]
    test = [lab.activations(getattr(lab.splits.test, side)[:n], sites)[:, :, 0] for side in SIDES]
    found = []
    for draw in draws:
        first, second = (class_means([getattr(s, side) for s in draw]) for side in SIDES)
        pairs = list(zip(first, second, strict=False))
        rights = [
            np.concatenate([nearer(test[0], a, b), nearer(test[1], b, a)]).T for a, b in pairs
        ]
        found.append(np.mean(rights, axis=0))
    return np.array(found)


def class_means(
    at_sites: Sequence[Float[Tensor, "sample d_model"]],
) -> list[Float[Tensor, "site d_model"]]:
    """Of each CLASS_PROMPTS prompts, in order; of all where there are fewer."""
    states = torch.stack(list(at_sites), dim=1).double()
    whole = [part for part in states.split(CLASS_PROMPTS) if len(part) == CLASS_PROMPTS]
    return [part.mean(0) for part in whole or [states]]


def nearer(
    states: Float[Tensor, "sample site d_model"],
    own: Float[Tensor, "site d_model"],
    other: Float[Tensor, "site d_model"],
) -> Float[np.ndarray, "sample site"]:
    """1 where a state is nearer (Euclidean) to the first mean, 0 where not."""
    far = [(states.double() - mean).norm(dim=-1) for mean in (own, other)]
    return (far[0] < far[1]).double().numpy()


def validity(scale: Scale) -> stats.Interval:
    """How well the score tells test prompts apart, as `Behaviour.validity` does."""
    shown, others = (scale.scores(side, "base") for side in SIDES)
    if scale.meter.lab.studied.choice:
        return stats.wilson(int((shown > 0).sum()), len(shown))
    return stats.bootstrap(apart, [shown, others], paired=False, n_resamples=400)


def apart(positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"]) -> float:
    """The AUROC."""
    labels = np.arange(len(positive) + len(negative)) < len(positive)
    return auroc(np.concatenate([positive, negative]), labels)
