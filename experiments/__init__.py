"""Experiments: one numbered file per hypothesis, and what runs, saves and shows them.

Notebooks import `show`, `about`, `figure`, `estimates` and `observation` from here; they are loaded
when first asked for, so that the command line starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.notebooks import about, estimates, figure, observation, show

__all__ = ["about", "estimates", "figure", "observation", "show"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'experiments' has no attribute '{name}'")
    from experiments import notebooks

    return getattr(notebooks, name)
