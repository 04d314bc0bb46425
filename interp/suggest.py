"""Ends an error message about an unknown name with the nearest known ones."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'? Known: ..." for the known name nearest to `name`, "" knowing none."""
    choices = list(known)
    close = get_close_matches(name.lower(), choices, n=1, cutoff=0.4)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    listed = f" Known: {', '.join(choices)}." if choices else ""
    return f"{guess}{listed}"
