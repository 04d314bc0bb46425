"""The method of 03_untangling; protocol.py has the question and the criteria."""

from collections.abc import Iterator, Mapping

import pandas as pd
import torch

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.spacing import spaced
from interp.curvature.intrinsic import beside_gaussians

from .estimates import estimates, tables
from .measure import Profiles, Source, measure
from .protocol import SETS, Config


def run(config: Config, lab: Lab) -> Result:
    """Capture both sets with trained and random weights; measure every site on random halves."""
    found = measure(config, lab)
    named = {one.name: one for one in estimates(found)}
    dimension = pd.DataFrame(list(dimensions(config, lab, found)))
    shown = tables(found) | {"dimension": dimension}
    return Result(tuple(named.values()), shown, observation(named))


def dimensions(
    config: Config, lab: Lab, found: Mapping[Source, Profiles]
) -> Iterator[dict[str, object]]:
    """Intrinsic dimension at a few sites, of states minus their class mean."""
    for name in SETS:
        own = found[name, "trained"]
        for site in spaced(own.sites, config.n_dimensions):
            classes = own.states[:, own.sites.index(site)].double().chunk(2)
            states = torch.cat([one - one.mean(0) for one in classes]).numpy()
            rng = lab.rng(f"gaussians {name} {site}")
            where = {"site": str(site), "depth": site.depth, "n": own.n, "group": name}
            for kind, value, (low, high) in beside_gaussians(states, config.n_gaussians, rng):
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
