"""What an experiment found: estimates, tables and a verdict; saved whole or not at all.

A result folder holds result.json, one CSV per table and one PNG per figure. result.json never holds
NaN or infinity: a number that is not finite is written as null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.claims import Verdict
from experiments.estimate import Estimate, number
from experiments.saving import recover
from experiments.summaries import RESULT_FILE, estimate_from
from interp.errors import ExperimentError
from interp.suggest import nearest

if TYPE_CHECKING:
    from interp.directions import Direction

__all__ = ["Estimate", "Result", "RunInfo", "Verdict", "number"]


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


def finite(value: Any) -> Any:
    """`value` made of plain JSON types, with numbers that are not finite replaced by None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Iterable):
        return [finite(item) for item in value]
    if hasattr(value, "item"):  # a numpy or torch scalar
        return finite(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(result: Result) -> dict[str, Any]:
    """The content of result.json; the tables go beside it as CSV files."""
    if result.run is None:
        raise ExperimentError("Only a result of the runner can be saved: its `run` is empty.")
    estimates = [dataclasses.asdict(estimate) for estimate in result.estimates]
    run = dataclasses.asdict(result.run)
    content = {
        **run,
        "claims": [{**claim, "verdict": result.verdicts[claim["key"]]} for claim in run["claims"]],
        "estimates": estimates,
        "observation": result.observation,
    }
    return finite(content)


def from_json(content: Mapping[str, Any], tables: dict[str, pd.DataFrame]) -> Result:
    """Inverse of `to_json`; an estimate whose value is null comes back as NaN."""
    estimates = tuple(map(estimate_from, content["estimates"]))
    names = {entry.name for entry in dataclasses.fields(RunInfo)}
    run = RunInfo(**{key: value for key, value in content.items() if key in names})
    verdicts = {claim["key"]: claim["verdict"] for claim in run.claims}
    run = dataclasses.replace(run, data=tuple(run.data), claims=tuple(run.claims))
    return Result(estimates, tables, content["observation"], verdicts, run=run)


def read_table(path: Path) -> pd.DataFrame:
    """A table as it was measured: floats bit for bit, only an empty field is missing."""
    return pd.read_csv(path, float_precision="round_trip", keep_default_na=False, na_values=[""])


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> dict[str, pd.DataFrame]:
    """Write one CSV per table, and return the tables as a reader of those files sees them."""
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    return {name: read_table(folder / f"{name}.csv") for name in tables}


def write_json(result: Result, folder: Path) -> None:
    """Write result.json; strict JSON, so that a NaN that slipped through is an error."""
    text = json.dumps(to_json(result), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / RESULT_FILE).write_text(text + "\n", encoding="utf-8")


def load_result(folder: Path) -> Result:
    """Read a saved result. Raises ExperimentError if the folder holds none."""
    recover(folder)
    path = folder / RESULT_FILE
    if not path.is_file():
        raise ExperimentError(f"There is no result in {folder}; run the experiment first.")
    content = json.loads(path.read_text(encoding="utf-8"))
    tables = {table.stem: read_table(table) for table in sorted(folder.glob("*.csv"))}
    return from_json(content, tables)
