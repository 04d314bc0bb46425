"""One visual style for every figure, and one function per kind of figure.

Each function takes a tidy table whose columns have fixed names, a title, which is one finding in at
most two lines, and a caption for the rest. It returns a `Figure` that needs no global backend: it
can be saved, and a notebook shows it when it is the value of a cell. Columns `low`, `high`,
`null_low` and `null_high` are drawn as bands or bars when the table has them.
"""

from interp.plots.angles import angles, polar
from interp.plots.answers import answers
from interp.plots.bars import bars
from interp.plots.doses import doses
from interp.plots.heat_maps import matrix
from interp.plots.intervals import intervals
from interp.plots.points import points
from interp.plots.profiles import profiles
from interp.plots.states import states
from interp.plots.strips import strip

__all__ = [
    "angles",
    "answers",
    "bars",
    "doses",
    "intervals",
    "matrix",
    "points",
    "polar",
    "profiles",
    "states",
    "strip",
]
