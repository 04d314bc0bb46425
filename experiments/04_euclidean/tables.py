"""Tables of experiment 04: what the figures show, and the scores of segments and prompts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.lab.estimate import Estimate
from interp.curvature.excess import CONTROLS
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.sites import Site

from .measure import Refusal, Sample, Segments
from .protocol import CLASSES, RADII, STEPS


def excess_rows(
    samples: Sequence[Sample], estimates: Mapping[str, Estimate]
) -> Iterator[dict[str, Any]]:
    """The excess at every place, and what is behind it: means of controls and planted surfaces."""
    for sample in samples:
        one, found = estimates[f"excess.{sample.place}"], sample.readings
        third, group = sample.place.split(".")
        row = {"label": third, "group": group, "site": str(sample.site), "n": sample.n}
        row |= {"value": one.value, "low": one.low, "high": one.high}
        yield row | {kind: np.mean(found[kind]) for kind in ("data", *CONTROLS, *RADII)}


def metric_rows(estimates: Mapping[str, Estimate]) -> Iterator[dict[str, Any]]:
    """Spearman of every metric in both meanings."""
    columns = ("value", "low", "high", "null_low", "null_high", "n")
    for meaning in ("output", "behaviour"):
        for name in INNER_PRODUCTS:
            found = vars(estimates[f"{meaning}.spearman.{name}"])
            yield {"label": meaning, "group": name} | {column: found[column] for column in columns}


def segment_columns(found: Segments, sites: Sequence[Site]) -> dict[str, np.ndarray]:
    """Output KL and lengths of every segment: Spearman by site, base and class, then the mean."""
    shape = found.kl[:, 0].shape
    site, base, group, target = (x.ravel() for x in np.indices(shape))
    columns = {"site": np.array([*map(str, sites)])[site], "base": base}
    columns |= {"class": np.array([*CLASSES])[group], "target": target}
    columns |= {f"kl at {step:g}": found.kl[:, i].ravel() for i, step in enumerate(STEPS)}
    by_metric = found.lengths.swapaxes(0, 1)
    return columns | {name: x.ravel() for name, x in zip(INNER_PRODUCTS, by_metric, strict=True)}


def score_columns(found: Refusal, sites: Sequence[Site]) -> dict[str, np.ndarray]:
    """Odds, answer and projections of every harmful held-out prompt."""
    n = len(found.odds)
    columns = {"prompt": np.arange(n), "odds": found.odds, "refused": found.refused}
    for site, by_metric in zip(sites, found.projections, strict=True):
        by_name = zip(INNER_PRODUCTS, by_metric, strict=True)
        columns |= {f"{name} at {site}": projection for name, projection in by_name}
    return columns
