"""Experiment 04, meaning (a): the flatness test at every site and class, and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.curvature.flatness import (
    SHAPES,
    Draws,
    FlatnessSettings,
    all_draws,
    assess,
    overall_status,
    shape_status,
)
from interp.curvature.holonomy import principal_components
from interp.curvature.measures import VOTING
from interp.sites import Site
from interp.stats import null_interval, wilson

REPORTED = (*VOTING, "sphere_radius", "hyperbolic_radius", "twonn")
CLASSES = ("harmful", "harmless")


@dataclass(frozen=True)
class Cell:
    """One site and class: how many distinct states it had, the draws, and their assessment."""

    site: Site
    group: str
    n: int
    draws: Draws
    assessment: pd.DataFrame

    @property
    def status(self) -> str:
        """within, outside or inconclusive."""
        return overall_status(self.assessment)


def distinct_states(
    states: Float[np.ndarray, "sample d_model"], least_variance: float
) -> Float[np.ndarray, "distinct dimension"] | None:
    """Principal components of the distinct states; None where states do not vary at all.

    The template's last token is the same in every prompt, so its state before the first attention
    does not depend on the prompt: it is no manifold, and is left out.
    """
    rows = np.unique(np.asarray(states, dtype=np.float64), axis=0)
    spread = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()
    if spread <= least_variance * (rows**2).sum(axis=1).mean():
        return None
    return principal_components(rows, len(rows) - 1)


def measure_cell(
    lab: Lab,
    site: Site,
    group: str,
    states: Float[np.ndarray, "sample d_model"],
    settings: FlatnessSettings,
    workers: int,
) -> Cell | None:
    """All draws of one site and class, saved as soon as measured."""
    coordinates = distinct_states(states, least_variance=1e-10)
    if coordinates is None:
        return None
    seed = int(lab.rng(f"curvature {site} {group}").integers(2**31))
    draws = lab.cell(
        f"curvature {site} {group}", lambda: all_draws(coordinates, settings, seed, workers)
    )
    return Cell(site, group, len(coordinates), draws, assess(draws))


def measure_cells(
    lab: Lab,
    sites: Sequence[Site],
    with_ollivier: Sequence[Site],
    prompts: Mapping[str, Sequence[str]],
    settings: FlatnessSettings,
    workers: int,
) -> list[Cell]:
    """Every site and class; Ollivier curvature and trees at the sites `with_ollivier` only."""
    states = {group: lab.activations(texts, sites)[:, :, 0] for group, texts in prompts.items()}
    wanted = [(i, site, group) for i, site in enumerate(sites) for group in prompts]
    cells = []
    for index, site, group in lab.progress(wanted, "curvature"):
        extra = site in with_ollivier
        its_settings = replace(settings, ollivier=extra, tree=extra)
        found = measure_cell(
            lab, site, group, states[group][:, index].double().numpy(), its_settings, workers
        )
        if found is not None:
            cells.append(found)
    return cells


def half_interval(value: float, halves: Sequence[float]) -> tuple[float, float]:
    """95% interval from random halves drawn without replacement.

    A half's spread about the halves' median is that of the whole sample (Shao and Wu 1989, the
    delete-half jackknife); their median itself is not used, since half a sample is biased.
    """
    low, high = np.percentile(np.asarray(halves) - np.median(halves), [2.5, 97.5])
    return value + float(low), value + float(high)


def profile_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every estimator at every site and class, with its interval, both nulls and planted means."""
    rows = []
    for cell in cells:
        for name in (name for name in REPORTED if name in cell.draws["data"]):
            value = cell.draws["data"][name][0]
            low, high = half_interval(value, cell.draws["halves"][name])
            null = null_interval(np.asarray(cell.draws["rotated"][name]))
            mixture = null_interval(np.asarray(cell.draws["clustered"][name]))
            rows.append(
                {
                    "site": str(cell.site),
                    "depth": cell.site.depth,
                    "class": cell.group,
                    "estimator": name,
                    "value": value,
                    "low": low,
                    "high": high,
                    "null_low": null[0],
                    "null_high": null[1],
                    "mixture_low": mixture[0],
                    "mixture_high": mixture[1],
                    **{shape: float(np.mean(cell.draws[shape][name])) for shape in SHAPES},
                    "n": cell.n,
                }
            )
    return pd.DataFrame(rows)


def assessment_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Power, p-values and status of every estimator and shape, at every site and class."""
    parts = [
        cell.assessment.assign(site=str(cell.site), depth=cell.site.depth, group=cell.group)
        for cell in cells
    ]
    table = pd.concat(parts, ignore_index=True).rename(columns={"group": "class"})
    return table.assign(cell_status=np.repeat([c.status for c in cells], [len(p) for p in parts]))


def calibration_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Single draws of every space and of the data, at the middle site that has trees."""
    complete = [cell for cell in cells if "tree" in cell.draws]
    middle = sorted({cell.site for cell in complete})[len({c.site for c in complete}) // 2]
    spaces = {
        "data": "data",
        "rotated": "flat (rotated)",
        "clustered": "flat (mixture)",
        "sphere": "sphere",
        "hyperbolic": "hyperbolic",
        "tree": "tree",
    }
    rows = [
        {"site": str(middle), "n": cell.n, "class": cell.group, "space": space}
        | {"estimator": name, "value": value}
        for cell in complete
        if cell.site == middle
        for kind, space in spaces.items()
        for name in REPORTED
        for value in cell.draws[kind][name]
    ]
    return pd.DataFrame(rows)


def share_estimate(name: str, holds: Sequence[bool]) -> Estimate:
    """Share of cells, with Wilson's interval: too narrow where neighbouring layers agree.

    It has no null: what flat data give is bounded by the test's level, not known.
    """
    share = wilson(sum(holds), len(holds))
    return Estimate(name, share.value, share.low, share.high, n=len(holds), unit="of cells")


def manifold_estimates(cells: Sequence[Cell]) -> list[Estimate]:
    """Shares of cells, median power, and each estimator averaged over sites."""
    statuses = {"": [cell.status for cell in cells]} | {
        f".{shape}": [shape_status(cell.assessment, shape) for cell in cells] for shape in SHAPES
    }
    estimates = [
        share_estimate(f"manifold.cells.{status}{suffix}", [s == status for s in found])
        for suffix, found in statuses.items()
        for status in ("within", "outside")
    ]
    for shape in SHAPES:
        best = [c.assessment[c.assessment["shape"] == shape]["power"].max() for c in cells]
        low, high = np.percentile(best, [2.5, 97.5])
        estimates.append(
            Estimate(
                f"manifold.power.{shape}", float(np.median(best)), float(low), float(high),
                n=len(cells), unit="of draws",
            )
        )  # fmt: skip
    profile = profile_table(cells)
    for group in CLASSES:
        for name in REPORTED:
            rows = profile[(profile["class"] == group) & (profile["estimator"] == name)]
            columns = ("value", "low", "high", "null_low", "null_high")
            means = {column: float(rows[column].mean()) for column in columns}
            if len(rows):
                estimates.append(
                    Estimate(f"manifold.{name}.{group}", **means, n=int(rows["n"].min()))
                )
    return estimates
