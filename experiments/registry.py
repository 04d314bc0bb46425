"""Finds experiments: files NN_name.py with a claim, a criterion, presets, and what to run; and
benchmarks, the same without a number."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from experiments.config import ExperimentConfig
from experiments.source import constant_text, project_of
from experiments.suggest import nearest
from interp.errors import ExperimentError

FOLDER = Path(__file__).parent
FILE_NAME = re.compile(r"(\d\d)_(\w+)\.py")
REQUIRED = ("CLAIM", "CRITERION", "Config", "PRESETS", "run", "verdict", "plot")
PRESET_NAMES = ("smoke", "quick", "full")
# Built like experiments, but they test no hypothesis: they have no number, `all` leaves them out,
# and so do the tables of verdicts.
BENCHMARKS = ("speed",)


@dataclass(frozen=True)
class ExperimentFile:
    """An experiment on disk, not imported."""

    number: str  # "05"; the name of a benchmark, which has no number
    name: str  # "05_refusal_direction"
    path: Path

    @property
    def claim(self) -> str:
        """The claim, read from the source without importing it (imports take seconds)."""
        return constant_text(*project_of(self.path), "CLAIM")


def experiment_files(folder: Path = FOLDER) -> list[ExperimentFile]:
    """Every experiment in `folder`, by number."""
    found = []
    for path in sorted(folder.glob("*.py")):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            found.append(ExperimentFile(match.group(1), path.stem, path))
    return found


def benchmark_files(folder: Path = FOLDER) -> list[ExperimentFile]:
    """Every benchmark in `folder`."""
    paths = [folder / f"{name}.py" for name in BENCHMARKS]
    return [ExperimentFile(path.stem, path.stem, path) for path in paths if path.is_file()]


def find_experiment(wanted: str, folder: Path = FOLDER) -> ExperimentFile:
    """The one called `wanted`: "05", "5", "refusal_direction", "05_refusal_direction"; "speed"."""
    files = [*experiment_files(folder), *benchmark_files(folder)]
    for file in files:
        short = file.name.removeprefix(f"{file.number}_")
        if wanted in (file.number, file.number.lstrip("0"), file.name, short):
            return file
    raise ExperimentError(
        f"Unknown experiment '{wanted}'{nearest(wanted, [f.name for f in files])}"
    )


def select(wanted: Iterable[str], folder: Path = FOLDER) -> list[ExperimentFile]:
    """Those asked for, each once, in the order asked; "all" is every experiment."""
    names = list(wanted)
    if "all" in names:
        return experiment_files(folder)
    return list(dict.fromkeys(find_experiment(name, folder) for name in names))


def load_experiment(wanted: str, folder: Path = FOLDER) -> ModuleType:
    """Import an experiment and check that it has all its parts."""
    file = find_experiment(wanted, folder)
    key = f"experiments.{file.name}" if folder == FOLDER else f"experiments_at.{file.path}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, file.path)
    if spec is None or spec.loader is None:
        raise ExperimentError(f"{file.path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module  # dataclasses look their module up while it is being executed
    try:
        spec.loader.exec_module(module)
        _check_parts(module, file)
    except BaseException:
        del sys.modules[key]
        raise
    return module


def _check_parts(module: ModuleType, file: ExperimentFile) -> None:
    missing = [part for part in REQUIRED if not hasattr(module, part)]
    if missing:
        raise ExperimentError(f"{file.path.name} lacks {', '.join(missing)}.")
    absent = [name for name in PRESET_NAMES if name not in module.PRESETS]
    if absent:
        raise ExperimentError(f"{file.path.name}: PRESETS lacks {', '.join(absent)}.")


def preset_config(module: ModuleType, preset: str) -> ExperimentConfig:
    """The settings of a preset. Raises ExperimentError, naming the nearest, if it is unknown."""
    check_preset(preset)
    return module.PRESETS[preset]


def check_preset(preset: str, known: Sequence[str] = PRESET_NAMES) -> None:
    """Raise ExperimentError, naming the nearest, if there is no such preset."""
    if preset not in known:
        raise ExperimentError(f"Unknown preset '{preset}'{nearest(preset, known)}")
