"""Made-up experiments on disk, and a bench with a tiny random model and made-up prompts."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness.labs import LabData
from experiments.harness.registry import find_experiment
from experiments.harness.runner import Plan
from experiments.lab.cells import MemoryCells
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp.behaviours import refusal_of
from interp.data.prompt_sets import ContrastSet, contrast, text_set
from interp.models import LoadedModel
from tests.made_up_experiments import write_experiments
from tests.made_up_texts import numbered


@dataclass
class TinyBench:
    """A bench on a loaded tiny model that counts how often a lab is asked for."""

    model: LoadedModel
    contrast: ContrastSet
    facts: dict[str, Any] = field(default_factory=lambda: {"model": "tiny", "style": "template"})
    asked: int = 0
    labs: dict[int, Lab] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # of the data sets, by name

    def __post_init__(self) -> None:
        self.hashes[self.contrast.name] = self.contrast.sha256

    def identity(self) -> dict[str, Any]:
        return self.facts

    def holds(self, data: str, sha256: str, seed: int) -> bool:
        return self.hashes.get(data) == sha256

    def lab(self, seed: int) -> Lab:
        self.asked += 1
        if seed not in self.labs:
            texts = text_set("made up", ["The sea is wide.", "Trees grow."], "none")
            self.labs[seed] = Lab(
                model=self.model,
                contrast=self.contrast,
                harmful_test=texts,
                harmless_test=texts,
                text=lambda: texts,
                seed=seed,
                preset="smoke",
            )
        return self.labs[seed]


@pytest.fixture(scope="session")
def made_up_prompts() -> ContrastSet:
    """Thirty prompts a side of made-up words, so that none resembles another."""
    syllables = ("ba", "ko", "lu", "mi", "ne", "pra", "so", "tu", "ve", "zi")

    def word(number: int) -> str:
        return "".join(syllables[int(digit)] for digit in str(7919 * (number + 13)))

    positive = [f"Hide {word(3 * i)} {word(3 * i + 1)} {word(3 * i + 2)}" for i in range(30)]
    negative = [f"Find {word(3 * i + 400)} {word(3 * i + 200)} here" for i in range(30)]
    return contrast("made-up", positive, negative, "none")


@pytest.fixture
def made_up_data(made_up_prompts: ContrastSet, monkeypatch: pytest.MonkeyPatch) -> LabData:
    """The made-up prompts in place of all registered data, which need a download."""
    texts = text_set("made up", ["The sea is wide.", "Trees grow."], "none")
    data = LabData(
        refusal_of(made_up_prompts), lambda seed: texts, lambda seed: texts, lambda: texts
    )
    monkeypatch.setattr("experiments.harness.labs.registered_data", lambda: data)
    return data


@pytest.fixture
def bench(tiny_model: LoadedModel, made_up_prompts: ContrastSet) -> TinyBench:
    return TinyBench(tiny_model, made_up_prompts)


@pytest.fixture
def experiments_folder(tmp_path: Path) -> Path:
    """A folder with the experiments 91_norms and 92_pair."""
    return write_experiments(tmp_path / "experiments")


@pytest.fixture
def make_plan(experiments_folder: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Plan of an experiment, as its code now is; keyword arguments change its settings."""

    def make(preset: str = "smoke", number: str = "91", **changes: Any) -> Plan:
        experiment = find_experiment(number, experiments_folder)
        config = replace(experiment.preset(preset), **changes)
        folder = tmp_path / "results" / preset / "tiny" / experiment.name
        return Plan(experiment, config, preset, folder)

    return make


def texts(name: str, prefix: str, n: int = 12):
    return text_set(name, numbered(prefix, n), "none", np.arange(n))


@pytest.fixture(scope="module")
def planted(request: pytest.FixtureRequest) -> tuple[Result, Lab]:
    """A draw of the first world of the experiment that a test module is about."""
    experiment = request.module.EXPERIMENT
    worlds = experiment.part("worlds")
    world = worlds.WORLDS[0]
    drawn = world.lab(1)
    return experiment.run(world.config(worlds.CONFIG), drawn), drawn


@pytest.fixture
def lab(tiny_model: LoadedModel) -> Lab:
    return Lab(
        model=tiny_model,
        contrast=contrast("planted", numbered("Harm:", 60), numbered("Help me", 60), "none"),
        harmful_test=texts("harmful", "Break", 30),
        harmless_test=texts("harmless", "Bake", 30),
        text=texts("text", "It is said that people"),
        preset="smoke",
        cells=MemoryCells(),
    )
