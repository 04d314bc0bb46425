"""Verdicts by claim, rebuilt from result.json files alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.command.report import (
    BEGIN,
    END,
    LEGEND,
    _cell,
    experiment_table,
    print_report,
    refresh_readme,
    write_report,
)
from experiments.harness.calibration import Row, criterion_of, write_rows
from experiments.harness.code_hash import code_hash
from experiments.harness.provenance import git
from experiments.harness.registry import find_experiment
from experiments.harness.replication import Replicate, write_replicates
from experiments.harness.summaries import committed, read_summary, summaries
from interp.assets.registry import DEFAULT_MODEL

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
SHOWN = "norm.mean 1.23 nats [1, 1.5], null [-0.1, 0.1]"
CLAIM = {
    "key": "91a",
    "notes": "norms\n  grow",
    "statement": "Norms are positive.",
    "criterion": "Supported if the mean norm is above 0.5, else rejected.",
    "estimates": ["norm.mean", "other", "absent"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


def save(root: Path, preset: str, model: str, *verdicts: str, **changes) -> Path:
    """A made-up result of experiment 91_norms, with a verdict on 91a and others, and a figure."""
    folder = root / preset / model / "91_norms"
    folder.mkdir(parents=True)
    source = root.parent / "experiments" / "91_norms.py"
    content = {
        "experiment": "91_norms",
        "code": code_hash(source, drawing=False) if source.is_file() else "",
        "preset": preset,
        "seed": 0,
        "claims": [
            {**CLAIM, "key": f"91{letter}", "verdict": verdict}
            for letter, verdict in zip("abcd", verdicts, strict=False)
        ],
        "mechanics": False,
        "style": "template",
        "observation": "It was | found.",
        "estimates": [ESTIMATE, {"name": "other", "value": None}],
        **changes,
    }
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "profile.png").write_bytes(b"")
    return folder


def shown(root: Path, experiments_folder: Path, *presets: str) -> tuple[list[str], list[str]]:
    """Lines of `interp list`, and of `interp report` for the first preset."""
    lines = []
    for draw in (
        lambda console: console.print(experiment_table(root, presets, experiments_folder)),
        lambda console: print_report(root, presets[0], None, console, experiments_folder),
    ):
        console = Console(record=True, width=240)
        draw(console)
        lines.append(console.export_text().splitlines())
    return lines[0], lines[1]


def test_readme_has_signs_estimates_and_links(root, experiments_folder) -> None:
    save(root, "full", "a", "supported", "inconclusive")
    save(root, "full", "b", "rejected", "untestable", style="newline")
    path = write_report(root, "full", experiments_folder)
    text = path.read_text()
    assert path == root / "README.md"
    assert "| | a | b |\n|---|---|---|\n" in text
    assert "| [91a](#91a) | ✓ | ✗ |\n| [91b](#91b) | ~ | – |\n" in text
    assert LEGEND == (
        "✓ supported, ✗ rejected, ~ inconclusive, – untestable; ° measured by earlier code; an "
        "empty cell has not been measured as the claim now stands."
    )
    assert LEGEND in text
    assert "### 91a\n\n> norms grow\n\n**Claim.** Norms are positive." in text
    assert "**Criterion.** Supported if the mean norm is above 0.5, else rejected." in text
    # The estimates that decide, those that are there.
    assert f"| a | ✓ **supported** | {SHOWN}<br>other not measured | |" in text
    assert f"| b (style: newline) | – **untestable** | {SHOWN}" in text
    assert "*a.* It was | found. [profile](full/a/91_norms/profile.png)" in text
    assert "## Speed" in text


def test_the_projects_readme_gets_the_statements_too(root, experiments_folder) -> None:
    readme = root.parent / "README.md"
    readme.write_text(f"before {BEGIN} old {END} after")
    assert refresh_readme(readme, root, experiments_folder)
    assert "No results yet" in readme.read_text()
    save(root, "full", "a", "supported")
    write_report(root, "full", experiments_folder)
    text = readme.read_text()
    assert text.startswith(f"before {BEGIN}\n| | claim | a |\n|---|---|---|\n")
    assert "| [91a](results/README.md#91a) | Norms are positive. | ✓ |" in text
    assert text.endswith(f"{LEGEND}\n{END} after")
    assert not refresh_readme(readme, root, experiments_folder)


def test_settings_that_are_not_the_presets_stand_beside_the_verdict(
    root, experiments_folder
) -> None:
    save(root, "full", "a", "supported")
    changed = {"n_sources": 14, "n_null": 20}
    save(root, "full", "b", "rejected", changed=changed)
    text = write_report(root, "full", experiments_folder).read_text()
    assert "| a | ✓" in text
    assert "| b (n_sources 14, n_null 20) | ✗ **rejected**" in text
    (summary,) = summaries(root, "full", "b")
    assert summary.changed(most=1) == " (n_sources 14, 1 more)"


def test_verdicts_by_earlier_code_are_marked(root, experiments_folder) -> None:
    save(root, "full", "a", "supported", code="earlier")
    save(root, "full", "b", "rejected")
    text = write_report(root, "full", experiments_folder).read_text()
    assert "| [91a](#91a) | ✓° | ✗ |" in text
    assert "| a | ✓° **supported**" in text
    listed, printed = shown(root, experiments_folder, "full")
    assert "✓° supported: a " in "\n".join(listed)
    assert "✗ rejected: b " in "\n".join(listed)
    (row,) = [line for line in printed if "✓" in line]
    assert row.count("✓° supported") == 2  # reproduced, and committed


def test_a_claim_is_shown_as_present_code_states_it(root, experiments_folder) -> None:
    other = {**CLAIM, "statement": "As it was.", "verdict": "rejected"}
    save(root, "full", "a", "supported")
    save(root, "full", "b", code="earlier", claims=[other])
    text = write_report(root, "full", experiments_folder).read_text()
    assert "Norms are positive." in text
    assert "| [91a](#91a) | ✓ |  |" in text
    assert '| b | **rejected** by an earlier criterion, "As it was."' in text


def test_how_often_a_verdict_is_right_stands_with_its_claim(root, experiments_folder) -> None:
    save(root, "full", "a", "supported", "rejected")
    made_up = find_experiment("91", experiments_folder)
    counts = (60, 54, 0, 6, 0, 0.9, 0.8, 0.95, criterion_of(made_up, "91a"))
    worlds = [Row("91a", "true", True, *counts), Row("91a", "no", False, 60, 0, *counts[2:])]
    write_rows(root, worlds, "91")
    sentence = "supported 54 of 60 times where it is true, 0 of 60 where it is false"
    text = write_report(root, "full", experiments_folder).read_text()
    assert f"**How often it is right.** In planted worlds: {sentence}" in text
    assert "**How often it is right.** Not known: no planted worlds yet." in text  # 91b
    assert "54 of 60" in "\n".join(shown(root, experiments_folder, "full")[1])


def test_each_claim_of_the_default_model_has_a_row_with_all_that_says_whether_to_trust_it(
    root, experiments_folder
) -> None:
    save(root, "full", DEFAULT_MODEL, "supported", "rejected")
    made_up = find_experiment("91", experiments_folder)
    counts = (60, 54, 0, 6, 0, 0.9, 0.8, 0.95, criterion_of(made_up, "91a"))
    write_rows(root, [Row("91a", world, world == "yes", *counts) for world in ("yes", "no")], "91")
    estimate = ("norm.mean", 1.0, 0.5, 1.5, "revision", criterion_of(made_up, "91a"))
    others = enumerate(("supported", "rejected", "supported"), 1)
    write_replicates(
        root, [Replicate("91a", DEFAULT_MODEL, "quick", n, v, *estimate) for n, v in others]
    )
    text = write_report(root, "full", experiments_folder).read_text()
    begin = "| [91a](#91a) | “norms grow” | ✓ supported | norm.mean: 1.23 nats [1, 1.5]"
    end = "| 54 of 60, 54 of 60 (not to be relied on) | 2 of 3 |"
    assert f"{begin}, null [-0.1, 0.1] {end}" in text
    assert f"| {DEFAULT_MODEL} | ✓ **supported** | {SHOWN}<br>other not measured | 2 of 3 |" in text
    (root / "calibration.csv").unlink()
    (root / "replicates.csv").unlink()
    text = write_report(root, "full", experiments_folder).read_text()
    assert "| not calibrated | none ran |" in text


def test_a_claim_that_a_result_does_not_have_is_an_empty_cell(root, experiments_folder) -> None:
    save(root, "full", "a", "supported", "rejected")
    save(root, "full", "b", "rejected")
    text = write_report(root, "full", experiments_folder).read_text()
    assert "| [91b](#91b) | ✗ |  |" in text


def test_readme_is_the_same_when_built_again(root, experiments_folder) -> None:
    save(root, "full", "a", "supported")
    first = write_report(root, "full", experiments_folder).read_bytes()
    assert write_report(root, "full", experiments_folder).read_bytes() == first


def test_a_report_that_is_cut_off_leaves_the_earlier_one(
    root, experiments_folder, monkeypatch
) -> None:
    page = write_report(root, "full", experiments_folder)
    before, write_text = page.read_bytes(), Path.write_text

    def cut_off(path: Path, text: str, **options: Any) -> int:
        write_text(path, text[:10], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_report(root, "full", experiments_folder)
    assert page.read_bytes() == before


def test_random_weights_are_never_in_the_table_of_verdicts(root, experiments_folder) -> None:
    save(root, "smoke", "tiny-random", "supported", mechanics=True)
    text = write_report(root, "smoke", experiments_folder).read_text()
    assert (root / "smoke" / "README.md").is_file()
    assert "Random weights only" in text
    assert "| [91a]" not in text
    assert "| tiny-random, random weights: mechanics only | ✓ **supported**" in text


def test_reproduced_verdicts_stand_beside_the_committed(root, experiments_folder) -> None:
    save(root, "full", "m", "supported")
    folder = save(root, "quick", "m", "inconclusive", "rejected")
    _, printed = shown(root, experiments_folder, "quick")
    first, second = (line for line in printed if "91" in line and "│" in line)
    assert first.index("~ inconclusive") < first.index("✓ supported")
    assert second.index("✗ rejected") < second.index("none")
    assert SHOWN.replace("norm.mean", "norm.mean:") in first
    assert f"{folder}/ profile.png" in printed


def test_committed_is_what_git_has_not_what_lies_on_disk(root) -> None:
    folder = save(root, "full", "m", "supported")
    root_repository = root.parent
    git("init", "-q", folder=root_repository)
    assert committed(folder) is None
    git("add", ".", folder=root_repository)
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    git(*who, "commit", "-q", "-m", "x", folder=root_repository)
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace('"supported"', '"rejected"'))
    found = committed(folder)
    assert found is not None
    assert found.verdicts == {"91a": "supported"}


def test_list_shows_claims_and_verdicts_so_far(root, experiments_folder) -> None:
    save(root, "quick", "m", "rejected")
    save(root, "smoke", "tiny-random", "supported", mechanics=True)
    listed, _ = shown(root, experiments_folder, "smoke", "quick", "full")
    (row,) = [line for line in listed if "91a" in line]
    assert "91a Norms are positive." in row  # as the experiment states it
    assert "✗ rejected: m (quick)" in row
    (row,) = [line for line in listed if "92b" in line]
    assert "92b The means differ by a million." in row
    assert "none" in row
    assert "tiny-random" not in "\n".join(listed)


def test_a_folder_that_is_being_saved_is_left_out(root) -> None:
    folder = save(root, "full", "m", "supported")
    building = folder.rename(folder.with_name(".91_norms.saving-1"))
    assert read_summary(building / "result.json") is None
    assert summaries(root, "full") == []


def test_results_from_before_there_were_claims_count_as_none(root, experiments_folder) -> None:
    folder = save(root, "full", "m", "supported")
    content = json.loads((folder / "result.json").read_text())
    del content["claims"]
    (folder / "result.json").write_text(json.dumps({**content, "verdict": "supported"}))
    assert summaries(root, "full") == []
    assert committed(folder) is None
    assert "No results yet" in write_report(root, "full", experiments_folder).read_text()


def test_no_results_says_what_to_run(root, experiments_folder) -> None:
    _, (line,) = shown(root, experiments_folder, "quick")
    assert "interp run all --preset quick" in line


def test_a_bar_in_a_statement_does_not_end_its_cell() -> None:
    assert _cell("a | b\n c") == "a \\| b c"
