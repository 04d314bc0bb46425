"""From readings, segments and refusal to estimates."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from jaxtyping import Bool, Float
from numpy.random import Generator
from scipy import stats as scipy_stats

from experiments.lab.estimate import Estimate
from interp.curvature.excess import SHAPES, standard_error
from interp.curvature.inner_products import INNER_PRODUCTS
from interp.stats import Interval, holm, null_interval, spearman

from .measure import Lengths, OutputKL, Refusal, Sample, Segments
from .protocol import CLASSES, CONVERGED, CURVED, MARGIN, RIVALS, THIRDS

N_PERMUTATIONS = 200
SIGNS = {"sphere": 1, "hyperbolic": -1}
Z = float(scipy_stats.norm.ppf(0.975))


def excess(sample: Sample, estimator: str = "triangle_defect") -> tuple[float, float]:
    """Of the data over its flat control, and the standard error."""
    halves, flat = (sample.readings[kind][estimator] for kind in ("halves", "flat"))
    value = sample.readings["data"][estimator][0] - np.mean(flat)
    return float(value), standard_error(halves, flat)


def power(sample: Sample, kind: str) -> float:
    """Share of planted draws that would be seen to lie beyond the bound, by the data's error."""
    flat = np.mean(sample.readings["flat"]["triangle_defect"])
    found = np.array(sample.readings[kind]["triangle_defect"]) - flat
    sign = SIGNS[kind.partition(".")[0]]
    return float(np.mean(sign * found - Z * excess(sample)[1] > CURVED))


def manifold_estimates(samples: Sequence[Sample]) -> Iterator[Estimate]:
    """Excess and power of every third and class; p against the nearer bound, by Holm.

    The sites of a third are taken as wholly dependent: their errors are averaged. Power is that of
    the shape that is seen less often.
    """
    found = {}
    for third, name in product(THIRDS, CLASSES):
        here = [s for s in samples if (s.third, s.group) == (third, name)]
        place, n = f"{third}.{name}", min((s.n for s in here), default=0)
        value, error = np.mean([excess(s) for s in here], axis=0) if here else (np.nan, np.nan)
        found[place] = Interval(value, value - Z * error, value + Z * error, n), error
        for label, suffix in (("power", ""), ("power_bare", ".bare")):
            seen = [np.mean([power(s, shape + suffix) for s in here] or [0]) for shape in SHAPES]
            yield Estimate(f"{label}.{place}", float(min(seen)), n=n, unit="of draws")
    beyond = [(abs(interval.value) - CURVED) / error for interval, error in found.values()]
    p = holm(np.nan_to_num(scipy_stats.norm.sf(beyond), nan=1.0))
    for (place, (interval, _)), corrected in zip(found.items(), p, strict=True):
        yield Estimate.of(f"excess.{place}", interval, p=float(corrected))


def converged(kl: OutputKL, steps: Sequence[float]) -> Float[np.ndarray, "site judged"]:
    """Upper quartile over segments of the change of KL / t^2 on halving, for all but the first."""
    curvature = kl / np.square(steps)[:, None, None, None]
    change = np.abs(curvature[:, :-1] / curvature[:, 1:] - 1)
    return np.quantile(change, 0.75, axis=(2, 3, 4))


def output_spearman(
    kl: OutputKL, lengths: Lengths, counts: Bool[np.ndarray, "site judged"]
) -> Float[np.ndarray, " metric"]:
    """Within each base and class of the targets, averaged over those and the steps that count."""
    found = spearman(*np.broadcast_arrays(kl[:, 1:, None], lengths[:, None]))
    return found.mean(axis=(-2, -1))[counts].mean(axis=0)


