"""Tables of experiment 01: one row per site, panel and class."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from interp.class_profiles import ClassProfiles
from interp.stats import interval_columns

from .measure import FORMS, Source, strongest
from .protocol import CLASSES, CONTROLS, POSITIONS, SMALLEST_SHARE

PANELS = {"mean_variance": "variance", "max_variance": "largest_variance", "share": "share"}


def tables(found: Mapping[Source, ClassProfiles]) -> dict[str, pd.DataFrame]:
    """The notes' graphs at both positions, and what they hide."""
    at_last, varying = (found["harmful", position, "all"] for position in POSITIONS)
    without = found["harmful", "last", "without_largest"]
    parts = {
        "profiles": profile_rows(at_last),
        "instruction": profile_rows(varying),
        "without_largest": profile_rows(without),
        "excess": (
            excess_rows(strongest(found, source, position, FORMS[0]), position, source)
            for position in POSITIONS
            for source in ("harmful", *CONTROLS)
        ),
        "common_mean": (
            rest_rows(found["harmful", position, form], position, form)
            for position in POSITIONS
            for form in FORMS
        ),
    }
    return {name: pd.concat(rows, ignore_index=True) for name, rows in parts.items()}


def places(own: ClassProfiles) -> pd.DataFrame:
    """The columns that every table has, one row per site."""
    where = [(str(site), site.stream, site.depth) for site in own.sites]
    table = pd.DataFrame(where, columns=["site", "stream", "depth"])
    return table.assign(n_harmful=own.n[0], n_harmless=own.n[1])


def profile_rows(own: ClassProfiles) -> Iterator[pd.DataFrame]:
    """The notes' three graphs, and the share of the norm that varies."""
    cosine, error = own.true["cosine"], 1.96 * own.error
    ends = {"low": cosine - error, "high": np.minimum(cosine + error, 1.0)}
    null = interval_columns(own.permuted["cosine"], "null_")
    yield places(own).assign(panel="cosine", group="both", value=cosine, **ends, **null)
    for name, side in CLASSES.items():
        varies = own.true[f"share_{side}"] > SMALLEST_SHARE
        for panel, key in PANELS.items():
            columns = {"value": own.true[f"{key}_{side}"]}
            if panel != "max_variance":
                columns |= interval_columns(own.bootstrapped[f"{key}_{side}"])
            shown = {column: np.where(varies, of, np.nan) for column, of in columns.items()}
            yield places(own).assign(panel=panel, group=name, **shown)


def excess_rows(own: ClassProfiles, position: str, source: str) -> pd.DataFrame:
    """Excess of 1 - cosine over permuted labels, per site."""
    excess, error = own.true["excess"], 1.96 * own.error
    columns = {"value": excess, "low": excess - error, "high": excess + error, "p": own.p}
    return places(own).assign(panel=position, group=source, **columns)


def rest_rows(own: ClassProfiles, position: str, form: str) -> pd.DataFrame:
    """The cosine without the common mean, per site."""
    null = interval_columns(own.permuted["rest_cosine"], "null_")
    value = own.true["rest_cosine"]
    return places(own).assign(panel=position, group=form, value=value, **null)
