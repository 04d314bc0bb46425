"""The speed tables of committed results as Markdown, read from their CSV files alone."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from interp.assets.registry import DEFAULT_MODEL

NO_RESULTS = "No full results yet: `interp run speed --preset full`, then `interp report`."
HEADER = "| work | beside | seconds | baseline's seconds | ratio | target | met | bound |"


def speed_lines(results: Path) -> list[str]:
    """One table per model that has a speed.csv under `results`, those of one preset.

    Folded, but for the default model's.
    """
    lines: list[str] = []
    for path in sorted(results.glob("*/speed/speed.csv")):
        model = path.parents[1].name
        folded = model != DEFAULT_MODEL
        lines += [f"<details><summary>{model}</summary>" if folded else f"`{model}`:", ""]
        lines += [HEADER, f"|{'---|' * (HEADER.count('|') - 1)}"]
        with path.open(encoding="utf-8", newline="") as file:
            lines += [_line(row) for row in csv.DictReader(file)]
        lines += ["", "</details>", ""] if folded else [""]
    return lines[:-1] or [NO_RESULTS]


def _line(row: Mapping[str, str]) -> str:
    bounds = [_number(row[name]) for name in ("bound_padded", "bound_packed") if row[name]]
    ratio = f"{_number(row['ratio'])} {row['unit']}" if row["ratio"] else ""
    cells = [
        row["work"],
        row["baseline"],
        _number(row["seconds"]),
        _number(row["baseline_seconds"]),
        ratio,
        _number(row["target"]),
        row["met"],
        " to ".join(bounds),
    ]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _number(text: str) -> str:
    return f"{float(text):.3g}" if text else ""
