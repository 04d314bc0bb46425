"""What an experiment found: estimates, tables, an observation, and how it came about."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.lab.claims import Verdict
from experiments.lab.estimate import Estimate
from interp.errors import ExperimentError, nearest

if TYPE_CHECKING:
    from interp.directions import Direction


@dataclass(frozen=True)
class RunInfo:
    """How a result came about; filled in by the runner."""

    experiment: str  # NN_name
    claims: tuple[Mapping[str, Any], ...]  # key, notes, statement, criterion, its sha256, ...
    config: Mapping[str, Any]
    preset: str
    style: str
    model: Mapping[str, Any]  # name, sha256, dtype, device, quantisation, tied
    data: tuple[Mapping[str, Any], ...]  # name, sha256, n
    seed: int
    versions: Mapping[str, str]
    revision: str | None  # git revision of the code; ends in "-dirty" with uncommitted changes
    seconds: float
    peak_memory_mb: float
    mechanics: bool  # random weights: shows that the code works, never a finding
    fingerprint: str  # of all that the numbers depend on, but for the data sets
    drawing: str = ""  # hash of the code, that which draws the figures included
    changed: Mapping[str, Any] = field(default_factory=dict)  # settings that are not the preset's
    code: str = ""  # hash of the code that measured; older results do not have it
    behaviour: str = "refusal"  # what was studied; older results are of refusal


@dataclass(frozen=True, eq=False)
class Result:
    """Outcome of one experiment. Figure "x" is drawn from `tables["x"]` and nothing else.

    `verdicts`, `directions` and `run` are filled in by the runner.
    """

    estimates: tuple[Estimate, ...]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    observation: str = ""  # one paragraph that quotes the numbers
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # by key of the claim
    directions: Mapping[str, Direction] = field(default_factory=dict)  # each saved as safetensors
    run: RunInfo | None = None

    def __post_init__(self) -> None:
        names = [estimate.name for estimate in self.estimates]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ExperimentError(f"Estimates must have different names; repeated: {repeated}.")

    def __getitem__(self, name: str) -> Estimate:
        found = self.by_name().get(name)
        if found is None:
            raise ExperimentError(
                f"No estimate '{name}' in this result{nearest(name, self.by_name())}"
            )
        return found

    def by_name(self) -> dict[str, Estimate]:
        """Every estimate by its name."""
        return {estimate.name: estimate for estimate in self.estimates}

    def frame(self) -> pd.DataFrame:
        """The estimates as a table, one row each."""
        return pd.DataFrame([dataclasses.asdict(estimate) for estimate in self.estimates])


def caption(result: Result, *notes: str) -> str:
    """What stands below a figure: model and preset, then the notes."""
    run = result.run
    where = [] if run is None else [f"{run.model['name']}, {run.preset} preset"]
    return "; ".join([*where, *filter(None, (words_for(run) if run else "", *notes))])


def words_for(run: RunInfo) -> str:
    """How the words of a claim are to be read where another behaviour than refusal is studied."""
    if run.behaviour == "refusal" or not run.claims:
        return ""
    return f"{run.behaviour}: 'harmful' is what shows it, 'refused' an answer that scores above 0"
