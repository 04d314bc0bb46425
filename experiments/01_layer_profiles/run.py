"""The method of 01_layer_profiles; protocol.py has the question and the criteria."""

from collections.abc import Mapping

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result

from .estimates import estimates
from .measure import measure
from .protocol import CLASSES, HALVES, N_LARGEST, POSITIONS, Config
from .tables import tables

WHERE = {"last": "At the last token", "last_instruction": "At that of the instruction"}


def run(config: Config, lab: Lab) -> Result:
    """Capture both classes and the controls; resample at every site."""
    found = measure(config, lab)
    named = {one.name: one for one in estimates(found)}
    return Result(tuple(named.values()), tables(found), observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """What was found, in numbers."""
    parts = [
        f"{WHERE[position]} the cosine falls to {e[f'{position}.minimum.raw']}, without the "
        f"{N_LARGEST} largest dimensions to {e[f'{position}.minimum']}. Without them its excess "
        f"over permuted labels is larger in the deeper half by {e[f'{position}.fall']}, for the "
        f"most parted of the harmless topics by {e[f'{position}.fall.topics']}, with random "
        f"weights by {e[f'{position}.fall.untrained']}."
        for position in POSITIONS
    ]
    growths = [f"{e[f'growth.{name}.{half}']} ({name}, {half} half)"
              for name in CLASSES for half in HALVES]  # fmt: skip
    parts.append(f"ln of the share of the norm that varies changes by {', '.join(growths)}.")
    parts.append(f"The variance at mid lies off that at pre at {e['streams.apart']}.")
    return " ".join(parts)
