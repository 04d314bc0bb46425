"""Experiments: one numbered folder, or file, per hypothesis, and what runs, saves and shows them.

`run` is `interp run` for Python. Notebooks import `show`, `about`, `figure`, `estimates` and
`observation`. All are loaded when first asked for, so that the command line starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.harness.run import run
    from experiments.notebook import about, estimates, figure, observation, show

__all__ = ["about", "estimates", "figure", "observation", "run", "show"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'experiments' has no attribute '{name}'")
    module = "harness.run" if name == "run" else "notebook"
    return getattr(import_module(f"experiments.{module}"), name)
