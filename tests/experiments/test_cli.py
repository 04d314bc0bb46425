"""The command line: what is parsed, what runs, and one clear line for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import run_command
from experiments.cli import main
from experiments.paths import model_label, results_root
from experiments.registry import experiment_files, load_experiment, select
from experiments.run_command import flag_value, parse_options, split_names
from experiments.source import constant_text, project_of
from interp.errors import ExperimentError
from interp.prompt_sets import ContrastSet


@pytest.fixture
def prompt_files(tmp_path: Path, made_up_prompts: ContrastSet) -> list[str]:
    """Flags that give the made-up prompts as the user's own files."""
    for name, prompts in (("mine", made_up_prompts.positive), ("other", made_up_prompts.negative)):
        (tmp_path / f"{name}.txt").write_text("\n".join(prompts))
    return ["--positive", str(tmp_path / "mine.txt"), "--negative", str(tmp_path / "other.txt")]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The error text; there must be exactly one line of it, and no traceback."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    return lines[0]


def test_run_with_own_prompts_settings_and_folder(
    prompt_files, experiments_folder, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    words = ["run", "91", "--preset", "smoke", "--n-prompts", "3", "--out", str(out), *prompt_files]
    assert main(words, experiments_folder) == 0
    folder = out / "smoke" / "tiny-random-mine" / "91_norms"
    saved = json.loads((folder / "result.json").read_text())
    assert saved["config"] == {"seed": 0, "n_prompts": 3}
    assert saved["model"]["name"] == "tiny-random"
    assert saved["data"][0]["name"] == "mine-other"
    assert "Traceback" not in capsys.readouterr().err


def test_an_unchanged_run_does_not_load_the_model(
    prompt_files, experiments_folder, tmp_path, monkeypatch
) -> None:
    words = ["run", "91", "--preset", "smoke", "--out", str(tmp_path / "out"), *prompt_files]
    assert main(words, experiments_folder) == 0
    monkeypatch.setattr("interp.models.load", lambda *_, **__: pytest.fail("loaded"))
    assert main(words, experiments_folder) == 0


def test_changed_settings_go_to_a_folder_of_their_own(
    prompt_files, experiments_folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("INTERP_RESULTS", str(tmp_path / "results"))
    words = ["run", "91", "--preset", "smoke", *prompt_files]
    assert main([*words, "--seed", "1"], experiments_folder) == 0
    expected = tmp_path / "results" / "custom" / "smoke" / "tiny-random-mine" / "91_norms"
    assert (expected / "result.json").is_file()
    assert not (tmp_path / "results" / "smoke").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rnu"], "did you mean 'run'"),
        (["run", "91_nroms"], "did you mean '91_norms'"),
        (["run", "91", "--preset", "quik"], "did you mean 'quick'"),
        (["run", "91", "--style=templat"], "did you mean 'template'"),
        (["run", "91", "--dtype", "float23"], "did you mean 'float32'"),
        (["run"], "Which experiment"),
        (["run", "91", "--positive", "a.txt"], "both --positive"),
        (["report", "--preset", "ful"], "did you mean 'full'"),
    ],
)
def test_each_mistake_is_one_clear_line(words, expected, experiments_folder, capsys) -> None:
    assert main(words, experiments_folder) == 2
    assert expected in error_of(capsys)


def test_an_unknown_model_names_the_nearest(
    prompt_files, experiments_folder, tmp_path, capsys
) -> None:
    words = ["run", "91", "--model", "smollm2-153m", "--out", str(tmp_path / "o"), *prompt_files]
    assert main(words, experiments_folder) == 2
    assert "smollm2-135m" in error_of(capsys)


def test_an_unwritable_results_folder_comes_before_anything_else(
    experiments_folder, tmp_path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    words = ["run", "91", "--positive", "absent.txt", "--negative", "absent.txt"]
    assert main([*words, "--out", str(tmp_path / "file" / "x")], experiments_folder) == 2
    assert "cannot be written" in error_of(capsys)


def test_ctrl_c_says_that_the_next_run_continues(experiments_folder, monkeypatch, capsys) -> None:
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "select", interrupt)
    assert main(["run", "91"], experiments_folder) == 130
    assert "same command again to continue" in capsys.readouterr().err


def test_an_unknown_setting_is_refused(experiments_folder, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "91", "--n-promts", "3"], experiments_folder)
    assert stop.value.code == 2
    assert "--n-prompts" in capsys.readouterr().err


def test_help_of_an_experiment_shows_its_settings(experiments_folder, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "91", "--help"], experiments_folder)
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "--n-prompts" in shown
    assert "prompts that are measured" in shown
    assert "Norms are positive." in shown


def test_experiments_and_flags_are_told_apart() -> None:
    words = ["--force", "05", "--preset", "smoke", "06", "--seed=3", "--n", "-2"]
    names, flags = split_names(words)
    assert names == ["05", "06"]
    assert flags == ["--force", "--preset", "smoke", "--seed=3", "--n", "-2"]
    assert flag_value(flags, "--preset") == "smoke"
    assert flag_value(flags, "--seed") == "3"
    assert flag_value(flags, "--model") is None


def test_settings_start_from_the_preset(experiments_folder) -> None:
    files = select(["91"], experiments_folder)
    options, config = parse_options(files, ["--preset", "full", "--seed", "4"])
    assert options.preset == "full"
    assert vars(config) == {"seed": 4, "n_prompts": 6}


def test_experiments_are_selected_by_number_name_or_all(experiments_folder) -> None:
    for wanted in (["91"], ["norms"], ["91_norms"], ["all"], ["91", "norms"]):
        assert [file.name for file in select(wanted, experiments_folder)] == ["91_norms"]


def test_an_experiment_without_its_parts_is_refused(tmp_path) -> None:
    (tmp_path / "07_bare.py").write_text('CLAIM = "x"\n')
    with pytest.raises(ExperimentError, match="CRITERION, Config"):
        load_experiment("07", tmp_path)


def test_labels_of_models() -> None:
    def identity(name: str) -> str:
        return "0123456789abcdef"

    assert model_label("smollm2-135m", identity) == "smollm2-135m"
    assert model_label("Qwen/Qwen3-0.6B", identity) == "Qwen--Qwen3-0.6B"
    assert model_label("tiny", identity, Path("my prompts.txt"), "tiny") == "tiny-my-prompts"


def test_own_model_files_of_the_same_name_get_different_labels(tmp_path) -> None:
    file = tmp_path / "smollm2-135m.gguf"
    file.write_bytes(b"")
    assert model_label(str(file), lambda name: "ab" * 32) == "smollm2-135m-abababab"


def test_results_go_to_the_folder_named_by_the_environment(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("INTERP_RESULTS", str(tmp_path))
    assert results_root() == tmp_path
    assert results_root(tmp_path / "other") == tmp_path / "other"


def test_the_real_experiments_state_claims_that_can_be_read() -> None:
    for file in experiment_files():
        assert len(file.claim) > 20, file.name
        module = load_experiment(file.number)
        assert constant_text(*project_of(file.path), "CRITERION") == module.CRITERION


def test_list_and_help_import_nothing_heavy() -> None:
    code = (
        "import sys; from experiments.cli import main; main(['list']); main(['--help']);"
        "heavy = {'torch', 'pandas', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
