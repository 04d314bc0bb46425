"""What an experiment says of a planted world, as the tests of every experiment ask it."""

from collections.abc import Mapping

from experiments.command.calibrate import judged_in
from experiments.harness.registry import Experiment
from experiments.lab.estimate import Estimate
from experiments.lab.worlds import World


def supported_in(experiment: Experiment, world: World, draw: int) -> dict[str, bool]:
    """Whether each claim that the world says something about is supported in one draw of it."""
    found = judged_in(experiment, world, draw)
    return {key: found[key] == "supported" for key in world.truth}


def estimates_within(
    limits: Mapping[str, tuple[float, float]], changed: Mapping[str, tuple[float, float]], n: int
) -> dict[str, Estimate]:
    """Estimates by name with these intervals; in the names of changed ones __ stands for a dot."""
    named = {**limits, **{name.replace("__", "."): pair for name, pair in changed.items()}}
    return {name: Estimate(name, sum(pair) / 2, *pair, n=n) for name, pair in named.items()}
