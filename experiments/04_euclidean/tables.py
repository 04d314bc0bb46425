"""Tables of experiment 04, one per figure, and the scores of every prompt."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from interp.curvature.excess import ESTIMATORS, KINDS
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.sites import Site
from interp.stats import null_interval

from .estimates import Z, excess
from .measure import Refusal, Sample, Segments
from .protocol import CLASSES

MEANINGS = ("output", "behaviour")


def tables(
    samples: Sequence[Sample],
    sites: Sequence[Site],
    segments: Segments,
    refusal: Refusal,
    estimates: Mapping[str, Estimate],
) -> dict[str, pd.DataFrame]:
    """What the figures show, and what else was measured."""
    return {
        "metrics": pd.DataFrame(metric_rows(estimates)),
        "excess": pd.DataFrame(excess_rows(samples)),
        "spaces": pd.DataFrame(space_rows(samples)),
        "segments": pd.DataFrame(segment_rows(sites, segments)),
        "scores": scores(sites, refusal),
    }


def identity(sample: Sample) -> dict[str, object]:
    """Which sample a row is of."""
    where = {"site": str(sample.site), "depth": sample.site.depth, "third": sample.third}
    return {**where, "class": sample.group, "n": sample.n}


def excess_rows(samples: Sequence[Sample]) -> Iterator[dict[str, object]]:
    """The excess at every site with interval, the flat controls, and what planted surfaces read."""
    for sample in samples:
        for name in ESTIMATORS:
            value, error = excess(sample, name)
            draws = {kind: np.array(found[name]) for kind, found in sample.readings.items()}
            flat = draws["flat"] - draws["flat"].mean()
            null = dict(zip(("null_low", "null_high"), null_interval(flat), strict=True))
            means = {k: draws[k].mean() - draws["flat"].mean() for k in KINDS[3:]}
            yield identity(sample) | {"estimator": name, "value": value} | null | means | {
                "low": value - Z * error, "high": value + Z * error,
            }  # fmt: skip


def space_rows(samples: Sequence[Sample]) -> Iterator[dict[str, object]]:
    """Single draws of every kind at the middle site."""
    sites = sorted({sample.site for sample in samples})
    for sample in samples:
        if sample.site == sites[len(sites) // 2]:
            for kind in (kind for kind in KINDS if kind != "halves"):
                for value in sample.readings[kind]["triangle_defect"]:
                    yield identity(sample) | {"space": kind, "value": value}


def metric_rows(estimates: Mapping[str, Estimate]) -> Iterator[dict[str, object]]:
    """Spearman of every metric in both meanings."""
    columns = ("value", "low", "high", "null_low", "null_high", "n")
    for meaning in MEANINGS:
        for name in INNER_PRODUCTS:
            found = vars(estimates[f"{meaning}.spearman.{name}"])
            yield {"label": meaning, "group": name} | {column: found[column] for column in columns}


def segment_rows(sites: Sequence[Site], found: Segments) -> Iterator[dict[str, object]]:
    """KL and lengths of every segment."""
    for (i, j, base, side, target), kl in np.ndenumerate(found.kl):
        lengths = found.lengths[i, :, base, side, target]
        yield {
            "site": str(sites[i]), "depth": sites[i].depth, "step": found.steps[j], "base": base,
            "target_class": [*CLASSES][side], "target": target, "kl": kl, **dict(zip(INNER_PRODUCTS, lengths, strict=True)),
        }  # fmt: skip


def scores(sites: Sequence[Site], found: Refusal) -> pd.DataFrame:
    """Refusal odds of every test prompt, its answer, and its projections."""
    n = found.odds.shape[1]
    names = [f"{name} {site}" for site in sites for name in INNER_PRODUCTS]
    columns = np.moveaxis(found.projections, -1, 1).reshape(2 * n, -1).T
    table = pd.DataFrame({"prompt": np.tile(np.arange(n), 2), "class": np.repeat([*CLASSES], n)})
    table = table.assign(odds=found.odds.ravel(), refused=found.refused.ravel())
    return table.assign(**dict(zip(names, columns, strict=True)))
