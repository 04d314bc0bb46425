"""Reading the columns of a figure's table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from interp.errors import DataError


def require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise DataError, naming what is missing, unless the table has the columns and a row."""
    absent = [column for column in columns if column not in table]
    if absent or table.empty:
        raise DataError(
            f"The figure's table lacks {absent or 'rows'}; "
            f"it has the columns {list(table.columns)}."
        )


def values_of(table: pd.DataFrame, column: str) -> list[Any]:
    """Distinct values, sorted when numeric, else in order of appearance."""
    values = list(dict.fromkeys(table[column]))
    return sorted(values) if pd.api.types.is_numeric_dtype(table[column]) else values


def numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """The column in float64."""
    return np.asarray(table[column], dtype=np.float64)


def rows_where(table: pd.DataFrame, column: str | None, value: Any) -> pd.DataFrame:
    """Rows with one value of a column; all of them when the table is not divided."""
    return table if column is None else table.loc[table[column] == value]


def has_numbers(table: pd.DataFrame, *columns: str) -> bool:
    """Whether the optional columns are there and hold at least one number."""
    return all(column in table and bool(table[column].notna().any()) for column in columns)


def marked_rows(table: pd.DataFrame, column: str | None) -> np.ndarray:
    """Rows whose boolean column is true; none when there is no such column."""
    return np.asarray(table[column], bool) if column else np.zeros(len(table), bool)
