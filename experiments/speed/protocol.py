"""How fast is the engine beside plain ways of doing the same, and how far from the least work?

No hypothesis about models: `run all` and the tables of verdicts leave it out. Both sides are timed
in turns on the same machine, prompts, batch and dtype. The bounds are those of `bounds`,
computed from the run's own lengths and the model's own weights. Targets are judged on the first
baseline of each work.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Verdict
from experiments.lab.config import Count, ExperimentConfig
from experiments.lab.estimate import Estimate


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Speed of the engine beside plain baselines."""

    n_prompts: Count = 32  # prompts of a batch
    repeats: Count = 3  # of which the median counts
    n_layers: Count | None = 4  # layers of one-layer interventions, evenly spaced; none: all
    n_windows: Count = 3  # windows of layers, evenly spaced
    n_candidates: Count = 2  # candidate directions timed, evenly spaced, and scaled up to all
    n_new_tokens: Count = 48  # tokens generated per prompt
    n_streamed: Count = 1000  # prompts of the streaming statistics
    n_streamed_beside: Count = 100  # prompts of those that their memory is held against
    matrix_size: Count = 2048  # rows and columns of the matrices whose product is the peak
    peers: bool = False  # also time other libraries, installed from the package index for the run


CLAIMS = ()
SPEED_UP = "times faster"
RATE = "of the matrix-product peak"

_SHARED = {"capture": 0.65, "generate": 1.05, "memory": 1.05, "rate": 0.75}
TARGETS: Mapping[str, Mapping[str, float]] = {
    "qwen2.5-coder-0.5b": {**_SHARED, "ablate": 2.5, "add": 4.5, "select": 3.0, "transfer": 4.5},
    "smollm2-135m": {**_SHARED, "ablate": 2.2, "add": 4.0, "select": 2.7, "transfer": 4.0},
}
AT_LEAST = (SPEED_UP, RATE)  # units of which more is better; of the others, less is

MINUTES = {"smoke": 0.3, "quick": 3, "full": 30}
PRESETS = {
    "smoke": Config(
        n_prompts=4,
        repeats=1,
        n_layers=2,
        n_candidates=1,
        n_new_tokens=4,
        n_streamed=16,
        n_streamed_beside=8,
        matrix_size=128,
    ),
    "quick": Config(),
    "full": Config(n_layers=None, n_windows=6, n_candidates=8, n_streamed=10_000, matrix_size=4096),
}


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """A benchmark claims nothing."""
    return {}
