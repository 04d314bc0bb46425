"""One visual style for every figure, and one function per kind of figure.

Each function takes a tidy table and the names of its columns and returns a `Figure` that needs no
global backend: it can be saved, and a notebook shows it when it is the value of a cell. Columns
`low`, `high`, `null_low` and `null_high` are drawn as bands or bars when the table has them.
"""

from interp.plots.angles import angle_curve
from interp.plots.bars import bars_beside_marks
from interp.plots.doses import dose_response
from interp.plots.heat_maps import matrix
from interp.plots.intervals import rates
from interp.plots.points import scatter
from interp.plots.profiles import paired_profiles, profile_over_layers
from interp.plots.strips import null_strip

__all__ = [
    "angle_curve",
    "bars_beside_marks",
    "dose_response",
    "matrix",
    "null_strip",
    "paired_profiles",
    "profile_over_layers",
    "rates",
    "scatter",
]
