"""Tables of experiment 01: one per figure, one row per site, panel and class."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from interp.stats import interval_columns

from .measure import FORMS, Profiles
from .protocol import CLASSES, SIGNIFICANCE, SMALLEST_SHARE

PANELS = {"mean_variance": "variance", "share": "share", "max_variance": "largest_variance"}


def tables(forms: Mapping[str, Profiles]) -> dict[str, pd.DataFrame]:
    """One table per figure: one row per site, panel and class."""
    parts = {
        "profiles": profile_rows(forms["all"]),
        "permutation": (excess_rows(forms[form], form) for form in FORMS),
        "separation": (row for form in FORMS for row in separation_rows(forms[form], form)),
        "without_largest": profile_rows(forms["without_largest"]),
    }
    return {name: pd.concat(rows, ignore_index=True) for name, rows in parts.items()}


def places(form: Profiles) -> pd.DataFrame:
    """The columns that every table has, one row per site."""
    where = [(str(site), site.stream, site.depth) for site in form.sites]
    table = pd.DataFrame(where, columns=["site", "stream", "depth"])
    return table.assign(n_harmful=form.n[0], n_harmless=form.n[1])


def profile_rows(form: Profiles) -> Iterator[pd.DataFrame]:
    """The notes' three graphs, and the share of the norm that varies."""
    cosine, error = form.true["cosine"], 1.96 * form.error
    ends = {"low": cosine - error, "high": np.minimum(cosine + error, 1.0)}
    null = interval_columns(form.permuted["cosine"], "null_")
    yield places(form).assign(panel="cosine", group="both", value=cosine, **ends, **null)
    for name, side in CLASSES.items():
        varies = form.true[f"share_{side}"] > SMALLEST_SHARE
        for panel, key in PANELS.items():
            columns = {"value": form.true[f"{key}_{side}"]}
            if panel != "max_variance":
                columns |= interval_columns(form.bootstrapped[f"{key}_{side}"])
            shown = {column: np.where(varies, of, np.nan) for column, of in columns.items()}
            yield places(form).assign(panel=panel, group=name, **shown)


def excess_rows(form: Profiles, name: str) -> pd.DataFrame:
    """Excess of 1 - cosine with its null, per site; `threshold` is the 5% level over all sites."""
    excess, error, null = form.true["excess"], 1.96 * form.error, form.permuted["excess"]
    threshold = float(np.quantile(null.max(axis=1), 1 - SIGNIFICANCE))
    ends = {"low": excess - error, "high": excess + error, **interval_columns(null, "null_")}
    return places(form).assign(panel=name, value=excess, **ends, p=form.p, threshold=threshold)


def separation_rows(form: Profiles, name: str) -> Iterator[pd.DataFrame]:
    """What the raw cosine hides, per site: its form without the common mean, and Fisher's ratio."""
    for key in ("rest_cosine", "fisher"):
        null = interval_columns(form.permuted[key], "null_")
        yield places(form).assign(panel=key, group=name, value=form.true[key], **null)
