"""Writes a folder whole or not at all: built beside its place, then renamed into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.lab.cells import MEASURED_IS_KEPT
from interp.assets.files import explaining_full_disk
from interp.errors import ExperimentError

COMPLETE = ".complete"  # written last; a folder without it was cut off while being built


def check_writable(folder: Path) -> None:
    """Raise ExperimentError, before anything is computed, if `folder` cannot be written."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ExperimentError(
            f"Results cannot be written to {folder}: {error.strerror or error}. "
            "Give a folder that you may write to with --out."
        ) from error


def recover(folder: Path) -> None:
    """Finish or undo a replacement of `folder` that was killed half-way."""
    for built in _beside(folder, "saving"):
        if (built / COMPLETE).exists() and not folder.exists():
            built.rename(folder)
    for old in _beside(folder, "replaced"):
        if not folder.exists():
            old.rename(folder)
    if (folder / COMPLETE).exists():
        (folder / COMPLETE).unlink()


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of `folder` only if the block succeeds."""
    recover(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in [*_beside(folder, "saving"), *_beside(folder, "replaced")]:
        shutil.rmtree(stale)
    building = folder.parent / f".{folder.name}.saving-{os.getpid()}"
    building.mkdir()
    try:
        with explaining_full_disk(folder.parent, ExperimentError, MEASURED_IS_KEPT):
            yield building
        _flush(building)
        (building / COMPLETE).write_bytes(b"")
        _swap(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _beside(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.parent.glob(f".{folder.name}.{kind}-*")) if folder.parent.is_dir() else []


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _swap(building: Path, folder: Path) -> None:
    old = folder.parent / f".{folder.name}.replaced-{os.getpid()}"
    if folder.exists():
        folder.rename(old)
    building.rename(folder)
    (folder / COMPLETE).unlink()
    shutil.rmtree(old, ignore_errors=True)
