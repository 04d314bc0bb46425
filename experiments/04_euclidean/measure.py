"""What is measured: readings of every sample, output KL along segments, refusal of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from experiments.lab.lab import Lab
from experiments.lab.outputs import outputs_of
from interp.curvature.excess import Draws, Readings, readings
from interp.curvature.graph import distinct, principal_components
from interp.curvature.inner_products import InnerProducts
from interp.curvature.orders import Lengths, OutputKL
from interp.sites import Site, everywhere

from . import protocol
from .protocol import CLASSES, DEPTHS, STEPS, Config

DRAWS = Draws(protocol.NEIGHBOURS, protocol.RADII, protocol.N_CONTROLS, protocol.N_PLANTED)
States = Float[np.ndarray, "site sample d_model"]


@dataclass(frozen=True)
class Sample:
    """One of PLACES: the site, how many distinct states, and the readings."""

    place: str
    site: Site
    n: int
    readings: Readings


@dataclass(frozen=True, eq=False)
class Segments:
    """From held-out bases towards held-out targets, these by their class."""

    kl: OutputKL
    lengths: Lengths


@dataclass(frozen=True, eq=False)
class Refusal:
    """Refusal odds and answers of held-out harmful prompts, and their projections."""

    odds: Float[np.ndarray, " sample"]
    refused: Bool[np.ndarray, " sample"]
    projections: Float[np.ndarray, "site metric sample"]


def sites_of(lab: Lab) -> list[Site]:
    """At DEPTHS among all but 0.pre, which sees the same last token in every prompt."""
    sites = everywhere(lab.model.n_layers, lab.model.info.has_mid)[1:]
    return [sites[round(depth * (len(sites) - 1))] for depth in DEPTHS.values()]


def prompts_of(lab: Lab, side: str, *parts: str) -> list[str]:
    """Prompts of one class in some parts of the split."""
    return [text for part in parts for text in getattr(getattr(lab.splits, part), side)]


def states_of(lab: Lab, texts: Sequence[str], sites: Sequence[Site]) -> States:
    """Of the last prompt token."""
    return lab.activations(texts, sites)[:, :, 0].double().numpy().swapaxes(0, 1)


def measure_samples(config: Config, lab: Lab, sites: Sequence[Site]) -> list[Sample]:
    """(a): readings of every site and class whose states vary, as cells."""
    found = []
    for name, side in CLASSES.items():
        texts = prompts_of(lab, side, "train", "validation", "test")[: config.n_prompts]
        places = list(zip(DEPTHS, sites, states_of(lab, texts, sites), strict=True))
        for third, site, states in lab.progress(places, f"curvature, {name}"):
            rows, key = distinct(states), f"curvature {site} {name}"
            if rows is not None:
                x, rng = principal_components(rows, protocol.N_COMPONENTS), lab.rng(key)
                halves = halves_of(len(rows), lab.rng(f"halves {name}"))
                values = lab.cell(key, lambda x=x, h=halves, r=rng: readings(x, h, DRAWS, r))
                found.append(Sample(f"{third}.{name}", site, len(rows), values))
    return found


def halves_of(n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of random halves: the same prompts at every site."""
    return np.stack([rng.choice(n, n // 2, replace=False) for _ in range(protocol.N_HALVES)])


def inner_products(config: Config, lab: Lab, sites: Sequence[Site]) -> list[InnerProducts]:
    """Those of every site, learned on train prompts."""
    train = [prompts_of(lab, side, "train")[: config.n_prompts] for side in CLASSES.values()]
    by_site = zip(*(states_of(lab, texts, sites) for texts in train), strict=True)
    causal = outputs_of(lab).unembedding()
    return [InnerProducts.learn(states, causal) for states in by_site]


def held_out(config: Config, lab: Lab) -> dict[str, list[str]]:
    """Prompts of either class; bases and targets are the first of them."""
    least = config.n_bases // 2 + config.n_targets // 2
    most = {"harmful": config.n_test and max(config.n_test, least), "harmless": least}
    return {
        name: prompts_of(lab, side, "test", "validation")[: most[name]]
        for name, side in CLASSES.items()
    }


def measure_segments(
    config: Config, lab: Lab, sites: Sequence[Site], products: Sequence[InnerProducts]
) -> Segments:
    """(b): from bases of both classes to targets, these by their class."""
    half, n = config.n_bases // 2, config.n_targets // 2
    texts = held_out(config, lab)
    states = [states_of(lab, of_class, sites) for of_class in texts.values()]
    bases = [text for of_class in texts.values() for text in of_class[:half]]
    starts = np.concatenate([x[:, :half] for x in states], axis=1)
    ends = np.concatenate([x[:, half : half + n] for x in states], axis=1)
    steps = ends[:, None] - starts[:, :, None]
    lengths = [of.lengths(step) for of, step in zip(products, steps, strict=True)]
    outputs, places = outputs_of(lab), list(zip(sites, ends, strict=True))
    kl = [outputs.moved_kl(*at, bases, STEPS) for at in lab.progress(places, "output KL")]
    found = [x.reshape(*x.shape[:-1], len(CLASSES), n) for x in (np.stack(kl), np.stack(lengths))]
    return Segments(*found)


def measure_refusal(
    config: Config, lab: Lab, sites: Sequence[Site], products: Sequence[InnerProducts]
) -> Refusal:
    """(c): harmful prompts alone."""
    outputs, texts = outputs_of(lab), held_out(config, lab)["harmful"]
    at = zip(products, states_of(lab, texts, sites), strict=True)
    odds, refused = outputs.odds(texts, "harmful"), outputs.refused(texts, "harmful")
    return Refusal(odds, refused, np.stack([of.projections(states) for of, states in at]))
