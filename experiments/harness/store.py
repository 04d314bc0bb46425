"""Results on disk: result.json, a CSV per table, a PNG per figure; written whole or not at all.

result.json never holds NaN or infinity: a number that is not finite is written as null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.harness.saving import recover
from experiments.harness.summaries import RESULT_FILE, estimate_from, read_content
from experiments.lab.results import Result, RunInfo
from interp.directions import load_directions
from interp.errors import ExperimentError


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


def saved(folder: Path) -> dict[str, Any]:
    """Content of the result.json in `folder`, empty if there is none, or one of the oldest."""
    recover(folder)
    path = folder / RESULT_FILE
    return read_content(path) if path.is_file() else {}


def load_result(folder: Path) -> Result:
    """Read a saved result. Raises ExperimentError if the folder holds none."""
    content = saved(folder)
    if not content:
        raise ExperimentError(f"There is no result in {folder}; run the experiment first.")
    tables = {path.stem: read_table(path) for path in sorted(folder.glob("*.csv"))}
    directions = {
        path.stem: load_directions(path)[0] for path in sorted(folder.glob("*.safetensors"))
    }
    return dataclasses.replace(from_json(content, tables), directions=directions)
