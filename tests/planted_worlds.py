"""What an experiment says of a planted world, as the tests of every experiment ask it."""

from experiments.harness.registry import Experiment
from experiments.lab.worlds import World


def supported_in(experiment: Experiment, world: World, draw: int) -> dict[str, bool]:
    """Whether each claim that the world says something about is supported in one draw of it."""
    result = experiment.run(experiment.part("worlds").CONFIG, world.lab(draw))
    found = experiment.judge(result.estimates)
    return {key: found[key] == "supported" for key in world.truth}
