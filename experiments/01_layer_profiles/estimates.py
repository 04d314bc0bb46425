"""From the profiles of experiment 01 to estimates."""

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.stats import theilslopes

from experiments.lab.estimate import Estimate
from interp import stats
from interp.class_profiles import ClassProfiles

from .measure import FORMS, Source, strongest
from .protocol import CLASSES, CONTROLS, HALVES, LEAST_GAP, POSITIONS, SMALLEST_SHARE

RAW = ".raw"  # ends the names of what is measured with all dimensions, which does not decide


def estimates(found: Mapping[Source, ClassProfiles]) -> Iterator[Estimate]:
    """Every number of the experiment, without the largest dimensions and raw."""
    for form, suffix in zip(FORMS, ("", RAW), strict=True):
        for position in POSITIONS:
            own = found["harmful", position, form]
            yield from cosine_estimates(own, position, suffix)
            for control in CONTROLS:
                other = fall_of(strongest(found, control, position, form))
                over = difference(fall_of(own), other)
                yield Estimate.of(f"{position}.fall.{control}{suffix}", other)
                yield Estimate.of(f"{position}.fall.over_{control}{suffix}", over)
        at_last, varying = (found["harmful", position, form] for position in POSITIONS)
        yield from growth_estimates(varying, suffix)
        yield from stream_estimates(at_last, suffix)


def cosine_estimates(own: ClassProfiles, position: str, suffix: str) -> Iterator[Estimate]:
    """Minimum of the cosine, largest excess of 1 - cosine, and its fall from early to late."""
    cosine, excess, null = own.true["cosine"], own.true["excess"], own.permuted["excess"]
    at, peak = int(np.argmin(cosine)), int(np.argmax(excess))
    for name, interval, draws, p in (
        ("minimum", around(cosine[at], own.error[at], own), own.permuted["cosine"][:, at], None),
        ("excess", around(excess[peak], own.error[peak], own), null.max(axis=1), own.p[peak]),
        ("fall", fall_of(own), own.fall(null), None),
    ):
        mde = stats.minimum_detectable_effect_interval(interval)
        yield Estimate.of(f"{position}.{name}{suffix}", interval, null=draws, p=p, mde=mde)


def around(value: float, error: float, own: ClassProfiles) -> stats.Interval:
    """A normal interval: percentiles would be off, since resampling biases 1 - cosine."""
    return stats.Interval(value, value - 1.96 * error, value + 1.96 * error, sum(own.n))


def fall_of(own: ClassProfiles) -> stats.Interval:
    """The fall of the cosine with depth, beyond permuted labels."""
    error = own.fall(own.bootstrapped["cosine"]).std(ddof=1)
    return around(float(own.fall(own.true["excess"])), float(error), own)


def difference(one: stats.Interval, other: stats.Interval) -> stats.Interval:
    """Of a fall and a control's, which counts as 0 at least; their prompts as independent."""
    half = float(np.hypot(one.high - one.value, other.high - other.value))
    value = one.value - max(other.value, 0.0)
    return stats.Interval(value, value - half, value + half, one.n)


def growth_estimates(own: ClassProfiles, suffix: str) -> Iterator[Estimate]:
    """Change of ln of the share of the squared norm that varies, per class and half."""
    n_blocks = int(own.depth.max()) + 1
    inner = (own.depth >= 1) & (own.depth < n_blocks - 1)
    for (name, side), n in zip(CLASSES.items(), own.n, strict=True):
        varies = own.true[f"share_{side}"] > SMALLEST_SHARE
        for half, inside in zip(HALVES, (~own.is_deep, own.is_deep), strict=True):
            here = inner & varies & inside
            values = np.vstack([own.true[f"share_{side}"], own.bootstrapped[f"share_{side}"]])
            change = n_blocks / 2 * slopes(np.log(values[:, here]), own.depth[here])
            interval = stats.Interval(float(change[0]), *stats.null_interval(change[1:]), n)
            mde = stats.minimum_detectable_effect_interval(interval)
            yield Estimate.of(f"growth.{name}.{half}{suffix}", interval, mde=mde, unit="nats")


def slopes(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Theil-Sen slope of every row (Sen 1968)."""
    return np.array([theilslopes(row, depth).slope for row in values])


def stream_estimates(own: ClassProfiles, suffix: str) -> Iterator[Estimate]:
    """Shares of the layers whose gap is beyond the margin on one side, surely and perhaps."""
    names = f"streams.apart{suffix}", f"streams.perhaps{suffix}"
    gaps = gaps_of(own)
    if not len(gaps):
        yield from (Estimate(name, float("nan")) for name in names)
        return
    low, high = (np.quantile(gaps, q, axis=1) for q in (0.025, 0.975))
    sides = {1: (low > LEAST_GAP, high > LEAST_GAP), -1: (high < -LEAST_GAP, low < -LEAST_GAP)}
    commoner = max(sides.values(), key=lambda side: side[0].sum())
    for name, layers in zip(names, commoner, strict=True):
        share = stats.wilson(int(layers.sum()), len(layers))
        yield Estimate.of(name, share, unit="of layers")


def gaps_of(own: ClassProfiles) -> np.ndarray:
    """ln variance at mid minus the mean of that at its neighbours at pre: layers by draws, nats.

    The last layer has one neighbour only; a layer where nothing varies has a gap of 0.
    """
    with np.errstate(divide="ignore"):  # rounding can leave a variance just below 0
        sides = [
            np.log(np.maximum(own.bootstrapped[f"variance_{side}"], 0)) for side in CLASSES.values()
        ]
    at = dict(zip(map(str, own.sites), np.mean(sides, axis=0).T, strict=True))
    found = []
    for site in own.sites:
        after = f"{site.layer + 1}.pre"
        if site.stream == "mid" and after in at:
            with np.errstate(invalid="ignore"):
                gap = at[str(site)] - (at[f"{site.layer}.pre"] + at[after]) / 2
            found.append(np.where(np.isfinite(gap), gap, 0.0))
    return np.array(found)
