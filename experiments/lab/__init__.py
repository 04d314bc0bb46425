"""What a hypothesis works with; names are loaded when they are first used.

`protocol.py` imports only what is light from here: Claim, decide, ExperimentConfig, the types of
settings, Estimate.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.lab.claims import Claim, Verdict, decide
    from experiments.lab.config import (
        Count,
        CountOrZero,
        ExperimentConfig,
        Negative,
        Several,
        Share,
    )
    from experiments.lab.estimate import Estimate, number
    from experiments.lab.lab import Lab
    from experiments.lab.meter import BASE, Edit, Meter
    from experiments.lab.results import Result
    from experiments.lab.selection import select_direction

_FACE = {
    "BASE": "experiments.lab.meter",
    "Claim": "experiments.lab.claims",
    "Count": "experiments.lab.config",
    "CountOrZero": "experiments.lab.config",
    "Edit": "experiments.lab.meter",
    "Estimate": "experiments.lab.estimate",
    "ExperimentConfig": "experiments.lab.config",
    "Lab": "experiments.lab.lab",
    "Meter": "experiments.lab.meter",
    "Negative": "experiments.lab.config",
    "Result": "experiments.lab.results",
    "Several": "experiments.lab.config",
    "Share": "experiments.lab.config",
    "Verdict": "experiments.lab.claims",
    "decide": "experiments.lab.claims",
    "number": "experiments.lab.estimate",
    "select_direction": "experiments.lab.selection",
}
__all__ = [*_FACE]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'experiments.lab' has no attribute '{name}'")
    return getattr(import_module(_FACE[name]), name)
