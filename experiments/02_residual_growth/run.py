"""The method of 02_residual_growth; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result

from .estimates import all_estimates
from .measure import measure
from .protocol import RANK, Config


def run(config: Config, lab: Lab) -> Result:
    """Capture states between blocks; fit laws, subspaces; compare weights; project and repeat."""
    found = all_estimates(config, lab, measure(config, lab))
    tables = {name: pd.concat(rows, ignore_index=True) for name, rows in found.tables.items()}
    named = {one.name: one for one in found.estimates}
    return Result(tuple(found.estimates), tables, observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """What was found, in numbers."""
    return (
        f"Extrapolated to the last third of the blocks, the exponential misses ln variance by "
        f"{e['variance.error']}, less than the best rival by {e['variance.better']}; ln norm by "
        f"{e['norm.error']}, less by {e['norm.better']}. The norm starts at {e['start.norm']} of "
        f"that at the end ({e['start.norm.without_largest']} without the largest dimensions). "
        f"Without them the quartiles of the steps differ by a factor of {e['steps.quartiles']}. "
        f"Rank {RANK} of even layers explains {e['shared.growth']} of the growth on odd layers "
        f"({e['shared.growth.without_largest']} without the largest dimensions; "
        f"{e['shared.growth.with_mean']} of the growth of the squared norm). Output matrices "
        f"overlap between layers {e['weights.attention']} (attention), {e['weights.mlp']} (MLP), "
        f"with the growth's subspace {e['weights.activations']}. Projecting that out takes away "
        f"{e['taken.shared']} of the growth, private subspaces {e['taken.private']}."
    )
