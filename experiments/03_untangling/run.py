"""The method of 03_untangling; protocol.py has the question and the criteria."""

from collections.abc import Iterator, Mapping

import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.halves import Profiles
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.spacing import spaced
from interp.curvature.intrinsic import beside_gaussians

from .estimates import estimates, tables
from .measure import States, measure
from .protocol import SETS, Config


def run(config: Config, lab: Lab) -> Result:
    """Capture both sets with trained and random weights; measure every site on random halves."""
    found, states = measure(config, lab)
    named = {one.name: one for one in estimates(found)}
    trained = [(name, found[name, "trained"], states[name, "trained"]) for name in SETS]
    rows = [row for one in trained for row in dimensions(config, lab, *one)]
    shown = tables(found) | {"dimension": pd.DataFrame(rows)}
    return Result(tuple(named.values()), shown, observation(named))


def dimensions(
    config: Config, lab: Lab, name: str, own: Profiles, states: States
) -> Iterator[dict[str, object]]:
    """Intrinsic dimension of harmful prompts at a few sites; a twin would be each one's nearest."""
    for i in spaced(range(len(own.sites)), config.n_dimensions):
        site, here = own.sites[i], states[: own.n, i].double().numpy()
        rng = lab.rng(f"gaussians {name} {site}")
        where = {"site": str(site), "depth": site.depth, "n": own.n, "group": name}
        for kind, value, (low, high) in beside_gaussians(here, config.n_gaussians, rng):
            yield where | {"panel": kind, "value": value, "null_low": low, "null_high": high}


def observation(e: Mapping[str, Estimate]) -> str:
    """What was found, in numbers."""
    return " ".join(
        f"{name.capitalize()}, first to last third of the depth: error of the linear rule "
        f"{e[f'{name}.linear.first']} to {e[f'{name}.linear.last']}, of the nearest neighbour "
        f"{e[f'{name}.nearest.first']} to {e[f'{name}.nearest.last']}; distance over norm grows by "
        f"{e[f'{name}.distance.growth']}, {e[f'{name}.distance.growth.over_untrained']} more than "
        f"with random weights; cosine within a class falls by {e[f'{name}.cosine.fall']}."
        for name in SETS
    )
