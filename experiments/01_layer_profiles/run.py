"""The method of 01_layer_profiles; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp import geometry, stats
from interp.sites import Site, all_sites

from .measure import FORMS, Profiles, excess_of, profiles
from .protocol import CLASSES, N_LARGEST, SMALLEST_SHARE, Config
from .tables import tables


def run(config: Config, lab: Lab) -> Result:
    """Capture both classes, resample at every site, and judge the two parts of the claim."""
    streams = ("pre", "mid") if lab.model.info.has_mid else ("pre",)
    sites = all_sites(lab.model.n_layers, streams)
    prompts = [
        choose(texts, config.n_prompts, lab.rng(f"prompts {name}"))
        for name, texts in zip(CLASSES, (lab.contrast.positive, lab.contrast.negative), strict=True)
    ]
    positive, negative = (lab.activations(texts, sites)[:, :, 0] for texts in prompts)
    dimensions = geometry.largest_dimensions(torch.cat([positive, negative]), N_LARGEST)
    chosen = {
        "all": (positive, negative),
        "without_largest": (
            geometry.without_dimensions(positive, dimensions),
            geometry.without_dimensions(negative, dimensions),
        ),
    }
    forms = {
        name: profiles(*pair, lab, name, config.n_permutations, config.n_resamples)
        for name, pair in chosen.items()
    }
    share = geometry.largest_share(torch.cat([positive, negative])).numpy()
    n = (len(positive), len(negative))
    estimates = all_estimates(forms, sites, n, share)
    by_name = {estimate.name: estimate for estimate in estimates}
    return Result(estimates, tables(forms, sites, n), observation(by_name, sites, forms))


def choose(texts: tuple[str, ...], n: int | None, rng: np.random.Generator) -> list[str]:
    """n texts at random in their own order; all where n is None or there are no more."""
    if n is None or n >= len(texts):
        return list(texts)
    return [texts[i] for i in np.sort(rng.choice(len(texts), n, replace=False))]


def all_estimates(
    forms: Mapping[str, Profiles],
    sites: list[Site],
    n: tuple[int, int],
    largest_share: Float[np.ndarray, " site"],
) -> tuple[Estimate, ...]:
    """Every number of the experiment; those without the largest dimensions have a suffix."""
    depth = np.array([site.depth for site in sites])
    found: list[Estimate] = []
    for form, suffix in FORMS.items():
        found += cosine_estimates(forms[form], depth, suffix, sum(n))
        found += separation_estimates(forms[form], suffix, sum(n))
        found += slope_estimates(forms[form], depth, suffix, n)
    for name, size in zip(CLASSES, n, strict=True):
        found.append(last_variance(forms["all"], name, size))
    found.append(Estimate("largest_dimension.share.maximum", float(largest_share.max()), n=sum(n)))
    return tuple(found)


def cosine_estimates(
    form: Profiles, depth: Float[np.ndarray, " site"], suffix: str, n: int
) -> list[Estimate]:
    """Minimum of the cosine, largest excess of 1 - cosine, and its fall from early to late."""
    excess = excess_of(form)
    cosine = form.true["cosine"]
    at, peak = int(np.argmin(cosine)), int(np.argmax(excess.value))
    is_deep = depth >= np.median(depth)
    fall, null_fall, drawn_fall = (
        late_minus_early(values, is_deep)
        for values in (excess.value, excess.null, 1 - form.bootstrapped["cosine"])
    )
    minimum_null = stats.null_interval(form.permuted["cosine"][:, at])
    largest_null = stats.null_interval(excess.null.max(axis=1))
    return [
        normal_estimate(
            f"cosine.minimum{suffix}", cosine[at], excess.error[at], minimum_null, excess.p[at], n
        ),
        normal_estimate(
            f"cosine.excess.maximum{suffix}",
            excess.value[peak],
            excess.error[peak],
            largest_null,
            excess.p[peak],
            n,
        ),
        normal_estimate(
            f"cosine.fall{suffix}",
            float(fall),
            drawn_fall.std(ddof=1),
            stats.null_interval(null_fall),
            stats.permutation_p(float(fall), null_fall),
            n,
        ),
    ]


def late_minus_early(
    values: Float[np.ndarray, "*draw site"], is_deep: np.ndarray
) -> Float[np.ndarray, "*draw"]:
    """Mean over the deeper half of the sites minus mean over the shallower half."""
    return values[..., is_deep].mean(axis=-1) - values[..., ~is_deep].mean(axis=-1)


def normal_estimate(
    name: str, value: float, error: float, null: tuple[float, float], p: float, n: int
) -> Estimate:
    """Estimate -+ 1.96 standard errors; see the module for why not the percentiles."""
    interval = stats.Interval(value, value - 1.96 * error, value + 1.96 * error, n)
    return with_interval(name, interval, null, p)


def with_interval(
    name: str, interval: stats.Interval, null: tuple[float, float], p: float, unit: str = ""
) -> Estimate:
    """Estimate from its interval and its null; plain floats, so that JSON holds them."""
    return Estimate(
        name,
        float(interval.value),
        float(interval.low),
        float(interval.high),
        float(null[0]),
        float(null[1]),
        interval.n,
        float(p),
        stats.minimum_detectable_effect_interval(interval),
        unit,
    )


def separation_estimates(form: Profiles, suffix: str, n: int) -> list[Estimate]:
    """The hidden forms at the site where each is strongest; p by the maximum statistic."""
    found = []
    for name, key, sign in (
        ("fisher.maximum", "fisher", 1.0),
        ("cosine_without_common_mean.minimum", "rest_cosine", -1.0),
    ):
        values, null = sign * form.true[key], sign * form.permuted[key]
        varies = np.isfinite(values)
        values, null = values[varies], null[:, varies]
        best = int(np.argmax(values))
        low, high = sorted(sign * limit for limit in stats.null_interval(null.max(axis=1)))
        p = stats.max_statistic_p(values, null)[best]
        found.append(
            Estimate(
                f"{name}{suffix}",
                float(sign * values[best]),
                null_low=low,
                null_high=high,
                n=n,
                p=float(p),
            )
        )
    return found


def slope_estimates(
    form: Profiles, depth: Float[np.ndarray, " site"], suffix: str, n: tuple[int, int]
) -> list[Estimate]:
    """Growth per block of the share of the squared norm that varies, for each class."""
    found = []
    for name, key, size in zip(CLASSES, ("share_positive", "share_negative"), n, strict=True):
        varies = form.true[key] > SMALLEST_SHARE
        share, at = form.true[key][varies], depth[varies]
        slopes = geometry.log_slope(form.bootstrapped[key][:, varies], at)
        low, high = stats.null_interval(slopes)
        interval = stats.Interval(float(geometry.log_slope(share, at)), low, high, size)
        shifted = np.stack([np.roll(share, shift) for shift in range(1, len(share))])
        null = stats.null_interval(geometry.log_slope(shifted, at))
        p = stats.circular_shift_spearman(at, share)[1]
        estimate = with_interval(f"variance_slope.{name}{suffix}", interval, null, p, "per block")
        found.append(estimate)
    return found


def last_variance(form: Profiles, name: str, n: int) -> Estimate:
    """Mean variance of one class at the last site."""
    key = f"variance_{'positive' if name == 'harmful' else 'negative'}"
    low, high = stats.null_interval(form.bootstrapped[key][:, -1])
    return Estimate(f"mean_variance.{name}.last", float(form.true[key][-1]), low, high, n=n)


def observation(
    estimates: Mapping[str, Estimate], sites: list[Site], forms: Mapping[str, Profiles]
) -> str:
    """What was found, in numbers."""
    at = sites[int(np.argmin(forms["all"].true["cosine"]))]
    harmful, harmless = (estimates[f"variance_slope.{name}"] for name in CLASSES)
    excess = estimates["cosine.excess.maximum"]
    share = estimates["largest_dimension.share.maximum"].value
    reduced = [estimates[f"variance_slope.{name}.without_largest"] for name in CLASSES]
    return (
        f"The cosine of the class means is smallest at {at}: {estimates['cosine.minimum']}. The "
        f"largest excess of 1 - cosine over permuted labels is {excess} (p = {excess.p:.3g}, "
        f"corrected over sites); it is larger in the deeper half of the sites by "
        f"{estimates['cosine.fall']}. The logarithm of the share of the squared norm that varies "
        f"over prompts changes by {harmful} (harmful) and {harmless} (harmless). One dimension "
        f"holds up to {share:.0%} of the mean's squared norm; without the {N_LARGEST} largest the "
        f"cosine falls to {estimates['cosine.minimum.without_largest']} and the slopes are "
        f"{reduced[0]} and {reduced[1]}."
    )
