"""Is a sample as flat as its flat controls, or as curved as a planted space?

For each estimator and each shape (sphere, hyperbolic) three things are asked, all one-sided in the
direction in which planting that shape moves the estimator:

- power: is the planted curvature told from the planted samples' own flat controls?
- p_flat: does the sample lie beyond its flat controls? The larger p of the two controls counts.
- p_planted: does the sample lie short of the planted samples?

A p-value is the tail of Student's t for one more draw from a normal population known by B draws,
t = (x - mean) / (s sqrt(1 + 1/B)) with B - 1 degrees of freedom: the rank of x among 19 or 99
draws cannot go below .05 or .01, too coarse for Holm's correction over the estimators. Planted
samples bend the flat mixture, so they have the data's covariance, clusters and noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int
from joblib import Parallel, delayed
from scipy import stats as scipy_stats

from interp.curvature.graph import Coordinates
from interp.curvature.measures import VOTING, measures
from interp.curvature.nulls import clusters, flat_mixture, rotated
from interp.curvature.planted import Shape, bend
from interp.errors import ActivationError
from interp.stats import holm

SHAPES: tuple[Literal["sphere", "hyperbolic"], ...] = ("sphere", "hyperbolic")
Values = dict[str, list[float]]
Draws = Mapping[str, Mapping[str, Sequence[float]]]
Status = Literal["within", "outside", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class FlatnessSettings:
    """Sizes of the flatness test of one sample, what is planted, and when it counts."""

    sheet_variance: float  # share of the variance that the bent components hold
    sphere_radius: float  # in units of the root mean square length of the sheet
    hyperbolic_radius: float
    alpha: float  # level, over all estimators and shapes together
    power: float  # share of planted samples that an estimator must detect
    moved: float  # level at which planting must move an estimator (Welch's t)
    neighbours: int = 10
    n_rotations: int = 19
    n_planted: int = 19
    n_halves: int = 20
    ollivier: bool = True
    tree: bool = True

    def radius(self, shape: Shape) -> float:
        """Radius in units of the root mean square length of the sheet; 1 where there is none."""
        return {"sphere": self.sphere_radius, "hyperbolic": self.hyperbolic_radius}.get(shape, 1.0)


def sheet_dimension(coordinates: Coordinates, share: float) -> int:
    """Fewest principal components that hold `share` of the variance."""
    centred = coordinates - coordinates.mean(axis=0)
    values = np.linalg.eigvalsh(centred @ centred.T)[::-1]
    return int(np.searchsorted(np.cumsum(values) / values.sum(), share) + 1)


@dataclass(frozen=True, eq=False)
class Base:
    """What the controls keep of a sample: its clusters, and the dimension of its bent part."""

    labels: Int[np.ndarray, " sample"]
    dimension: int


def one_draw(
    kind: str,
    coordinates: Coordinates,
    base: Base,
    settings: FlatnessSettings,
    seed: list[int],
) -> Values:
    """Measures of one random sample of a kind, and, for a planted one, of its two controls.

    Keys are `kind`, `kind.rotated`, `kind.clustered`, each followed by `/` and the estimator.
    """
    rng = np.random.default_rng(seed)
    measure = partial(measures, k=settings.neighbours, rng=rng, ollivier=settings.ollivier)
    if kind == "halves":
        half = rng.choice(len(coordinates), len(coordinates) // 2, replace=False)
        samples = {kind: coordinates[half]}
    elif kind == "rotated":
        samples = {kind: rotated(coordinates, rng)}
    else:
        samples = {kind: flat_mixture(coordinates, base.labels, rng)}
    if kind in (*SHAPES, "tree"):
        shape: Shape = kind  # type: ignore[assignment]
        sample = bend(samples[kind], shape, base.dimension, settings.radius(shape), rng)
        samples = {kind: sample}
    if kind in SHAPES:
        samples[f"{kind}.rotated"] = rotated(samples[kind], rng)
        own = clusters(samples[kind], seed[0])
        samples[f"{kind}.clustered"] = flat_mixture(samples[kind], own, rng)
    found = {name: measure(sample) for name, sample in samples.items()}
    return {f"{name}/{e}": [v] for name, values in found.items() for e, v in values.items()}


def all_draws(
    coordinates: Coordinates, settings: FlatnessSettings, seed: int, workers: int = 1
) -> dict[str, Values]:
    """Measures of the data and of every control: {kind: {estimator: one value per draw}}.

    coordinates: distinct states, as principal components or raw. Kinds: data, halves (random
    halves without replacement), rotated, clustered, sphere, hyperbolic, tree, and the flat
    controls `sphere.rotated`, ... of the planted samples. Raises ActivationError with fewer than
    twice as many states as neighbours.
    """
    if len(coordinates) < 2 * settings.neighbours + 2:
        raise ActivationError(
            f"{len(coordinates)} distinct states are too few for {settings.neighbours} neighbours "
            "and random halves; use more prompts or fewer neighbours."
        )
    counts = {
        "halves": settings.n_halves,
        "rotated": settings.n_rotations,
        "clustered": settings.n_rotations,
        **dict.fromkeys(SHAPES, settings.n_planted),
        **({"tree": settings.n_planted} if settings.tree else {}),
    }
    base = Base(clusters(coordinates, seed), sheet_dimension(coordinates, settings.sheet_variance))
    jobs = [
        delayed(one_draw)(kind, coordinates, base, settings, [seed, index, draw])
        for index, (kind, count) in enumerate(counts.items())
        for draw in range(count)
    ]
    rng = np.random.default_rng([seed, len(counts)])
    data = measures(coordinates, settings.neighbours, rng, settings.ollivier)
    draws: dict[str, Values] = {"data": {name: [value] for name, value in data.items()}}
    for found in Parallel(n_jobs=workers)(jobs):
        for key, values in found.items():  # type: ignore[union-attr]
            kind, _, estimator = key.partition("/")
            draws.setdefault(kind, {}).setdefault(estimator, []).extend(values)
    return draws


def tail(value: float, null: Sequence[float], sign: float) -> float:
    """One-sided p that one more draw of the null lies at `value` or beyond, towards `sign`."""
    n = len(null)
    spread = float(np.std(null, ddof=1)) * np.sqrt(1 + 1 / n)
    excess = sign * (value - float(np.mean(null)))
    if spread == 0:
        return 0.0 if excess > 0 else 1.0
    return float(scipy_stats.t.sf(excess / spread, n - 1))


def pair_assessment(
    draws: Draws, estimator: str, shape: str, level: float, moved: float
) -> dict[str, object]:
    """Power and p-values of one estimator for one shape; `level` is that of a single test.

    The direction is that in which planting moves the mean beyond its flat mixture's (Welch's t
    test at `moved`, else `sign` is 0 and nothing is detected).
    """
    planted = draws[shape][estimator]
    controls = [draws[f"{shape}.{control}"][estimator] for control in ("rotated", "clustered")]
    statistic, p_value = np.asarray(scipy_stats.ttest_ind(planted, controls[1], equal_var=False))
    sign = float(np.sign(statistic)) if float(p_value) < moved else 0.0
    detected = [
        max(tail(value, control, sign) for control in controls) < level for value in planted
    ]
    value = draws["data"][estimator][0]
    flat = [tail(value, draws[control][estimator], sign) for control in ("rotated", "clustered")]
    return {
        "estimator": estimator,
        "shape": shape,
        "sign": sign,
        "power": float(np.mean(detected)),
        "p_flat": max(flat),
        "p_planted": tail(value, planted, -sign),
    }


def assess(draws: Draws, settings: FlatnessSettings) -> pd.DataFrame:
    """One row per estimator and shape, with p-values Holm-corrected over all of them.

    `powered`: planted curvature is detected at alpha / (number of rows), the first step of Holm's
    procedure, in at least the share `power` of the draws. `status`: within if the row is powered
    and the sample lies short of the planted curvature; else outside if the sample lies beyond both
    flat controls, towards where planting moves this estimator (`sign`, 0 where it does not move it
    beyond chance); else inconclusive.
    """
    names = [name for name in VOTING if name in draws["data"]]
    level = settings.alpha / (len(names) * len(SHAPES))
    table = pd.DataFrame(
        [
            pair_assessment(draws, name, shape, level, settings.moved)
            for name in names
            for shape in SHAPES
        ]
    )
    for column in ("p_flat", "p_planted"):
        table[f"{column}_holm"] = holm(table[column].to_numpy())
    table["powered"] = table["power"] >= settings.power
    within = table["powered"] & (table["p_planted_holm"] < settings.alpha)
    outside = (table["sign"] != 0) & (table["p_flat_holm"] < settings.alpha) & ~within
    table["status"] = np.select([within, outside], ["within", "outside"], "inconclusive")
    return table


def shape_status(assessment: pd.DataFrame, shape: str) -> Status:
    """Outside if any row of the shape is; within if some row has power and all such are within."""
    rows = assessment[assessment["shape"] == shape]
    if "outside" in set(rows["status"]):
        return "outside"
    return "within" if set(rows[rows["powered"]]["status"]) == {"within"} else "inconclusive"


def overall_status(assessment: pd.DataFrame) -> Status:
    """Outside if the sample is for any shape; within if it is for both."""
    statuses = {shape_status(assessment, shape) for shape in SHAPES}
    if "outside" in statuses:
        return "outside"
    return "within" if statuses == {"within"} else "inconclusive"
