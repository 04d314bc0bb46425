"""From the profiles of experiment 01 to estimates."""

from collections.abc import Iterator, Mapping

import numpy as np

from experiments.lab.estimate import Estimate
from interp import geometry, stats

from .measure import FORMS, Profiles
from .protocol import CLASSES, SMALLEST_SHARE


def estimates(forms: Mapping[str, Profiles], largest_share: float) -> Iterator[Estimate]:
    """Every number of the experiment; those without the largest dimensions have a suffix."""
    for form, suffix in FORMS.items():
        yield from cosine_estimates(forms[form], suffix)
        yield from separation_estimates(forms[form], suffix)
        yield from slope_estimates(forms[form], suffix)
    whole = forms["all"]
    for (name, side), n in zip(CLASSES.items(), whole.n, strict=True):
        key = f"variance_{side}"
        drawn = stats.null_interval(whole.bootstrapped[key][:, -1])
        interval = stats.Interval(whole.true[key][-1], *drawn, n)
        yield Estimate.of(f"mean_variance.{name}.last", interval)
    yield Estimate("largest_dimension.share.maximum", largest_share, n=sum(whole.n))


def cosine_estimates(form: Profiles, suffix: str) -> Iterator[Estimate]:
    """Minimum of the cosine, largest excess of 1 - cosine, and its fall from early to late."""
    cosine, excess, null = form.true["cosine"], form.true["excess"], form.permuted["excess"]
    at, peak = int(np.argmin(cosine)), int(np.argmax(excess))
    is_deep = form.depth >= np.median(form.depth)
    fall, fall_null, falls = (
        values[..., is_deep].mean(axis=-1) - values[..., ~is_deep].mean(axis=-1)
        for values in (excess, null, 1 - form.bootstrapped["cosine"])
    )
    for name, value, error, draws, p in (
        ("minimum", cosine[at], form.error[at], form.permuted["cosine"][:, at], form.p[at]),
        ("excess.maximum", excess[peak], form.error[peak], null.max(axis=1), form.p[peak]),
        ("fall", float(fall), falls.std(ddof=1), fall_null, None),
    ):
        # Standard errors, not percentiles: resampling biases 1 - cosine.
        interval = stats.Interval(value, value - 1.96 * error, value + 1.96 * error, sum(form.n))
        mde = stats.minimum_detectable_effect_interval(interval)
        yield Estimate.of(f"cosine.{name}{suffix}", interval, null=draws, p=p, mde=mde)


def separation_estimates(form: Profiles, suffix: str) -> Iterator[Estimate]:
    """The hidden forms at the site where each is strongest; p by the maximum statistic."""
    for name, key, sign in (
        ("fisher.maximum", "fisher", 1.0),
        ("cosine_without_common_mean.minimum", "rest_cosine", -1.0),
    ):
        varies = np.isfinite(form.true[key])
        values, null = sign * form.true[key][varies], sign * form.permuted[key][:, varies]
        best = int(np.argmax(values))
        low, high = sorted(sign * limit for limit in stats.null_interval(null.max(axis=1)))
        p = float(stats.max_statistic_p(values, null)[best])
        value, n = float(sign * values[best]), sum(form.n)
        yield Estimate(f"{name}{suffix}", value, null_low=low, null_high=high, n=n, p=p)


def slope_estimates(form: Profiles, suffix: str) -> Iterator[Estimate]:
    """Growth per block of the share of the squared norm that varies, for each class."""
    for (name, side), n in zip(CLASSES.items(), form.n, strict=True):
        varies = form.true[f"share_{side}"] > SMALLEST_SHARE
        share, at = form.true[f"share_{side}"][varies], form.depth[varies]
        drawn = geometry.log_slope(form.bootstrapped[f"share_{side}"][:, varies], at)
        slope = float(geometry.log_slope(share, at))
        interval = stats.Interval(slope, *stats.null_interval(drawn), n)
        shifted = np.stack([np.roll(share, shift) for shift in range(1, len(share))])
        null, p = geometry.log_slope(shifted, at), stats.circular_shift_spearman(at, share)[1]
        yield Estimate.of(
            f"variance_slope.{name}{suffix}", interval, null=null, p=p,
            mde=stats.minimum_detectable_effect_interval(interval), unit="per block",
        )  # fmt: skip
