"""What is measured: readings of every sample, output KL of moved states, refusal of test prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import Edit, Meter
from experiments.lab.spacing import spaced
from interp.curvature.excess import Draws, Readings, readings
from interp.curvature.graph import distinct
from interp.curvature.holonomy import principal_components
from interp.curvature.inner_products import InnerProducts, Metric, unembedding_covariance
from interp.interventions import Placement
from interp.sites import Site

from .protocol import CLASSES, N_COMPONENTS, NEIGHBOURS, RADII, THIRDS, Config

OutputKL = Float[np.ndarray, "site step base class target"]  # nats
Lengths = Float[np.ndarray, "site metric base class target"]
Projections = Float[np.ndarray, "class site metric sample"]


@dataclass(frozen=True, eq=False)
class MoveTowards:
    """Move a state along the straight segment to a target: h + t (target - h)."""

    target: Float[Tensor, " d_model"]
    fraction: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        state = h.float()
        target = self.target.to(h.device, torch.float32)
        return (state + self.fraction * (target - state)).to(h.dtype)


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the model does; a planted lab brings its own as `outputs`."""

    lab: Lab

    def unembedding(self) -> Metric:
        """Covariance of the unembedding rows."""
        return unembedding_covariance(self.lab.model)

    def moved_kl(
        self, site: Site, bases: Sequence[str], targets: Sequence[str], steps: Sequence[float]
    ) -> Float[np.ndarray, "step base target"]:
        """KL(base || moved) in nats of the next token, the last token's state moved at a site."""
        meter, goals = Meter(self.lab, {"bases": tuple(bases)}), states_at(self.lab, targets, site)

        def moved(step: float, number: int) -> Float[np.ndarray, " base"]:
            """Every base towards one target."""
            placement = Placement(MoveTowards(goals[number], step), (site,), (-1,))
            return meter.kl("bases", Edit(f"{site} {step} of the way to {number}", (placement,)))

        return np.stack([np.stack([moved(t, i) for i in range(len(goals))], 1) for t in steps])

    def odds(self, prompts: Sequence[str], name: str) -> Float[np.ndarray, " sample"]:
        """Refusal odds, nats."""
        return Meter(self.lab, {name: tuple(prompts)}).scores(name).odds

    def refused(self, prompts: Sequence[str], name: str) -> Bool[np.ndarray, " sample"]:
        """Whether the greedy answer declines."""
        answers = Meter(self.lab, {name: tuple(prompts)}).answers(name)
        return np.array([answer == "refused" for answer in answers])


def outputs_of(lab: Lab) -> Outputs:
    """The lab's own outputs, or its model's."""
    return getattr(lab, "outputs", None) or Outputs(lab)


@dataclass(frozen=True)
class Sample:
    """One site and class: how many distinct states, and the readings."""

    site: Site
    third: str
    group: str
    n: int
    readings: Readings


@dataclass(frozen=True, eq=False)
class Segments:
    """Output KL along segments between test prompts, and their lengths."""

    kl: OutputKL
    lengths: Lengths
    steps: Sequence[float]


@dataclass(frozen=True, eq=False)
class Refusal:
    """Refusal odds and answers of test prompts, and their projections, per class."""

    odds: Float[np.ndarray, "class sample"]
    refused: Bool[np.ndarray, "class sample"]
    projections: Projections


def states_at(lab: Lab, prompts: Sequence[str], site: Site) -> Float[Tensor, "sample d_model"]:
    """States of the last prompt token."""
    return lab.activations(prompts, [site])[:, 0, 0]


def thirds_of(lab: Lab, n_sites: int | None) -> list[tuple[str, Site]]:
    """Sites of every third of the depth; not 0.pre, which sees the same token in every prompt."""
    n, has_mid = lab.model.n_layers, lab.model.info.has_mid
    streams = ("pre", "mid") if has_mid else ("pre",)
    sites = [Site(layer, stream) for layer in range(n) for stream in streams][1:]
    parts = np.array_split(np.arange(len(sites) + 1), len(THIRDS))
    every = [*sites, Site(n - 1, "post")]
    return [
        (third, every[i])
        for third, part in zip(THIRDS, parts, strict=True)
        for i in spaced(part.tolist(), n_sites, first=False)
    ]


def measure_samples(config: Config, lab: Lab) -> list[Sample]:
    """Readings of every site and class whose states vary, as cells."""
    places = thirds_of(lab, config.n_sites)
    draws = Draws(
        neighbours=NEIGHBOURS,
        radii=RADII,
        n_flat=config.n_flat,
        n_planted=config.n_planted,
        n_halves=config.n_halves,
    )
    found = []
    for name, side in CLASSES.items():
        texts = getattr(lab.contrast, side)
        chosen = sorted(lab.rng(f"prompts {name}").permutation(len(texts))[: config.n_prompts])
        states = lab.activations([texts[i] for i in chosen], [site for _, site in places])[:, :, 0]
        for index, (third, site) in enumerate(lab.progress(places, f"curvature, {name}")):
            rows = distinct(states[:, index].double().numpy())
            if rows is None:
                continue
            leading, key = principal_components(rows, N_COMPONENTS), f"curvature {site} {name}"
            values = lab.cell(key, lambda x=leading, key=key: readings(x, draws, lab.rng(key)))
            found.append(Sample(site, third, name, len(rows), values))
    return found


def inner_products(config: Config, lab: Lab, sites: Sequence[Site]) -> list[InnerProducts]:
    """Those of every site, learned on train prompts."""
    train, causal = lab.splits.train, outputs_of(lab).unembedding()
    texts = [of_class[: config.n_train] for of_class in (train.positive, train.negative)]
    return [
        InnerProducts.learn([states_at(lab, t, site).double().numpy() for t in texts], causal)
        for site in sites
    ]


def measure_segments(
    config: Config, lab: Lab, sites: Sequence[Site], products: Sequence[InnerProducts]
) -> Segments:
    """(b): between test prompts of both classes."""
    test, half = lab.splits.test, config.n_bases // 2
    later = slice(half, half + config.n_targets // 2)
    bases = (*test.positive[:half], *test.negative[:half])
    targets = (*test.positive[later], *test.negative[later])
    lengths, kl = [], []
    for site, learned in lab.progress(list(zip(sites, products, strict=True)), "output KL"):
        starts, ends = (states_at(lab, texts, site).double().numpy() for texts in (bases, targets))
        lengths.append(learned.lengths(ends[None] - starts[:, None]))
        kl.append(outputs_of(lab).moved_kl(site, bases, targets, config.steps))
    by_class = [x.reshape(*x.shape[:-1], len(CLASSES), -1) for x in map(np.stack, (kl, lengths))]
    return Segments(by_class[0], by_class[1], config.steps)


def measure_refusal(
    config: Config, lab: Lab, sites: Sequence[Site], products: Sequence[InnerProducts]
) -> Refusal:
    """(c): equally many test prompts of both classes."""
    sides = {name: getattr(lab.splits.test, side) for name, side in CLASSES.items()}
    n = min(config.n_test, *map(len, sides.values()))
    odds, refused, projections = [], [], []
    for name, texts in sides.items():
        odds.append(outputs_of(lab).odds(texts[:n], name))
        refused.append(outputs_of(lab).refused(texts[:n], name))
        states = [states_at(lab, texts[:n], site).double().numpy() for site in sites]
        by_site = zip(products, states, strict=True)
        projections.append(np.stack([learned.projections(x) for learned, x in by_site]))
    return Refusal(np.stack(odds), np.stack(refused), np.stack(projections))
