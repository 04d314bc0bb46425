"""`experiments.run`: the command's run for Python, on names and on loaded models."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import experiments
from experiments import run
from experiments.command.main import main
from experiments.harness import run as run_function
from experiments.harness.labs import LabData
from experiments.harness.registry import find_experiment
from experiments.harness.run import with_settings
from experiments.lab.config import ExperimentConfig
from experiments.lab.results import Result
from interp.assets.tiny import tiny_huggingface
from interp.data.prompt_sets import ContrastSet
from interp.errors import DataError, ExperimentError, InterpError, ModelError
from interp.models import from_huggingface, tiny_random_model
from tests.made_up_experiments import rewrite


@pytest.fixture
def given(
    experiments_folder: Path, tmp_path: Path, made_up_data: LabData, monkeypatch
) -> dict[str, Any]:
    """Keyword arguments of a run of 91 on smoke settings; results go to `results`."""
    monkeypatch.setenv("INTERP_RESULTS", str(tmp_path / "results"))
    return {"preset": "smoke", "folder": experiments_folder, "progress": False}


def saved_in(root: Path) -> list[str]:
    """Folders of the results under `root`."""
    return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("result.json"))


def measurements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the experiments that are measured from now on."""
    from experiments.harness import runner

    names: list[str] = []
    run_plan = runner.run_plan

    def count(plan, *rest, **options) -> Result:
        names.append(plan.experiment.name)
        return run_plan(plan, *rest, **options)

    monkeypatch.setattr(runner, "run_plan", count)
    return names


def test_a_run_returns_what_the_command_then_finds_unchanged(
    given, tmp_path, experiments_folder, monkeypatch, capfd
) -> None:
    result = run("91", **given)
    assert result.run is not None
    assert (result.run.preset, result.run.style) == ("smoke", "template")
    assert saved_in(tmp_path / "results") == ["smoke/tiny-random/91_norms"]
    assert capfd.readouterr() == ("", "")
    measured = measurements(monkeypatch)
    assert main(["run", "91", "--preset", "smoke"], experiments_folder) == 0
    assert run("91", **given).estimates[0] == result.estimates[0]
    assert measured == []
    run("91", **given, force=True)
    assert measured == ["91_norms"]


def test_progress_goes_to_stderr(given, capfd) -> None:
    run("91", **{**given, "progress": True})
    out, err = capfd.readouterr()
    assert out == ""
    assert "91_norms: running (smoke)" in err


def test_settings_style_prompts_and_folder_are_the_commands(
    given, tmp_path, made_up_prompts: ContrastSet
) -> None:
    for name, prompts in (("mine", made_up_prompts.positive), ("other", made_up_prompts.negative)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"q": p}) for p in prompts))
    files = {"positive": str(tmp_path / "mine.jsonl"), "negative": tmp_path / "other.jsonl"}
    result = run("91", **given, **files, field="q", style="newline", n_prompts=3)
    assert result.run is not None
    assert result.run.changed == {"n_prompts": 3}
    assert result.run.style == "newline"
    assert result.run.data[0]["name"] == "mine-other"
    run("91", **given, **files, field="q", seed=2, out=str(tmp_path / "out"))
    assert saved_in(tmp_path / "results") == ["custom/smoke/tiny-random-mine-other/91_norms"]
    assert saved_in(tmp_path / "out") == ["smoke/tiny-random-mine-other/91_norms"]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"number": "92_norms"}, ExperimentError, "did you mean '91_norms'"),
        ({"preset": "smok"}, ExperimentError, "did you mean 'smoke'"),
        ({"style": "new-line"}, ExperimentError, "did you mean 'newline'"),
        ({"n_promts": 3}, ExperimentError, "91_norms has no setting 'n_promts'; did you mean 'n_p"),
        ({"n_prompts": "3"}, ExperimentError, "n_prompts is '3'; expected a whole number"),
        ({"model": "smollm2-153m"}, ModelError, "smollm2-135m"),
        ({"model": torch.nn.Linear(1, 1)}, ModelError, "cannot be a Linear; expected a name"),
        ({"positive": "a.txt"}, ExperimentError, "both --positive"),
        ({"positive": "a.txt", "negative": "b.txt"}, DataError, "There is no file a.txt"),
        ({"out": __file__}, ExperimentError, "cannot be written"),
    ],
)
def test_each_mistake_is_raised_and_nothing_is_printed(
    given, tmp_path, changed, error, message, capfd
) -> None:
    with pytest.raises(error, match=message):
        run(**{"number": "91", **given, **changed})
    assert capfd.readouterr() == ("", "")
    assert not saved_in(tmp_path)


def test_a_failing_experiment_raises(given, experiments_folder) -> None:
    path = experiments_folder / "91_norms.py"
    path.write_text(path.read_text().replace("norms = []", "raise PromptError('too long')"))
    path.write_text(path.read_text() + "\n\nfrom interp.errors import PromptError\n")
    with pytest.raises(InterpError, match="too long"):
        run("91", **given)


def test_a_loaded_model_is_known_by_its_weights(given, tmp_path, tiny_model, monkeypatch) -> None:
    result = run("91", tiny_model, **given)
    assert result.run is not None
    assert saved_in(tmp_path / "results") == ["smoke/tiny-random/91_norms"]
    measured = measurements(monkeypatch)
    run("91", tiny_model, **given)
    assert measured == []
    other = tiny_random_model(seed=1)
    found = run("91", other, **given)
    assert measured == ["91_norms"]
    assert found["norm.mean"].value != result["norm.mean"].value
    label = f"tiny-random-{other.info.sha256[:8]}"
    assert f"smoke/{label}/91_norms" in saved_in(tmp_path / "results")
    assert run("91", tiny_model, **given)["norm.mean"] == result["norm.mean"]


