"""How long a run takes, told beforehand: from what is saved, scaled to the model, else a table."""

import json
import os
from pathlib import Path

import pytest

from experiments.command.main import main
from experiments.harness.durations import announce, estimate, in_words, weights
from experiments.harness.registry import PRESET_NAMES, benchmarks_in, experiments_in
from interp.assets.registry import DEFAULT_MODEL, models


def save(folder: Path, model: str, seconds: float, age: int = 0) -> None:
    """A result with a duration, `age` seconds old."""
    folder.mkdir(parents=True)
    path = folder / "result.json"
    path.write_text(json.dumps({"claims": [], "seconds": seconds, "model": {"name": model}}))
    os.utime(path, (1e9 - age, 1e9 - age))


@pytest.mark.parametrize(
    "experiment", [*experiments_in(), *benchmarks_in()], ids=lambda one: one.name
)
def test_every_protocol_says_how_long_its_presets_take(experiment) -> None:
    minutes = experiment.protocol.MINUTES
    assert set(minutes) == set(PRESET_NAMES)
    assert 0 < minutes["smoke"] < minutes["quick"] < minutes["full"]


def test_the_newest_result_of_the_same_model_counts(make_plan, tmp_path) -> None:
    plan, root = make_plan(), tmp_path / "results"
    save(root / "smoke" / "a" / "91_norms", "gemma3-270m", 7)
    save(root / "smoke" / "b" / "91_norms", "smollm2-135m", 20, age=60)
    save(root / "smoke" / "c" / "91_norms", "smollm2-135m", 30, age=90)
    save(root / "full" / "d" / "91_norms", "smollm2-135m", 99)
    assert estimate(plan, "smollm2-135m", [root]) == (20, "measured on smollm2-135m")
    save(plan.folder, "smollm2-135m", 40, age=10)
    assert estimate(plan, "smollm2-135m", []) == (40, "measured on smollm2-135m")


def test_results_of_another_model_are_scaled_by_the_weights(make_plan, tmp_path) -> None:
    plan, root = make_plan(), tmp_path / "results"
    save(root / "smoke" / "a" / "91_norms", "smollm2-135m", 10)
    (tmp_path / "own.gguf").write_bytes(b"x" * 1000)
    seconds, source = estimate(plan, str(tmp_path / "own.gguf"), [root])
    assert seconds == pytest.approx(10 * 1000 / models()["smollm2-135m"].bytes)
    assert source == "scaled from smollm2-135m"
    assert estimate(plan, "some/hub-id", [root]) == (10, "measured on smollm2-135m")


def test_without_results_the_protocols_minutes_count_or_nothing_is_known(make_plan) -> None:
    assert estimate(make_plan(), DEFAULT_MODEL, []) == (0, "not run here before")
    smoke = make_plan(number="92")
    assert estimate(smoke, "tiny-random", []) == (6, "measured on tiny-random")
    full = make_plan(preset="full", number="92")
    assert estimate(full, DEFAULT_MODEL, []) == (120, f"measured on {DEFAULT_MODEL}")
    seconds, source = estimate(full, "smollm2-135m", [])
    share = models()["smollm2-135m"].bytes / models()[DEFAULT_MODEL].bytes
    assert seconds == pytest.approx(120 * share)
    assert source == f"scaled from {DEFAULT_MODEL}"


def test_what_was_begun_takes_at_most_as_long(make_plan, tmp_path) -> None:
    said: list[str] = []
    plan, other = make_plan(), make_plan(preset="full")
    save(tmp_path / "results" / "smoke" / "a" / "91_norms", "tiny", 200)
    announce([plan], "tiny", [tmp_path / "results"], said.append)
    plan.folder.with_name("91_norms.partial").mkdir(parents=True)
    announce([plan, other], "tiny", [tmp_path / "results"], said.append)
    assert said == [
        "91_norms: about 3.3 minutes (measured on tiny)",
        "91_norms: at most about 3.3 minutes (measured on tiny)",
        "91_norms: time unknown (not run here before)",
        "together: at most about 3.3 minutes",
    ]


def test_weights_of_a_folder_and_of_what_is_not_here(tmp_path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"12345")
    (tmp_path / "config.json").write_bytes(b"1")
    assert weights(str(tmp_path)) == 5
    assert weights("some/hub-id") == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (6.4, "6 seconds"),
        (119, "119 seconds"),
        (150, "2.5 minutes"),
        (6586, "110 minutes"),
        (8294.8, "2.3 hours"),
    ],
)
def test_durations_in_words(seconds, words) -> None:
    assert in_words(seconds) == words


def test_a_run_says_how_long_it_takes_before_it_loads_anything(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("experiments.harness.labs.load_data", lambda *_: pytest.fail("loaded"))
    with pytest.raises(pytest.fail.Exception):
        main(["run", "05", "--preset", "full", "--out", str(tmp_path)])
    assert "05_refusal_direction: about " in capsys.readouterr().err
