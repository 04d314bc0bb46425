"""Tables of experiment 01: one per figure, one row per site, panel and class."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from interp.sites import Site

from .measure import FORMS, Excess, Profiles, excess_of
from .protocol import CLASSES, SMALLEST_SHARE


def tables(
    forms: Mapping[str, Profiles], sites: list[Site], n: tuple[int, int]
) -> dict[str, pd.DataFrame]:
    """One table per figure: one row per site, panel and class."""
    places = pd.DataFrame(
        {
            "site": [str(site) for site in sites],
            "stream": [site.stream for site in sites],
            "depth": [site.depth for site in sites],
            "n_harmful": n[0],
            "n_harmless": n[1],
        }
    )
    separation = [rows for form in FORMS for rows in separation_rows(places, forms[form], form)]
    return {
        "profiles": pd.concat(profile_rows(places, forms["all"]), ignore_index=True),
        "permutation": pd.concat(
            [excess_rows(places, excess_of(forms[form]), form) for form in FORMS],
            ignore_index=True,
        ),
        "separation": pd.concat(separation, ignore_index=True),
        "without_largest": pd.concat(
            profile_rows(places, forms["without_largest"]), ignore_index=True
        ),
    }


def profile_rows(places: pd.DataFrame, form: Profiles) -> list[pd.DataFrame]:
    """The notes' three graphs, and the share of the norm that varies."""
    cosine, permuted = form.true["cosine"], form.permuted["cosine"]
    error = 1.96 * form.bootstrapped["cosine"].std(axis=0, ddof=1)
    null_low, null_high = np.percentile(permuted, [2.5, 97.5], axis=0)
    rows = [
        places.assign(
            panel="cosine",
            group="both",
            value=cosine,
            low=cosine - error,
            high=np.minimum(cosine + error, 1.0),
            null_low=null_low,
            null_high=null_high,
        )
    ]
    for name, side in zip(CLASSES, ("positive", "negative"), strict=True):
        varies = form.true[f"share_{side}"] > SMALLEST_SHARE
        for panel, key in (("mean_variance", "variance"), ("share", "share")):
            low, high = np.percentile(form.bootstrapped[f"{key}_{side}"], [2.5, 97.5], axis=0)
            value = form.true[f"{key}_{side}"]
            limits = {"value": value, "low": low, "high": high}
            limits = {
                column: np.where(varies, numbers, np.nan) for column, numbers in limits.items()
            }
            rows.append(places.assign(panel=panel, group=name, **limits))
        largest = np.where(varies, form.largest_variance[name], np.nan)
        rows.append(places.assign(panel="max_variance", group=name, value=largest))
    return rows


def excess_rows(places: pd.DataFrame, excess: Excess, form: str) -> pd.DataFrame:
    """Excess of 1 - cosine with its null, per site."""
    null_low, null_high = np.percentile(excess.null, [2.5, 97.5], axis=0)
    return places.assign(
        panel=form,
        value=excess.value,
        low=excess.value - 1.96 * excess.error,
        high=excess.value + 1.96 * excess.error,
        null_low=null_low,
        null_high=null_high,
        p=excess.p,
        threshold=excess.threshold,
    )


def separation_rows(places: pd.DataFrame, form: Profiles, name: str) -> list[pd.DataFrame]:
    """What the raw cosine hides, per site: its form without the common mean, and Fisher's ratio."""
    rows = []
    for key in ("rest_cosine", "fisher"):
        low, high = np.percentile(form.permuted[key], [2.5, 97.5], axis=0)
        value = form.true[key]
        rows.append(places.assign(panel=key, group=name, value=value, null_low=low, null_high=high))
    return rows
