"""Tables of the registered models and data sets, for `interp models` and `interp data`."""

from __future__ import annotations

from rich.table import Table

from interp.assets.cache import cache_root
from interp.assets.fetch import is_data_cached, is_model_cached
from interp.assets.registry import DEFAULT_MODEL, data_sets, models


def model_table() -> Table:
    """Every registered model."""
    table = Table(title="Registered models", caption=f"cache: {cache_root()}")
    for column in ("model", "MB", "on this machine", "licence", "sha256", "note"):
        table.add_column(column, overflow="fold", justify="right" if column == "MB" else "left")
    for name, asset in models().items():
        shown = f"{name} (default)" if name == DEFAULT_MODEL else name
        here = "yes" if is_model_cached(name) else "no, fetched when first used"
        size = f"{asset.bytes / 1e6:,.0f}"
        table.add_row(shown, size, here, asset.licence, asset.sha256[:12], asset.note)
    return table


def data_table() -> Table:
    """Every registered data set."""
    table = Table(title="Registered data sets", caption=f"cache: {cache_root()}")
    for column in ("data set", "MB", "on this machine", "licence", "size", "used for"):
        table.add_column(column, overflow="fold", justify="right" if column == "MB" else "left")
    for name, asset in data_sets().items():
        here = "yes" if is_data_cached(name) else "no, fetched when first used"
        size = f"{asset.download_bytes / 1e6:,.1f}"
        table.add_row(name, size, here, asset.licence, asset.count, asset.use)
    return table
