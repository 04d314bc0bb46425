"""The method of 01_layer_profiles; protocol.py has the question and the criteria."""

from collections.abc import Mapping

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result

from .estimates import estimates
from .measure import measure
from .protocol import CLASSES, HALVES, N_LARGEST, POSITIONS, Config
from .tables import tables


def run(config: Config, lab: Lab) -> Result:
    """Capture both classes and the controls; resample at every site."""
    found = measure(config, lab)
    named = {one.name: one for one in estimates(found)}
    return Result(tuple(named.values()), tables(found), observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """What was found, in numbers."""
    parts = [
        f"At the {position.replace('_', ' ')} token the cosine falls to {e[f'{position}.minimum']}"
        f" (without the {N_LARGEST} largest dimensions "
        f"{e[f'{position}.minimum.without_largest']}); its excess over permuted labels is larger "
        f"in the deeper half by {e[f'{position}.fall']}, for two harmless topics by "
        f"{e[f'{position}.fall.topics']}, with random weights by {e[f'{position}.fall.untrained']}."
        for position in POSITIONS
    ]
    slopes = [f"{e[f'slope.{name}.{half}']} ({name}, {half} half)"
              for name in CLASSES for half in HALVES]  # fmt: skip
    parts.append(f"ln of the share of the norm that varies changes by {', '.join(slopes)}.")
    parts.append(f"At {e['streams.outside']} the variance at mid lies outside that at pre.")
    return " ".join(parts)
