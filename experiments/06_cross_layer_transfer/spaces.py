"""Whether layers share their axes: the identity against a rotation, between pairs of layers."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.selection import Prompts
from experiments.lab.spacing import spaced
from interp import stats
from interp.alignment import identity_r2, procrustes_r2
from interp.sites import Site

from .protocol import DISTANCES, KINDS, N_COMPONENTS, N_LARGEST, Config

States = Float[np.ndarray, "sample d_model"]
LEAST = 0.01  # R^2 of a rotation that is divided by; below MIN_R2 nothing is decided


def pairs_of(n_layers: int, n_pairs: int) -> list[tuple[str, int, int]]:
    """Name of the distance and two layers, `n_pairs` at each distance, evenly spaced."""
    found = []
    for name, distance in DISTANCES.items():
        step = max(1, round(distance * n_layers))
        starts = spaced(range(1, n_layers - step), n_pairs) or [0]
        found += [(name, start, start + step) for start in starts]
    return found


def likeness(config: Config, lab: Lab, prompts: Prompts) -> pd.DataFrame:
    """R^2 of the identity and of a rotation. Columns: kind, distance, first, second, draw, ...

    States enter the layers at the last token of the instruction, of all train prompts. Draw -1 is
    of all of them, others are of random halves.
    """
    sites = [Site(layer, "pre") for layer in range(lab.model.n_layers)]
    captured = [
        lab.activations(x, sites, [lab.position("last_instruction")]) for x in prompts.train
    ]
    states = np.concatenate([part[:, :, 0].double().numpy() for part in captured])
    rng, n = lab.rng("06.space"), len(states)
    draws = [np.arange(n), *(rng.permutation(n)[: n // 2] for _ in range(config.n_resamples))]
    rows = []
    pairs = pairs_of(lab.model.n_layers, config.n_pairs)
    for distance, first, second in lab.progress(pairs, "pairs of layers"):
        for kind, sides in zip(KINDS, sides_of(states[:, first], states[:, second]), strict=True):
            for draw, chosen in enumerate(draws, start=-1):
                both = [side[chosen] for side in sides]
                found = [
                    r2(*both, n_components=N_COMPONENTS) for r2 in (identity_r2, procrustes_r2)
                ]
                rows.append((kind, distance, first, second, draw, *found, n))
    columns = ["kind", "distance", "first", "second", "draw", "identity", "rotation", "n"]
    return pd.DataFrame(rows, columns=columns)


def sides_of(first: States, second: States) -> Iterator[list[States]]:
    """Both sides with all dimensions, and without those of either that vary most, each in a span.

    The span of both sides together keeps every product, so that the identity stays what it is.
    """
    largest = [np.argsort(side.var(0))[-N_LARGEST:] for side in (first, second)]
    everything = np.arange(first.shape[1])
    for kept in (everything, np.setdiff1d(everything, np.concatenate(largest))):
        centred = [side[:, kept] - side[:, kept].mean(0) for side in (first, second)]
        basis = np.linalg.qr(np.concatenate(centred).T)[0]
        yield [side @ basis for side in centred]


def space_estimates(table: pd.DataFrame) -> Iterator[Estimate]:
    """R^2 of a rotation, and that of the identity over it, of means over pairs at each distance."""
    means = table.groupby(["kind", "distance", "draw"])[["identity", "rotation"]].mean()
    for kind in KINDS:
        for distance in DISTANCES:
            both = means.loc[(kind, distance)].sort_index().to_numpy(np.float64)
            ratio = both[:, 0] / np.maximum(both[:, 1], LEAST)
            for name, found in (("rotation", both[:, 1]), ("same_space", ratio)):
                interval = stats.half_sample_interval(found[0], found[1:])
                yield Estimate.of(f"{name}.{kind}.{distance}", interval)
