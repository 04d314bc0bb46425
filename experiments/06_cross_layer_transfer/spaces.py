"""Whether layers share their axes: the identity against a rotation, between pairs of layers."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.spacing import spaced
from interp import alignment, stats
from interp.sites import Site

from .protocol import DISTANCES, N_COMPONENTS, N_LARGEST, Config

States = Float[np.ndarray, "sample d_model"]
KINDS = ("all", "without")
MEASURES = alignment.identity_r2, alignment.procrustes_r2
LEAST = 0.01  # R^2 of a rotation that is divided by; below MIN_R2 nothing is decided


def pairs_of(n_layers: int, n_pairs: int) -> list[tuple[float, int, int]]:
    """Relative distance and two layers, `n_pairs` at each distance, evenly spaced."""
    found = []
    for distance in DISTANCES:
        step = max(1, round(distance * n_layers))
        starts = spaced(range(1, n_layers - step), n_pairs) or [0]
        found += [(distance, start, start + step) for start in starts]
    return found


def states_of(config: Config, lab: Lab) -> Float[Tensor, "sample layer d_model"]:
    """States entering every layer, at the last token of the instruction, of both classes."""
    train = lab.splits.train
    prompts = [*train.positive[: config.n_geometry], *train.negative[: config.n_geometry]]
    sites = [Site(layer, "pre") for layer in range(lab.model.n_layers)]
    return lab.activations(prompts, sites, [lab.position("last_instruction")])[:, :, 0].double()


def likeness(config: Config, lab: Lab) -> pd.DataFrame:
    """R^2 of the identity and of a rotation. Columns: kind, distance, first, second, draw, ...

    Draw -1 is of all prompts, others are of random halves; CKA is of all prompts only.
    """
    states = states_of(config, lab).numpy()
    rng, n = lab.rng("06.space"), len(states)
    draws = [np.arange(n), *(rng.permutation(n)[: n // 2] for _ in range(config.n_resamples))]
    rows = []
    pairs = pairs_of(lab.model.n_layers, config.n_pairs)
    for distance, first, second in lab.progress(pairs, "pairs of layers"):
        for kind, sides in zip(KINDS, sides_of(states[:, first], states[:, second]), strict=True):
            for draw, chosen in enumerate(draws, start=-1):
                one, other = (side[chosen] for side in sides)
                found = [r2(one, other, n_components=N_COMPONENTS) for r2 in MEASURES]
                cka = alignment.debiased_cka(one, other) if draw < 0 else np.nan
                rows.append((kind, distance, first, second, draw, *found, cka, n))
    columns = ["kind", "distance", "first", "second", "draw", "identity", "rotation", "cka", "n"]
    return pd.DataFrame(rows, columns=columns)


def sides_of(first: States, second: States) -> list[tuple[States, States]]:
    """Both sides with all dimensions, and without those of either that vary most, each in a span.

    The span of both sides together keeps every product, so that the identity stays what it is.
    """
    largest = [np.argsort(side.var(0))[-N_LARGEST:] for side in (first, second)]
    kept = np.setdiff1d(np.arange(first.shape[1]), np.concatenate(largest))
    return [spanned(first, second), spanned(first[:, kept], second[:, kept])]


def spanned(first: States, second: States) -> tuple[States, States]:
    """Both sides, centred, in an orthonormal basis of their common span."""
    centred = [side - side.mean(0) for side in (first, second)]
    basis = np.linalg.qr(np.concatenate(centred).T)[0]
    return centred[0] @ basis, centred[1] @ basis


def space_estimates(table: pd.DataFrame) -> Iterator[Estimate]:
    """Ratio of both R^2, each a mean over distances, and a rotation's where it is least."""
    for kind in KINDS:
        part = table[table.kind == kind]
        means = part.groupby(["draw", "distance"])[["identity", "rotation"]].mean()
        rotation = means.rotation.unstack("distance").to_numpy(np.float64)
        identity = means.identity.unstack("distance").to_numpy(np.float64)
        lows = [stats.half_sample_interval(x[0], x[1:]) for x in rotation.T]
        least = min(lows, key=lambda interval: interval.low)
        yield Estimate.of(f"rotation.{kind}", least)
        ratios = identity.mean(1) / np.maximum(rotation.mean(1), LEAST)
        yield Estimate.of(f"same_space.{kind}", stats.half_sample_interval(ratios[0], ratios[1:]))


def distance_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over pairs of every measure, by distance."""
    whole = table[table.draw < 0].melt(
        ["kind", "distance", "n"], ["identity", "rotation", "cka"], "measure"
    )
    grouped = whole.groupby(["kind", "measure", "distance"], sort=False)["value"]
    return grouped.agg(value="mean", low="min", high="max").reset_index().assign(n=table.n.max())
