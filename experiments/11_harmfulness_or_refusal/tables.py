"""From the measurements of experiment 11 to the tables that figures are drawn from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.partial_effects import Panel
from interp.sites import Site

from .estimates import STEERED
from .measure import POSITIONS


def with_projections(prompts: pd.DataFrame, panel: Panel, sites: Sequence[Site]) -> pd.DataFrame:
    """Beside every prompt its projections, standardised within its source: "template at 12.pre"."""
    found = panel.projections(np.ones(len(prompts)))
    columns = {f"{position} at {site}": found[i, j]
               for i, site in enumerate(sites) for j, position in enumerate(POSITIONS)}  # fmt: skip
    return prompts.assign(**columns)


def effects_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """Partial effects: `label` is the position, `group` what has the effect."""
    named = {one.name: one for one in found}
    keys = [(position, what) for position in POSITIONS for what in ("harm", "refusal")]
    return _rows([(position, what, named[f"{what}.{position}"]) for position, what in keys])


def inversion_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """How often the unsteered model's word on harm is right, per class."""
    named = {one.name: one for one in found}
    return _rows([(side, "accuracy", named[f"inversion.right.{side}"])
                  for side in ("harmful", "harmless")])  # fmt: skip


def steering_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """What the directions move, over the gap."""
    named = {one.name: one for one in found}
    keys = [(measure, name) for measure in STEERED for name in ("harm", "refusal")]
    return _rows([(measure, name, named[f"{measure}.by_{name}"]) for measure, name in keys])


def _rows(rows: Sequence[tuple[str, str, Estimate]]) -> pd.DataFrame:
    return pd.DataFrame([
        {"label": label, "group": group, "value": one.value, "low": one.low, "high": one.high,
         "n": one.n}
        for label, group, one in rows
    ])  # fmt: skip
