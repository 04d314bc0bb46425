"""Meaning (a): the flatness test at every site and class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from interp.curvature import flatness
from interp.curvature.graph import distinct
from interp.curvature.holonomy import principal_components
from interp.curvature.measures import VOTING
from interp.sites import Site

REPORTED = (*VOTING, "sphere_radius", "hyperbolic_radius", "twonn")


@dataclass(frozen=True)
class Cell:
    """One site and class: how many distinct states it had, the draws, and their assessment."""

    site: Site
    group: str
    n: int
    draws: flatness.Draws
    assessment: pd.DataFrame

    def status(self, shape: str = "") -> flatness.Status:
        """Of one shape, or of all."""
        found = self.assessment
        return flatness.shape_status(found, shape) if shape else flatness.overall_status(found)


def measure_cells(
    lab: Lab,
    sites: Sequence[Site],
    states: Mapping[str, Float[Tensor, "sample site d_model"]],
    settings: flatness.FlatnessSettings,
    with_ollivier: Sequence[Site],
    workers: int,
) -> list[Cell]:
    """Every site and class whose states vary; Ollivier curvature and trees at some sites only."""
    wanted = [(i, site, group) for i, site in enumerate(sites) for group in states]
    cells = []
    for index, site, group in lab.progress(wanted, "curvature"):
        found = distinct(states[group][:, index].double().numpy())
        if found is None:
            continue
        key = f"curvature {site} {group}"
        seed, extra = int(lab.rng(key).integers(2**31)), site in with_ollivier
        here = replace(settings, ollivier=extra, tree=extra)
        coordinates = principal_components(found, len(found) - 1)
        draws = lab.cell(key, partial(flatness.all_draws, coordinates, here, seed, workers))
        cells.append(Cell(site, group, len(found), draws, flatness.assess(draws, here)))
    return cells
