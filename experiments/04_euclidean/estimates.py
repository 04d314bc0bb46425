"""From readings and rank correlations to estimates."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.random import Generator
from scipy import stats as scipy_stats

from experiments.lab.estimate import Estimate
from interp.curvature import orders
from interp.curvature.excess import SHAPES, excess, power
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.stats import Interval, holm, null_interval

from .measure import Refusal, Sample
from .protocol import CLASSES, CONVERGED, CURVED, MARGIN, RIVALS, THIRDS


def manifold_estimates(samples: Sequence[Sample]) -> Iterator[Estimate]:
    """Excess and power of every third and class; p against the nearer bound, by Holm.

    The sites of a third are taken as wholly dependent: their errors are averaged. Power is that of
    the shape that is seen less often.
    """
    found = {}
    for third, name in product(THIRDS, CLASSES):
        here = [s.readings for s in samples if (s.third, s.group) == (third, name)]
        n = min((s.n for s in samples if (s.third, s.group) == (third, name)), default=0)
        place, unit = f"{third}.{name}", "of draws"
        value, error = np.mean([excess(x) for x in here], axis=0) if here else (np.nan, np.nan)
        found[place] = Interval(value, value - 1.96 * error, value + 1.96 * error, n), error
        for label, kind in (("power", ""), ("power_bare", ".bare")):
            seen = [np.mean([power(x, s + kind, CURVED) for x in here] or [0]) for s in SHAPES]
            yield Estimate(f"{label}.{place}", float(min(seen)), n=n, unit=unit)
    beyond = [(abs(interval.value) - CURVED) / error for interval, error in found.values()]
    p = holm(np.nan_to_num(scipy_stats.norm.sf(beyond), nan=1.0))
    for (place, (interval, _)), corrected in zip(found.items(), p, strict=True):
        yield Estimate.of(f"excess.{place}", interval, p=float(corrected))


def output_estimates(
    kl: orders.OutputKL, lengths: orders.Lengths, steps: Sequence[float], n: int, rng: Generator
) -> Iterator[Estimate]:
    """(b): which steps count, and how well each metric orders them."""
    change = orders.change_on_halving(kl, steps)
    counts = change <= CONVERGED
    yield Estimate("output.converged", float(counts.mean()), n=counts.size, unit="of steps")
    yield Estimate("output.change", float(np.median(change)), n=kl[0, 0].size)
    used = counts if counts.any() else np.ones_like(counts)  # shown, though untestable
    found = orders.segment_orders(kl, lengths, used, n, rng)
    yield from metric_estimates("output", found, kl[0, 0].size)


def refusal_estimates(found: Refusal, n: int, rng: Generator) -> Iterator[Estimate]:
    """(c): whether the model refuses, and how well each metric predicts the odds."""
    refused, n_prompts = found.refused.sum(axis=1), found.odds.shape[1]
    table = [refused, n_prompts - refused]
    p = float(np.asarray(scipy_stats.fisher_exact(table, alternative="greater"))[1])
    unit = "harmful prompts"
    yield Estimate("behaviour.refused", int(refused[0]), n=n_prompts, p=p, unit=unit)
    ordered = orders.projection_orders(found.odds, found.projections, n, rng)
    yield from metric_estimates("behaviour", ordered, found.odds.size)


def metric_estimates(meaning: str, found: orders.Orders, n: int) -> Iterator[Estimate]:
    """Spearman of each metric, and each rival's paired lead over L2 with p against the margin."""
    for i, name in enumerate(INNER_PRODUCTS):
        interval = Interval(found.value[i], *null_interval(found.draws[:, i]), n)
        null = null_interval(found.null[:, i])
        yield Estimate.of(f"{meaning}.spearman.{name}", interval, null=null)
    at = [INNER_PRODUCTS.index(name) for name in RIVALS]
    ahead, leads, none = (x[..., at] - x[..., :1] for x in found)
    error = leads.std(axis=0, ddof=1) + np.finfo(float).tiny
    p = holm(2 * scipy_stats.norm.sf(np.abs(ahead - MARGIN) / error))
    for i, name in enumerate(RIVALS):
        interval = Interval(ahead[i], *null_interval(leads[:, i]), n)
        null, mde = null_interval(none[:, i]), 2.8 * float(error[i])
        yield Estimate.of(f"{meaning}.lead.{name}", interval, null=null, p=float(p[i]), mde=mde)
