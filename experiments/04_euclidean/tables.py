"""Tables of experiment 04, one per figure, and the scores of every prompt."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.curvature.excess import ESTIMATORS, PLANTED, excess
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.stats import null_interval

from .measure import Refusal, Sample
from .protocol import CLASSES


def tables(
    samples: Sequence[Sample], refusal: Refusal, estimates: Mapping[str, Estimate]
) -> dict[str, pd.DataFrame]:
    """What the figures show, and the scores."""
    return {
        "metrics": pd.DataFrame(metric_rows(estimates)),
        "excess": pd.DataFrame(excess_rows(samples)),
        "scores": pd.DataFrame(score_columns(refusal)),
    }


def excess_rows(samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """The excess at every site with interval, the flat controls, and what planted surfaces read."""
    for sample in samples:
        for name in ESTIMATORS:
            value, error = excess(sample.readings, name)
            draws = {kind: np.array(found[name]) for kind, found in sample.readings.items()}
            above = {kind: found - draws["flat"].mean() for kind, found in draws.items()}
            null = null_interval(above["flat"])
            row = {"site": str(sample.site), "depth": sample.site.depth, "third": sample.third}
            row |= {"class": sample.group, "n": sample.n, "estimator": name, "value": value}
            row |= {"low": value - 1.96 * error, "high": value + 1.96 * error}
            row |= {"null_low": null[0], "null_high": null[1]}
            yield row | {kind: above[kind].mean() for kind in PLANTED}


def metric_rows(estimates: Mapping[str, Estimate]) -> Iterator[dict[str, Any]]:
    """Spearman of every metric in both meanings."""
    columns = ("value", "low", "high", "null_low", "null_high", "n")
    for meaning in ("output", "behaviour"):
        for name in INNER_PRODUCTS:
            found = vars(estimates[f"{meaning}.spearman.{name}"])
            yield {"label": meaning, "group": name} | {column: found[column] for column in columns}


def score_columns(found: Refusal) -> dict[str, np.ndarray]:
    """Refusal odds of every test prompt, and whether its answer declines."""
    n = found.odds.shape[1]
    identity = {"prompt": np.tile(np.arange(n), 2), "class": np.repeat([*CLASSES], n)}
    return identity | {"odds": found.odds.ravel(), "refused": found.refused.ravel()}