def output_estimates(found: Segments, n: int, rng: Generator) -> Iterator[Estimate]:
    """(b): bootstrap over bases and targets at once (Owen 2007), the same for every metric.

    The null exchanges the targets of a class in the lengths, not in the KL.
    """
    change = converged(found.kl, found.steps)
    counts, sizes = change <= CONVERGED, found.kl.shape[2:]
    yield Estimate("output.converged", float(counts.mean()), n=counts.size, unit="of steps")
    yield Estimate("output.change", float(np.median(change)), n=found.kl[0, 0].size)
    used = counts if counts.any() else np.ones_like(counts)

    def at(targets: np.ndarray, bases: np.ndarray, kl: bool = True) -> np.ndarray:
        """With other bases, and other targets within each class."""
        pick = (..., bases[:, None, None], np.arange(sizes[1])[:, None], targets)
        return output_spearman(found.kl[pick] if kl else found.kl, found.lengths[pick], used)

    every = np.arange(sizes[0])
    draws = [
        at(rng.integers(0, sizes[2], sizes[1:]), rng.choice(every, sizes[0])) for _ in range(n)
    ]
    orders = rng.permuted(np.tile(np.arange(sizes[2]), (N_PERMUTATIONS, sizes[1], 1)), axis=2)
    null = [at(order, every, kl=False) for order in orders]
    value = output_spearman(found.kl, found.lengths, used)
    yield from metric_estimates("output", value, np.stack(draws), np.stack(null), sizes[0])


def refusal_spearman(odds: np.ndarray, projections: np.ndarray) -> Float[np.ndarray, " metric"]:
    """Within each class, averaged over classes and sites."""
    return spearman(*np.broadcast_arrays(odds[:, None, None], projections)).mean(axis=(0, 1))


def refusal_estimates(found: Refusal, n: int, rng: Generator) -> Iterator[Estimate]:
    """(c): bootstrap over the prompts of each class; the null exchanges their odds."""
    sizes, rows = found.odds.shape, np.arange(len(found.odds))[:, None]
    counts = found.refused.sum(axis=1)
    table = [counts, sizes[1] - counts]
    p = float(np.asarray(scipy_stats.fisher_exact(table, alternative="greater"))[1])
    yield Estimate("behaviour.refused", int(counts[0]), n=sizes[1], p=p, unit="harmful prompts")

    def at(picked: np.ndarray) -> np.ndarray:
        """With the prompts of each class drawn again."""
        by_class = zip(found.projections, picked, strict=True)
        projections = np.stack([of_class[..., i] for of_class, i in by_class])
        return refusal_spearman(found.odds[rows, picked], projections)

    draws = [at(rng.integers(0, sizes[1], sizes)) for _ in range(n)]
    shuffled = [rng.permuted(found.odds, axis=1) for _ in range(N_PERMUTATIONS)]
    null = [refusal_spearman(odds, found.projections) for odds in shuffled]
    value = refusal_spearman(found.odds, found.projections)
    n_prompts = found.odds.size
    yield from metric_estimates("behaviour", value, np.stack(draws), np.stack(null), n_prompts)


def metric_estimates(
    meaning: str, value: np.ndarray, draws: np.ndarray, null: np.ndarray, n: int
) -> Iterator[Estimate]:
    """Spearman of each metric, and each rival's paired lead over L2 with p against the margin."""
    for i, name in enumerate(INNER_PRODUCTS):
        interval = Interval(value[i], *null_interval(draws[:, i]), n)
        yield Estimate.of(f"{meaning}.spearman.{name}", interval, null=null_interval(null[:, i]))
    at = [INNER_PRODUCTS.index(name) for name in RIVALS]
    leads, ahead = draws[:, at] - draws[:, :1], value[at] - value[0]
    error = leads.std(axis=0, ddof=1) + np.finfo(float).tiny
    p = holm(2 * scipy_stats.norm.sf(np.abs(ahead - MARGIN) / error))
    for i, name in enumerate(RIVALS):
        interval = Interval(ahead[i], *null_interval(leads[:, i]), n)
        none = null_interval(null[:, at[i]] - null[:, 0])
        yield Estimate.of(f"{meaning}.lead.{name}", interval, null=none, p=float(p[i]),
                          mde=2.8 * float(error[i]))  # fmt: skip
