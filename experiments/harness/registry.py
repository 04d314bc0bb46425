"""Finds experiments: a file NN_name.py or a folder NN_name/, with claims, presets, what to run and
to plot; and benchmarks, the same without a number and without claims."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from experiments.harness.code_hash import code_hash
from experiments.harness.source import ROOT
from experiments.lab.claims import Claim, Verdict, judge
from experiments.lab.config import ExperimentConfig
from experiments.lab.estimate import Estimate
from interp.errors import ExperimentError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.lab.lab import Lab
    from experiments.lab.results import Result

FOLDER = ROOT / "experiments"
NAME = re.compile(r"(\d\d)_\w+")
PRESET_NAMES = ("smoke", "quick", "full")
# Built like experiments, but they test no hypothesis: they have no number, `all` leaves them out,
# and so do the tables of verdicts.
BENCHMARKS = ("speed",)


@dataclass(frozen=True)
class Experiment:
    """An experiment on disk; its parts are imported when they are needed.

    In a folder these are `protocol` (CLAIMS, Config, PRESETS, verdicts), which imports nothing
    heavy, `run` and `figures` (plot); in a single file all are that file.
    """

    number: str  # "05"; the name of a benchmark, which has no number
    name: str  # "05_refusal_direction"
    path: Path  # the file or the folder
    _codes: dict[bool, str] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def protocol(self) -> ModuleType:
        """What is claimed and decided. Raises ExperimentError where a part is missing."""
        found = self.part("protocol")
        self._require(found, "CLAIMS", "Config", "PRESETS", "verdicts")
        absent = [name for name in PRESET_NAMES if name not in found.PRESETS]
        if absent:
            raise ExperimentError(f"{self.path.name}: PRESETS lacks {', '.join(absent)}.")
        return found

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims, none of a benchmark."""
        return tuple(self.protocol.CLAIMS)

    def preset(self, name: str) -> ExperimentConfig:
        """The settings of a preset; ExperimentError, naming the nearest, if it is unknown."""
        check_preset(name)
        return self.protocol.PRESETS[name]

    def run(self, config: ExperimentConfig, lab: Lab) -> Result:
        """Measure."""
        part = self.part("run")
        self._require(part, "run")
        return part.run(config, lab)

    def judge(self, estimates: Iterable[Estimate]) -> dict[str, Verdict]:
        """The verdict on every claim, by its key."""
        return judge(self.claims, self.protocol.verdicts, estimates)

    def plot(self, result: Result) -> dict[str, Figure]:
        """The figures."""
        part = self.part("figures")
        self._require(part, "plot")
        return part.plot(result)

    def code(self, *, drawing: bool) -> str:
        """Hash of the code that measures; with `drawing`, of all of the experiment's code.

        That of the first time it is asked for: what is imported stays as it is too.
        """
        if drawing not in self._codes:
            self._codes[drawing] = self._code(drawing)
        return self._codes[drawing]

    def _code(self, drawing: bool) -> str:
        if self.path.is_file():
            return code_hash(self.path, drawing=drawing)
        parts = ["run.py", "protocol.py", "figures.py"] if drawing else ["run.py"]
        hashes = [code_hash(self.path / part, drawing=drawing) for part in parts]
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest() if drawing else hashes[0]

    def part(self, name: str) -> ModuleType:
        """A module of the experiment's folder, by name; of a single file, the file."""
        package = "experiments" if self.path.parent == FOLDER else _package_of(self.path.parent)
        module = f"{package}.{self.name}"
        return importlib.import_module(f"{module}.{name}" if self.path.is_dir() else module)

    def _require(self, module: ModuleType, *names: str) -> None:
        missing = [name for name in names if not hasattr(module, name)]
        if missing:
            raise ExperimentError(f"{self.path.name} lacks {', '.join(missing)}.")


def _package_of(folder: Path) -> str:
    """A package that stands for a folder of experiments elsewhere, so that theirs can be relative.

    Two folders may hold experiments of the same name.
    """
    name = f"experiments_at_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name


def experiments_in(folder: Path = FOLDER) -> list[Experiment]:
    """Every experiment in `folder`, by number."""
    found = []
    for path in sorted(folder.iterdir()):
        match = NAME.fullmatch(path.stem)
        is_folder = path.is_dir() and (path / "protocol.py").is_file()
        if match and (is_folder or path.suffix == ".py"):
            found.append(Experiment(match.group(1), path.stem, path))
    return found


def benchmarks_in(folder: Path = FOLDER) -> list[Experiment]:
    """Every benchmark in `folder`."""
    paths = [path for name in BENCHMARKS for path in (folder / name, folder / f"{name}.py")]
    return [Experiment(path.stem, path.stem, path) for path in paths if path.exists()]


def find_experiment(wanted: str, folder: Path = FOLDER) -> Experiment:
    """The one called `wanted`: "05", "5", "refusal_direction", "05_refusal_direction"; "speed"."""
    known = [*experiments_in(folder), *benchmarks_in(folder)]
    for experiment in known:
        number, name = experiment.number, experiment.name
        if wanted in (number, number.lstrip("0"), name, name.removeprefix(f"{number}_")):
            return experiment
    raise ExperimentError(
        f"Unknown experiment '{wanted}'{nearest(wanted, [one.name for one in known])}"
    )


def select(wanted: Iterable[str], folder: Path = FOLDER) -> list[Experiment]:
    """Those asked for, each once, in the order asked; "all" is every experiment."""
    names = list(wanted)
    if "all" in names:
        return experiments_in(folder)
    return list(dict.fromkeys(find_experiment(name, folder) for name in names))


def check_preset(preset: str, known: Sequence[str] = PRESET_NAMES) -> None:
    """Raise ExperimentError, naming the nearest, if there is no such preset."""
    if preset not in known:
        raise ExperimentError(f"Unknown preset '{preset}'{nearest(preset, known)}")
