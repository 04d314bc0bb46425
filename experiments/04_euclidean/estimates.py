"""From readings and rank correlations to estimates."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator
from scipy import stats as scipy_stats

from experiments.lab.estimate import Estimate
from interp.curvature import orders
from interp.curvature.excess import excess, pooled_error, standard_error
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.stats import Interval, holm, null_interval

from .measure import Refusal, Sample, Segments
from .protocol import CLAIMS, CLASSES, CONVERGED, CURVED, MARGIN, PLACES, RADII, RIVALS, STEPS

Z = scipy_stats.norm.ppf(0.975)
SIGNS = {"sphere": 1, "hyperbolic": -1}


def curvature_estimates(samples: Sequence[Sample]) -> Iterator[Estimate]:
    """(a): the curvature, the power for either shape, and the excess of every place."""
    by_place = {sample.place: sample.readings for sample in samples}
    if set(by_place) != set(PLACES):  # states that do not vary
        yield from (Estimate(name, np.nan) for name in CLAIMS[0].estimates)
        return
    ordered = [by_place[place] for place in PLACES]
    n, found = min(sample.n for sample in samples), np.array([excess(x) for x in ordered])
    groups = [[x for place, x in by_place.items() if place.endswith(f".{c}")] for c in CLASSES]
    value, error = np.abs(found).mean(), pooled_error(groups)
    yield Estimate.of("curvature", around(value, error, n), mde=2.8 * error)
    for shape in RADII:
        seen = SIGNS[shape] * np.mean([x[shape] for x in ordered])
        power = scipy_stats.norm.cdf((seen - CURVED) / error - Z)
        yield Estimate(f"power.{shape}", float(power), n=n)
        yield Estimate(f"planted.{shape}", float(seen), n=n)
    errors = [standard_error(x) for x in ordered]
    p = holm(scipy_stats.norm.sf((np.abs(found) - CURVED) / errors))
    for i, place in enumerate(PLACES):
        yield Estimate.of(f"excess.{place}", around(found[i], errors[i], n), p=float(p[i]))


def around(value: float, error: float, n: int) -> Interval:
    """Of a value that is about normal."""
    return Interval(float(value), float(value - Z * error), float(value + Z * error), n)


def output_estimates(found: Segments, n: int, rng: Generator) -> Iterator[Estimate]:
    """(b): at how many sites the output has a metric, and how well each metric orders it."""
    change, n_segments = orders.change_on_halving(found.kl, STEPS), found.kl[0, 0].size
    counts = change <= CONVERGED
    yield Estimate("output.converged", float(counts.mean()), n=counts.size, unit="of sites")
    yield Estimate("output.change", float(np.median(change)), n=n_segments)
    used = counts if counts.any() else np.ones_like(counts)  # shown, though untestable
    ordered = orders.segment_orders(found.kl, found.lengths, used, n, rng)
    yield from metric_estimates("output", ordered, n_segments)


def refusal_estimates(found: Refusal, n: int, rng: Generator) -> Iterator[Estimate]:
    """(c): whether refusal varies, and how well each metric predicts the odds."""
    n_prompts, refused = len(found.odds), int(found.refused.sum())
    for name, count in (("refused", refused), ("accepted", n_prompts - refused)):
        yield Estimate(f"behaviour.{name}", count, n=n_prompts, unit="harmful prompts")
    ordered = orders.projection_orders(found.odds, found.projections, n, rng)
    yield from metric_estimates("behaviour", ordered, n_prompts)


def metric_estimates(meaning: str, found: orders.Orders, n: int) -> Iterator[Estimate]:
    """Spearman of each metric, and each rival's paired lead over L2 with p against the margin."""
    for i, name in enumerate(INNER_PRODUCTS):
        interval = Interval(found.value[i], *null_interval(found.draws[:, i]), n)
        null = null_interval(found.null[:, i])
        yield Estimate.of(f"{meaning}.spearman.{name}", interval, null=null)
    at = [INNER_PRODUCTS.index(name) for name in RIVALS]
    ahead, leads, none = (x[..., at] - x[..., :1] for x in found)
    error = leads.std(axis=0, ddof=1) + np.finfo(float).tiny
    p = holm(scipy_stats.norm.sf((ahead - MARGIN) / error))
    for i, name in enumerate(RIVALS):
        interval = Interval(ahead[i], *null_interval(leads[:, i]), n)
        null, mde = null_interval(none[:, i]), 2.8 * float(error[i])
        yield Estimate.of(f"{meaning}.lead.{name}", interval, null=null, p=float(p[i]), mde=mde)
