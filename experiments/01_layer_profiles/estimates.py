"""From the profiles of experiment 01 to estimates."""

from collections.abc import Iterator, Mapping

import numpy as np

from experiments.lab.estimate import Estimate
from interp import geometry, stats
from interp.class_profiles import ClassProfiles

from .measure import FORMS, Source
from .protocol import CLASSES, CONTROLS, HALVES, POSITIONS, SMALLEST_SHARE


def estimates(found: Mapping[Source, ClassProfiles]) -> Iterator[Estimate]:
    """Every number of the experiment; those without the largest dimensions have a suffix."""
    for position in POSITIONS:
        for form in FORMS:
            suffix = "" if form == "all" else f".{form}"
            own = found["harmful", position, form]
            yield from cosine_estimates(own, position, suffix)
        fall = fall_of(found["harmful", position, "all"])
        for control in CONTROLS:
            other = fall_of(found[control, position, "all"])
            yield Estimate.of(f"{position}.fall.{control}", other)
            yield Estimate.of(f"{position}.fall.over_{control}", difference(fall, other))
    at_last, varying = (found["harmful", position, "all"] for position in POSITIONS)
    yield from slope_estimates(varying)
    yield outside_estimate(at_last)


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
    """Of two falls; their prompts are taken as independent, which is wide where they are shared."""
    half = float(np.hypot(one.high - one.value, other.high - other.value))
    value = one.value - other.value
    return stats.Interval(value, value - half, value + half, one.n)


def slope_estimates(own: ClassProfiles) -> Iterator[Estimate]:
    """Growth per block of the share of the squared norm that varies, per class and half."""
    for (name, side), n in zip(CLASSES.items(), own.n, strict=True):
        varies = own.true[f"share_{side}"] > SMALLEST_SHARE
        for half, inside in zip(HALVES, (~own.is_deep, own.is_deep), strict=True):
            here = varies & inside
            share, at = own.true[f"share_{side}"][here], own.depth[here]
            drawn = geometry.log_slope(own.bootstrapped[f"share_{side}"][:, here], at)
            slope = float(geometry.log_slope(share, at))
            interval = stats.Interval(slope, *stats.null_interval(drawn), n)
            mde = stats.minimum_detectable_effect_interval(interval)
            yield Estimate.of(f"slope.{name}.{half}", interval, mde=mde, unit="per block")


def outside_estimate(own: ClassProfiles) -> Estimate:
    """Share of the layers whose mid lies outside its neighbours at pre, on the commoner side."""
    above, below = (layers_outside(own, side) for side in (1, -1))
    if not len(above):
        return Estimate("streams.outside", float("nan"))
    share = stats.wilson(int(max(above.sum(), below.sum())), len(above))
    return Estimate.of("streams.outside", share, unit="of layers")


def layers_outside(own: ClassProfiles, sign: int) -> np.ndarray:
    """Which layers' ln variance at mid exceeds both neighbours at pre (sign 1), or is below both.

    The last layer has one neighbour at pre only, so it is left out, and so is one without variance.
    """
    index = {str(site): i for i, site in enumerate(own.sites)}
    found = []
    for site in own.sites:
        names = f"{site.layer}.pre", f"{site.layer}.mid", f"{site.layer + 1}.pre"
        if site.stream == "mid" and names[2] in index:
            before, mid, after = (log_variance(own, index[name]) for name in names)
            least = sign * mid - np.maximum(sign * before, sign * after)
            found.append(np.quantile(least, 0.025) > 0 if np.isfinite(least).all() else False)
    return np.array(found, dtype=bool)


def log_variance(own: ClassProfiles, site: int) -> np.ndarray:
    """Mean over both classes of ln variance at one site, per bootstrap draw; -inf where none."""
    with np.errstate(divide="ignore"):
        return np.mean(
            [np.log(own.bootstrapped[f"variance_{side}"][:, site]) for side in CLASSES.values()], 0
        )
