"""What is measured: readings of every sample, output KL along segments, refusal of test prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from experiments.lab.lab import Lab
from experiments.lab.outputs import outputs_of, states_at
from experiments.lab.spacing import spaced
from interp.curvature.excess import Draws, Readings, readings
from interp.curvature.graph import distinct
from interp.curvature.holonomy import principal_components
from interp.curvature.inner_products import InnerProducts
from interp.curvature.orders import Lengths, OutputKL
from interp.sites import Site, everywhere

from .protocol import CLASSES, N_COMPONENTS, NEIGHBOURS, RADII, THIRDS, Config


@dataclass(frozen=True)
class Sample:
    """One site and class: how many distinct states, and the readings."""

    site: Site
    third: str
    group: str
    n: int
    readings: Readings


@dataclass(frozen=True, eq=False)
class Refusal:
    """Refusal odds and answers of test prompts, and their projections."""

    odds: Float[np.ndarray, "class sample"]
    refused: Bool[np.ndarray, "class sample"]
    projections: Float[np.ndarray, "class site metric sample"]


def sites_of(lab: Lab) -> list[Site]:
    """Every site but 0.pre, which sees the same last token in every prompt."""
    return everywhere(lab.model.n_layers, lab.model.info.has_mid)[1:]


def thirds_of(lab: Lab, n_sites: int | None) -> list[tuple[str, Site]]:
    """Some sites of every third of the depth."""
    sites = sites_of(lab)
    parts = np.array_split(np.arange(len(sites)), len(THIRDS))
    chosen = [spaced(part.tolist(), n_sites, first=False) for part in parts]
    return [(third, sites[i]) for third, part in zip(THIRDS, chosen, strict=True) for i in part]


def measure_samples(config: Config, lab: Lab) -> list[Sample]:
    """(a): readings at every site and class whose states vary, as cells."""
    places, found = thirds_of(lab, config.n_sites), []
    draws = Draws(NEIGHBOURS, RADII, config.n_flat, config.n_planted, config.n_halves)
    for name, side in CLASSES.items():
        texts = getattr(lab.contrast, side)
        chosen = sorted(lab.rng(f"prompts {name}").permutation(len(texts))[: config.n_prompts])
        states = lab.activations([texts[i] for i in chosen], [site for _, site in places])[:, :, 0]
        for index, (third, site) in enumerate(lab.progress(places, f"curvature, {name}")):
            rows = distinct(states[:, index].double().numpy())
            if rows is not None:
                leading, key = principal_components(rows, N_COMPONENTS), f"curvature {site} {name}"
                values = lab.cell(key, lambda x=leading, k=key: readings(x, draws, lab.rng(k)))
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
) -> tuple[OutputKL, Lengths]:
    """(b): between test prompts; targets are grouped by their class."""
    test, half = lab.splits.test, config.n_bases // 2
    later = slice(half, half + config.n_targets // 2)
    bases = (*test.positive[:half], *test.negative[:half])
    targets = (*test.positive[later], *test.negative[later])
    kl, lengths = [], []
    for site, learned in lab.progress(list(zip(sites, products, strict=True)), "output KL"):
        starts, ends = (states_at(lab, texts, site).double().numpy() for texts in (bases, targets))
        lengths.append(learned.lengths(ends[None] - starts[:, None]))
        kl.append(outputs_of(lab).moved_kl(site, bases, targets, config.steps))
    by_class = [x.reshape(*x.shape[:-1], len(CLASSES), -1) for x in map(np.stack, (kl, lengths))]
    return by_class[0], by_class[1]


def measure_refusal(
    config: Config, lab: Lab, sites: Sequence[Site], products: Sequence[InnerProducts]
) -> Refusal:
    """(c): equally many test prompts of both classes."""
    sides = {name: getattr(lab.splits.test, side) for name, side in CLASSES.items()}
    n, outputs, projections = min(config.n_test, *map(len, sides.values())), outputs_of(lab), []
    for texts in sides.values():
        states = [states_at(lab, texts[:n], site).double().numpy() for site in sites]
        by_site = zip(products, states, strict=True)
        projections.append(np.stack([learned.projections(x) for learned, x in by_site]))
    odds = [outputs.odds(texts[:n], name) for name, texts in sides.items()]
    refused = [outputs.refused(texts[:n], name) for name, texts in sides.items()]
    return Refusal(np.stack(odds), np.stack(refused), np.stack(projections))