def test_a_loaded_model_is_not_loaded_again(given, tiny_model, monkeypatch) -> None:
    monkeypatch.setattr("interp.models.load", lambda *_, **__: pytest.fail("loaded"))
    run("91", tiny_model, **given)


def test_the_result_of_unidentified_weights_is_not_kept(given, tmp_path, monkeypatch) -> None:
    model = from_huggingface(*tiny_huggingface(), "of my own")
    measured = measurements(monkeypatch)
    results = [run("91", model, **given) for _ in range(2)]
    assert len(measured) == 2
    assert saved_in(tmp_path) == []
    for result in results:
        assert result.run is not None and result.run.model["name"] == "of my own"
        assert list(result.tables) == ["profile"]
    for _ in range(2):
        run("91", model, **given, out=tmp_path / "out")
    assert len(measured) == 4
    assert saved_in(tmp_path / "out") == ["smoke/of-my-own-unidentified/91_norms"]


@pytest.mark.parametrize("through_data", [False, True])
def test_weights_changed_in_place_are_not_taken_for_the_loaded_ones(
    given, tmp_path, through_data
) -> None:
    model = tiny_random_model()
    plain = run("91", model, **given)
    weight = model.hf.get_input_embeddings().original_component.weight
    with torch.no_grad():
        (weight.data if through_data else weight).mul_(2)
    changed = run("91", model, **given)
    assert changed["norm.mean"].value > plain["norm.mean"].value
    assert changed.run is not None and changed.run.model["sha256"] == ""
    assert run("91", **given)["norm.mean"] == plain["norm.mean"]
    assert saved_in(tmp_path / "results") == ["smoke/tiny-random/91_norms"]


def test_a_model_with_hooks_of_the_user_is_not_taken_for_the_plain_one(
    given, tmp_path, tiny_model
) -> None:
    plain = run("91", tiny_model, **given)
    doubled = [("blocks.0.hook_resid_pre", lambda h, hook: 2 * h)]
    with tiny_model.bridge.hooks(fwd_hooks=doubled):
        hooked = run("91", tiny_model, **given)
    assert hooked["norm.mean"].value != plain["norm.mean"].value
    assert hooked.run is not None and hooked.run.model["sha256"] == ""
    assert saved_in(tmp_path / "results") == ["smoke/tiny-random/91_norms"]
    assert run("91", tiny_model, **given)["norm.mean"] == plain["norm.mean"]


def test_the_dtype_of_a_loaded_model_counts(given, monkeypatch) -> None:
    measured = measurements(monkeypatch)
    for dtype in (torch.float32, torch.bfloat16):
        loaded = from_huggingface(*tiny_huggingface(dtype=dtype), "tiny", "ab" * 32)
        run("91", loaded, **given)
    assert len(measured) == 2


def test_a_registered_set_that_was_read_makes_the_result_stale_when_it_changes(
    given, tmp_path, experiments_folder, monkeypatch
) -> None:
    file = tmp_path / "adv_bench.prompt"
    file.write_text("seeds: [{value: Break the lock}, {value: Sell the vase}]")
    monkeypatch.setattr("interp.data.sets.fetch_data_file", lambda *_, **__: file)
    site = '    site = Site(2, "mid")'
    reading = f'    assert len(lab.data("advbench")) > 1\n{site}'
    rewrite(find_experiment("92", experiments_folder), site, reading, "run.py")
    result = run("92", **given)
    assert result.run is not None
    read = {entry["name"]: entry["n"] for entry in result.run.data}
    assert read == {"advbench": 2, "made-up": 60}
    measured = measurements(monkeypatch)
    run("92", **given)
    assert measured == []
    file.write_text("seeds: [{value: Break the lock}, {value: Buy the vase}]")
    again = run("92", **given)
    assert measured == ["92_pair"]
    assert again.run is not None
    assert again.run.data[0]["sha256"] != result.run.data[0]["sha256"]


@dataclasses.dataclass(frozen=True)
class Kinds(ExperimentConfig):
    """A setting of every kind."""

    share: float = 0.5
    most: int | None = None
    steps: tuple[float, ...] = (1.0,)
    raw: bool = False


def test_settings_are_of_the_kinds_that_are_annotated() -> None:
    given = {"share": 1, "most": 3, "steps": [0.5, 2], "raw": True}
    assert with_settings(Kinds(), given, "x") == Kinds(share=1, most=3, steps=(0.5, 2), raw=True)
    assert with_settings(Kinds(most=1), {"most": None}, "x") == Kinds()
    for wrong in ({"share": "1"}, {"most": 2.5}, {"steps": 1.0}, {"raw": 1}, {"seed": True}):
        with pytest.raises(ExperimentError, match=f"^{next(iter(wrong))} is "):
            with_settings(Kinds(), wrong, "x")


def test_run_is_the_function_and_imports_nothing_before_it_is_asked_for() -> None:
    assert experiments.run is run_function.run
    code = (
        "import sys, experiments, experiments.command.run, experiments.harness.run;"
        "heavy = {'torch', 'pandas', 'numpy', 'matplotlib', 'transformers'} & set(sys.modules);"
        "assert not heavy, heavy; assert callable(experiments.run);"
        "assert experiments.run is experiments.harness.run.run"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
