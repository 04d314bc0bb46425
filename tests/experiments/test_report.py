"""Tables of verdicts, rebuilt from result.json files alone."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from experiments.command.report import experiment_table, print_report, write_report
from experiments.harness.code_hash import code_hash
from experiments.harness.provenance import git
from experiments.harness.summaries import committed, headlines, read_summary, summaries

ESTIMATE = {
    "name": "norm.mean",
    "value": 1.2345,
    "low": 1.0,
    "high": 1.5,
    "null_low": -0.1,
    "null_high": 0.1,
    "n": 12,
    "p": None,
    "mde": None,
    "unit": "nats",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


def save(root: Path, preset: str, model: str, verdict: str, **changes) -> Path:
    """A made-up result of experiment 91_norms, with one figure."""
    folder = root / preset / model / "91_norms"
    folder.mkdir(parents=True)
    source = root.parent / "experiments" / "91_norms.py"
    content = {
        "experiment": "91_norms",
        "code": code_hash(source, drawing=False) if source.is_file() else "",
        "preset": preset,
        "verdict": verdict,
        "mechanics": False,
        "style": "template",
        "criterion": "Supported if above 0.5.",
        "observation": "It was | found.",
        "estimates": [ESTIMATE, {**ESTIMATE, "name": "other", "value": None}],
        **changes,
    }
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "profile.png").write_bytes(b"")
    return folder


def test_headlines_are_those_the_experiment_names(root, experiments_folder) -> None:
    save(root, "full", "m", "supported")
    (found,) = summaries(root, "full")
    expected = "norm.mean 1.23 nats [1, 1.5] (null [-0.1, 0.1], n = 12)"
    assert headlines(found, experiments_folder) == [expected]
    other = [estimate for estimate in headlines(found, root)]
    assert other[1].startswith("other not measured")


def test_readme_has_verdicts_estimates_and_links(root, experiments_folder) -> None:
    save(root, "full", "a", "supported")
    save(root, "full", "b", "rejected", style="newline")
    path = write_report(root, "full", experiments_folder)
    text = path.read_text()
    assert path == root / "README.md"
    assert "| [91_norms](#91_norms) | supported | rejected |" in text
    assert "[profile](full/a/91_norms/profile.png)" in text
    assert "b (style: newline)" in text
    assert "Norms are positive." in text
    assert "Supported if above 0.5." in text
    assert "norm.mean 1.23 nats" in text


def test_settings_that_are_not_the_presets_stand_beside_the_verdict(
    root, experiments_folder
) -> None:
    save(root, "full", "a", "supported")
    save(root, "full", "b", "rejected", changed={"n_sources": 14})
    text = write_report(root, "full", experiments_folder).read_text()
    assert "| [91_norms](#91_norms) | supported | rejected (n_sources 14) |" in text
    assert "| b (n_sources 14) | rejected |" in text

    save(root, "full", "c", "rejected", changed={"n_sources": 14, "n_null": 20, "n_targets": 14})
    text = write_report(root, "full", experiments_folder).read_text()
    assert "rejected (n_sources 14) | rejected (n_sources 14, 2 more) |" in text
    assert "| c (n_sources 14, n_null 20, n_targets 14) | rejected |" in text


def test_verdicts_by_earlier_code_are_marked(root, experiments_folder) -> None:
    save(root, "full", "a", "supported", code="earlier")
    save(root, "full", "b", "rejected")
    text = write_report(root, "full", experiments_folder).read_text()
    assert "| supported, measured by earlier code | rejected |" in text
    assert "| a | supported, measured by earlier code |" in text
    console = Console(record=True, width=200)
    console.print(experiment_table(root, ("full",), experiments_folder))
    print_report(root, "full", None, console, experiments_folder)
    shown = console.export_text()
    assert "a (full): supported, measured by earlier code" in shown
    assert shown.count("measured by earlier code") == 3  # in the list, and reproduced, committed


def test_readme_is_the_same_when_built_again(root, experiments_folder) -> None:
    save(root, "full", "a", "supported")
    first = write_report(root, "full", experiments_folder).read_bytes()
    assert write_report(root, "full", experiments_folder).read_bytes() == first


def test_random_weights_are_never_in_the_table_of_verdicts(root, experiments_folder) -> None:
    save(root, "smoke", "tiny-random", "supported", mechanics=True)
    text = write_report(root, "smoke", experiments_folder).read_text()
    assert (root / "smoke" / "README.md").is_file()
    assert "Random weights only" in text
    assert "| [91_norms]" not in text
    assert "mechanics only" in text


def test_reproduced_verdicts_stand_beside_the_committed(root, experiments_folder) -> None:
    save(root, "full", "m", "supported")
    folder = save(root, "quick", "m", "inconclusive")
    console = Console(record=True, width=200)
    print_report(root, "quick", None, console, experiments_folder)
    text = console.export_text()
    row = next(line for line in text.splitlines() if "91_norms" in line)
    assert row.index("inconclusive") < row.index("supported")
    assert str(folder / "profile.png") in text


def test_committed_is_what_git_has_not_what_lies_on_disk(root) -> None:
    folder = save(root, "full", "m", "supported")
    root_repository = root.parent
    git("init", "-q", folder=root_repository)
    assert committed(folder) is None
    git("add", ".", folder=root_repository)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    git(*who, "commit", "-q", "-m", "x", folder=root_repository)
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**content, "verdict": "rejected"}))
    found = committed(folder)
    assert found is not None
    assert found.verdict == "supported"


def test_list_shows_claims_and_verdicts_so_far(root, experiments_folder) -> None:
    save(root, "quick", "m", "rejected")
    save(root, "smoke", "tiny-random", "supported", mechanics=True)
    console = Console(record=True, width=200)
    console.print(experiment_table(root, ("smoke", "quick", "full"), experiments_folder))
    text = console.export_text()
    assert "Norms are positive." in text
    assert "m (quick): rejected" in text
    assert "tiny-random" not in text


def test_a_folder_that_is_being_saved_is_left_out(root) -> None:
    folder = save(root, "full", "m", "supported")
    building = folder.rename(folder.with_name(".91_norms.saving-1"))
    assert read_summary(building / "result.json") is None
    assert summaries(root, "full") == []


def test_no_results_says_what_to_run(root, experiments_folder) -> None:
    console = Console(record=True, width=200)
    print_report(root, "quick", None, console, experiments_folder)
    assert "interp run all --preset quick" in console.export_text()
