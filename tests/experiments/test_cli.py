"""The command line: what is parsed, what runs, and one clear line for each mistake."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import pytest

from experiments.command import run as run_command
from experiments.command.main import main
from experiments.command.options import parse
from experiments.command.run import flag_value, parse_options, split_names
from experiments.harness.paths import model_label, results_root
from experiments.harness.registry import (
    FOLDER,
    benchmarks_in,
    experiments_in,
    find_experiment,
    select,
)
from experiments.harness.run import RunOptions, SharedSettings, make_plans
from experiments.lab.config import ExperimentConfig
from interp.data.prompt_sets import ContrastSet
from interp.errors import ExperimentError
from tests.made_up_experiments import write_experiments


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
    folder = out / "smoke" / "tiny-random-mine-other" / "91_norms"
    saved = json.loads((folder / "result.json").read_text())
    assert saved["config"] == {"seed": 0, "n_prompts": 3}
    assert saved["model"]["name"] == "tiny-random"
    assert saved["data"][0]["name"] == "mine-other"
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "took " in shown.splitlines()[-1]


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
    expected = tmp_path / "results" / "custom" / "smoke" / "tiny-random-mine-other" / "91_norms"
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
        (["report", "--presets", "full"], "did you mean '--preset'"),
        (["report", "full"], "'full' belongs to no option"),
        (["models", "--all"], "Unknown option '--all'"),
        (["run", "91", "--preset", "smoke", "--preset", "quik"], "did you mean 'quick'"),
        (["run", "91", "--n-promts", "3"], "did you mean '--n-prompts'"),
        (["run", "91", "--n-prompts"], "Missing value for argument '--n-prompts'"),
        (["run", "91", "--n-prompts", "x"], "n_prompts is 'x'; expected a whole number"),
        (["run", "91", "--n-prompts", "3", "91"], "'91' belongs to no option"),
        (["run", "--n-prompts", "3", "91"], "Name it before its settings"),
        (["run", "91", "--force=1"], "'1' belongs to no option"),
        (["run", "91", "--seed", "-1"], "seed is -1; expected a whole number, at least 0"),
        (["run", "91", "91", "--device"], "Missing value for argument '--device'"),
        (["run", "05", "06", "--seed=-1"], "seed is -1"),
        (["run", "05", "06", "--n-train", "9"], "options of one experiment alone"),
    ],
)
def test_each_mistake_is_one_clear_line(words, expected, experiments_folder, capsys) -> None:
    folder = FOLDER if "05" in words else experiments_folder
    assert main(words, folder) == 2
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert shown.out == ""


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


def test_help_of_an_experiment_shows_its_settings(experiments_folder, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "91", "--help"], experiments_folder)
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "--n-prompts" in shown
    assert "prompts that are measured" in shown
    assert "91a: Norms are positive." in shown


def test_experiments_and_flags_are_told_apart() -> None:
    words = ["--force", "05", "--preset", "smoke", "06", "--seed=3", "--n", "-2"]
    names, flags = split_names(words)
    assert names == ["05", "06"]
    assert flags == ["--force", "--preset", "smoke", "--seed=3", "--n", "-2"]
    assert flag_value(flags, "--preset") == "smoke"
    assert flag_value(flags, "--seed") == "3"
    assert flag_value(flags, "--model") is None


@pytest.mark.parametrize(
    ("line", "names", "changed"),
    [
        ("05 --n_train 9 --n_train 8", "05", {"n_train": 8}),
        ("08 --n-angles 12", "08", {"n_angles": 12}),
        ("01 --n-prompts None", "01", {"n_prompts": None}),
        ("--preset quick 05", "05", {}),
        ("--force --seed 3 05", "05", {"seed": 3}),
        ("--preset smoke --preset quick 05", "05", {}),
        ("05 06 --seed 1", "05 06", {"seed": 1}),
        ("05 --seed 1 06", "05 06", {"seed": 1}),
        ("all --model x", " ".join(one.number for one in experiments_in()), {}),
        ("speed --n-layers None --peers", "speed", {"n_layers": None, "peers": True}),
    ],
)
def test_settings_are_read_from_the_line(line, names, changed, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(run_command, "run_experiments", lambda *given: asked.append(given) or [])
    assert main(["run", *line.split()]) == 0
    chosen, options, config, _ = asked[0]
    assert [one.number for one in chosen] == names.split()
    assert options.preset == "quick"
    plain = chosen[0].preset("quick") if len(chosen) == 1 else SharedSettings()
    assert {name: vars(config)[name] for name in changed} == changed
    same = vars(plain).keys() - changed
    assert {name: vars(config)[name] for name in same} == {name: vars(plain)[name] for name in same}


@dataclass(frozen=True)
class Doses(ExperimentConfig):
    """A setting of several values."""

    doses: tuple[float, ...] = (1.0,)
    raw: bool = False


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("91 --doses 0.5 1 --seed 3", {"doses": (0.5, 1.0), "seed": 3}),
        ("91 --doses=0.5", {"doses": (0.5,)}),
        ("--doses -0.5 -1e-3 --raw", {"doses": (-0.5, -0.001), "raw": True}),
        ("91 --doses --seed 1", {"doses": (), "seed": 1}),
    ],
)
def test_a_setting_takes_all_values_up_to_the_next_flag(line, changed) -> None:
    names, flags = split_names(line.split())
    assert names == ["91"][: len(names)]
    found = parse(run_command.combined(Doses()), "run 91", flags).settings
    assert found == replace(Doses(), **changed)


def test_a_seed_for_several_experiments_replaces_that_of_every_preset(tmp_path) -> None:
    chosen = select(["01", "08"])
    for seed, expected in ((None, [0, 0]), (4, [4, 4])):
        plans = make_plans(chosen, RunOptions(preset="full"), SharedSettings(seed), tmp_path, "x")
        assert [plan.config.seed for plan in plans] == expected


def test_settings_start_from_the_preset(experiments_folder) -> None:
    chosen = select(["91"], experiments_folder)
    options, config = parse_options(chosen, ["--preset", "full", "--seed", "4"])
    assert options.preset == "full"
    assert vars(config) == {"seed": 4, "n_prompts": 6}


def test_experiments_are_selected_by_number_name_or_all(experiments_folder) -> None:
    for wanted in (["91"], ["norms"], ["91_norms"], ["91", "norms"]):
        assert [one.name for one in select(wanted, experiments_folder)] == ["91_norms"]
    for wanted in (["all"], ["92", "all"], ["91", "pair"]):
        assert [one.name for one in select(wanted, experiments_folder)] == ["91_norms", "92_pair"]
    assert [one.name for one in select(["92", "91"], experiments_folder)] == ["92_pair", "91_norms"]


def test_an_experiment_without_its_parts_is_refused(tmp_path) -> None:
    (tmp_path / "07_bare.py").write_text("CLAIMS = ()\nConfig = object\n")
    bare = find_experiment("07", tmp_path)
    with pytest.raises(ExperimentError, match=r"07_bare\.py lacks PRESETS, verdicts"):
        bare.preset("smoke")
    with pytest.raises(ExperimentError, match=r"07_bare\.py lacks run"):
        bare.run(ExperimentConfig(), None)  # type: ignore[arg-type]
    (tmp_path / "08_half").mkdir()
    (tmp_path / "08_half" / "protocol.py").write_text(
        "CLAIMS = ()\nConfig = verdicts = object\nPRESETS = {'smoke': 1}\n"
    )
    with pytest.raises(ExperimentError, match="08_half: PRESETS lacks quick, full"):
        find_experiment("08", tmp_path).preset("smoke")


def test_folders_of_experiments_elsewhere_do_not_meet(tmp_path) -> None:
    for name in ("one", "two"):
        write_experiments(tmp_path / name)
    first, second = (find_experiment("92", tmp_path / name) for name in ("one", "two"))
    assert first.part("run").Config is first.protocol.Config
    assert first.protocol.Config is not second.protocol.Config


def test_labels_of_models() -> None:
    def identity(name: str) -> str:
        return "0123456789abcdef"

    assert model_label("smollm2-135m", identity) == "smollm2-135m"
    assert model_label("Qwen/Qwen3-0.6B", identity) == "Qwen--Qwen3-0.6B"
    assert model_label("tiny", identity, "my prompts", "tiny") == "tiny-my-prompts"


def test_own_model_files_of_the_same_name_get_different_labels(tmp_path) -> None:
    file = tmp_path / "smollm2-135m.gguf"
    file.write_bytes(b"")
    assert model_label(str(file), lambda name: "ab" * 32) == "smollm2-135m-abababab"


def test_results_go_to_the_folder_named_by_the_environment(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("INTERP_RESULTS", str(tmp_path))
    assert results_root() == tmp_path
    assert results_root(tmp_path / "other") == tmp_path / "other"


def test_the_real_experiments_state_claims_that_can_be_read() -> None:
    for experiment in experiments_in():
        letters = "abcdef"[: len(experiment.claims)]
        assert [c.key for c in experiment.claims] == [f"{experiment.number}{x}" for x in letters]
        for claim in experiment.claims:
            assert min(map(len, (claim.notes, claim.statement, claim.criterion))) > 20, claim.key


IMPORTS = """
import sys
from experiments.command.main import main

