"""The method of 07_layer_choice; protocol.py has the question and the criteria."""

from experiments.lab.lab import Lab
from experiments.lab.results import Result

from . import estimates, measure
from .picks import names
from .protocol import Config


def run(config: Config, lab: Lab) -> Result:
    """Measure every layer for every behaviour, and hold what statistics pick against the best."""
    measured = []
    for name in config.behaviours:
        behaviour = lab.behaviour(name)
        measured.append(measure.layers_of(config, lab.on(behaviour), behaviour))
    found = estimates.all_estimates(measured, names(), config.n_resamples, lab.rng("07.bootstrap"))
    return Result(tuple(found), {}, "")