for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit:
        pass
    heavy = {"torch", "pandas", "numpy", "matplotlib", "transformers"} & set(sys.modules)
    assert not heavy, (line, heavy)
"""


def test_help_and_lists_import_nothing_heavy() -> None:
    lines = ["--help", "--version", "list", "list --help", "report --help", "models", "data --help"]
    lines += ["notebooks --help", "run --help", "run all --help", "run 05 06 --preset smoke --help"]
    lines += [f"run {one.number} --help" for one in (*experiments_in(), *benchmarks_in())]
    lines += ["export --help", "export D --to gguf", "try --help", "try D --scale x"]
    lines += ["lock --help", "lock tiny-random", "unlock --help", "unlock L --kye K"]
    lines += ["run", "run --n-prompts 3 05", "run 5 --dtype x"]
    command = [sys.executable, "-c", IMPORTS, *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_help_of_an_experiment_comes_at_once() -> None:
    command = [sys.executable, "-m", "experiments", "run", "05", "--help"]
    started = time.monotonic()
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--n-nulls" in shown
    assert time.monotonic() - started < 3  # a third of that on a machine that does nothing else


def test_the_help_names_what_an_option_takes(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "01", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--model NAME", "--positive FILE", "--out FOLDER", "--n-prompts INT|None"):
        assert flag in shown
    assert "{None}" not in shown


def test_the_version_names_what_numbers_depend_on(capsys) -> None:
    assert main(["--version"]) == 0
    shown = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert shown["interp"] == metadata.version("interp-geometry")
    assert {"python", "torch", "transformer-lens"} <= shown.keys()
