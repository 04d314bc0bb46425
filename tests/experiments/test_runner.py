"""The runner: skips the unchanged, resumes the broken, saves whole, and draws from the tables."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.command.report import is_by_present_code
from experiments.harness import provenance
from experiments.harness.provenance import git
from experiments.harness.provenance import revision as first_revision
from experiments.harness.runner import Plan, fingerprint_of, run_plans
from experiments.harness.store import load_result
from experiments.harness.summaries import read_summary
from experiments.lab.lab import Lab
from interp.directions import cosine, load_directions
from interp.errors import ExperimentError
from interp.sites import Site
from tests.made_up_experiments import rewrite


def silent(line: str) -> None:
    """Says nothing."""


@pytest.fixture(autouse=True)
def revision(monkeypatch) -> list[str | None]:
    """The git revision of the code, its last entry."""
    known: list[str | None] = ["first"]
    monkeypatch.setattr(provenance, "revision", lambda folder: known[-1])
    return known


def claims(folder: Path) -> dict[str, dict]:
    """The claims of a result.json by key."""
    saved = json.loads((folder / "result.json").read_text())
    return {claim["key"]: claim for claim in saved["claims"]}


def content(folder: Path) -> dict:
    """result.json without what differs from run to run: time and memory."""
    kept = json.loads((folder / "result.json").read_text())
    return {key: kept[key] for key in kept if key not in ("seconds", "peak_memory_mb")}


def test_a_run_is_saved_with_its_provenance(bench, make_plan) -> None:
    plan = make_plan()
    (outcome,) = run_plans([plan], bench, say=silent)
    assert outcome.status == "measured", outcome.error
    assert sorted(path.name for path in plan.folder.iterdir()) == [
        "profile.csv",
        "profile.png",
        "result.json",
    ]
    saved = load_result(plan.folder)
    assert saved.run is not None
    assert saved.verdicts == {"91a": "supported"}
    assert claims(plan.folder)["91a"] == {
        "key": "91a",
        "notes": "norms grow",
        "statement": "Norms are positive.",
        "criterion": "Supported if the mean norm is above 0.5, else rejected.",
        "criterion_sha256": provenance.sha256_of(saved.run.claims[0]["criterion"]),
        "criterion_revision": "first",
        "number": "",
        "estimates": ["norm.mean"],
        "verdict": "supported",
    }
    assert saved.run.mechanics is True
    assert saved.run.config == {"seed": 0, "n_prompts": 2}
    assert saved.run.changed == {}
    assert saved.run.model["sha256"] == bench.model.info.sha256
    assert [entry["name"] for entry in saved.run.data] == ["made-up"]
    assert saved.run.data[0]["n"] == 60
    assert not plan.folder.with_name("91_norms.partial").exists()


def test_an_unchanged_result_is_kept_without_a_lab(bench, make_plan) -> None:
    plan = make_plan()
    run_plans([plan], bench, say=silent)
    before = (plan.folder / "result.json").read_bytes()
    (outcome,) = run_plans([plan], bench, say=silent)
    assert outcome.status == "unchanged"
    assert bench.asked == 1
    assert (plan.folder / "result.json").read_bytes() == before


@pytest.mark.parametrize("fact", ["model", "contrast", "style", "dtype"])
def test_a_change_of_identity_is_measured_again(bench, make_plan, fact) -> None:
    plan = make_plan()
    run_plans([plan], bench, say=silent)
    bench.facts = {**bench.facts, fact: "other"}
    (outcome,) = run_plans([plan], bench, say=silent)
    assert outcome.status == "measured", outcome.error


@pytest.mark.parametrize(
    ("name", "status"), [("made-up", "measured"), ("just registered", "unchanged")]
)
def test_only_a_data_set_that_was_read_makes_a_result_stale(bench, make_plan, name, status) -> None:
    plan = make_plan()
    run_plans([plan], bench, say=silent)
    bench.hashes[name] = "other"
    assert run_plans([plan], bench, say=silent)[0].status == status


def test_a_result_of_earlier_code_is_known_as_such(bench, make_plan) -> None:
    plan = make_plan()
    run_plans([plan], bench, say=silent)
    summary = read_summary(plan.folder / "result.json")
    assert summary is not None
    assert is_by_present_code(summary, plan.experiment)
    rewrite(plan.experiment, "figure = Figure()", "figure = Figure((3, 3))")
    assert is_by_present_code(summary, make_plan().experiment)
    rewrite(plan.experiment, "mean().item()", "sum().item()")
    assert not is_by_present_code(summary, make_plan().experiment)


def test_code_that_is_edited_while_it_runs_is_not_what_measured(bench, make_plan) -> None:
    plan = make_plan()
    path = plan.experiment.path

    def edit(line: str) -> None:
        if line.endswith("running (smoke)"):  # what is imported stays as it was
            path.write_text(path.read_text().replace("mean().item()", "sum().item()"))

    run_plans([plan], bench, say=edit)
    summary = read_summary(plan.folder / "result.json")
    assert summary is not None
    assert not is_by_present_code(summary, make_plan().experiment)
    assert run_plans([make_plan()], bench, say=silent)[0].status == "measured"


def test_changed_settings_and_force_are_measured_again(bench, make_plan) -> None:
    run_plans([make_plan()], bench, say=silent)
    (changed,) = run_plans([make_plan(n_prompts=3)], bench, say=silent)
    assert changed.status == "measured"
    saved = load_result(changed.folder)
    assert saved.run is not None
    assert saved.run.changed == {"n_prompts": 3}
    assert run_plans([make_plan(n_prompts=3)], bench, say=silent)[0].status == "unchanged"
    forced = run_plans([make_plan(n_prompts=3)], bench, force=True, say=silent)
    assert forced[0].status == "measured"


@pytest.mark.parametrize(
    ("number", "part", "old", "new", "counts"),
    [
        ("91", "", "# prompts that are measured", "# how many", False),
        ("91", "", "figure = Figure()", "figure = Figure((3, 3))", False),
        ("91", "", "above 0.5", "above 0.6", False),
        ("91", "", ".value > 0.5", ".value > 0.6", False),
        ("91", "", "Config(n_prompts=6)", "Config(n_prompts=7)", False),  # the full preset
        ("91", "", "mean().item()", "sum().item()", True),
        ("92", "figures.py", "(4, 3)", "(3, 4)", False),
        ("92", "protocol.py", '"smoke": 0.1', '"smoke": 0.2', False),
        ("92", "protocol.py", "1000000", "2000000", False),
        ("92", "protocol.py", "n_prompts: Several = 4", "n_prompts: Several = 5", True),
        ("92", "measure.py", "positive.mean(0)", "positive.mean(1)", True),
        ("92", "run.py", 'Site(2, "mid")', 'Site(2, "pre")', True),
    ],
)
def test_only_code_that_measures_makes_a_result_stale(
    make_plan, number, part, old, new, counts
) -> None:
    first = fingerprint_of(make_plan(number=number), {})
    rewrite(make_plan(number=number).experiment, old, new, part)
    assert (fingerprint_of(make_plan(number=number), {}) != first) == counts


def status_of(plan: Plan, bench) -> str:
    """What becomes of the plan; the lines that say so must not be of a failure."""
    (outcome,) = run_plans([plan], bench, say=silent)
    assert outcome.status != "failed", outcome.error
    return outcome.status


def test_new_drawing_code_redraws_without_measuring(bench, make_plan) -> None:
    plan = make_plan()
    status_of(plan, bench)
    before, picture = content(plan.folder), (plan.folder / "profile.png").read_bytes()
    rewrite(plan.experiment, "figure = Figure()", "figure = Figure((3, 3))")
    assert status_of(make_plan(), bench) == "redrawn"
    assert bench.asked == 1
    assert (plan.folder / "profile.png").read_bytes() != picture
    assert {**content(plan.folder), "drawing": ""} == {**before, "drawing": ""}
    assert status_of(make_plan(), bench) == "unchanged"


def test_a_changed_criterion_judges_the_saved_numbers_anew(bench, make_plan, revision) -> None:
    plan, said = make_plan(number="92"), []
    status_of(plan, bench)
    before, old = content(plan.folder), claims(plan.folder)
    assert [old[key]["verdict"] for key in ("92a", "92b")] == ["supported", "rejected"]
    rewrite(plan.experiment, "1000000", "0.001", "protocol.py")
    revision.append("second")
    (outcome,) = run_plans([make_plan(number="92")], bench, say=said.append)
    assert said == [f"92_pair: unchanged, judged and drawn anew, {plan.folder}"]
    assert (outcome.status, bench.asked) == ("redrawn", 1)
    new = claims(plan.folder)
    assert new["92a"] == old["92a"]
    assert new["92b"]["verdict"] == "supported"
    assert new["92b"]["criterion"].startswith("Supported if the distance of the means is above 0.0")
    assert new["92b"]["criterion_sha256"] == provenance.sha256_of(new["92b"]["criterion"])
    assert new["92b"]["criterion_revision"] == "second"
    after = content(plan.folder)
    same = before.keys() - {"claims", "drawing"}
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    rewrite(plan.experiment, "0.001", "1000000", "protocol.py")
    revision.append("third-dirty")
    assert status_of(make_plan(number="92"), bench) == "redrawn"
    assert claims(plan.folder)["92b"]["verdict"] == "rejected"
    assert claims(plan.folder)["92b"]["criterion_revision"] is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"92b": decide', '"92c": decide', r"\['92a', '92c'\], but the cl"),
        ('"random"', '"absent"', "92b is decided by absent: not estimated"),
    ],
)
def test_what_cannot_be_judged_fails_and_keeps_the_result(
    bench, make_plan, old, new, message
) -> None:
    plan = make_plan(number="92")
    status_of(plan, bench)
    before = (plan.folder / "result.json").read_bytes()
    rewrite(plan.experiment, old, new, "protocol.py")
    (outcome,) = run_plans([make_plan(number="92")], bench, say=silent)
    assert outcome.status == "failed"
    assert re.search(message, outcome.error)
    assert (plan.folder / "result.json").read_bytes() == before


def test_a_direction_lies_beside_the_result_and_survives_a_redraw(bench, make_plan) -> None:
    plan = make_plan(number="92")
    status_of(plan, bench)
    path = plan.folder / "difference.safetensors"
    (direction,) = load_directions(path)
    assert (str(direction.site), direction.method) == ("2.mid", "mean_difference")
    assert direction.norm == pytest.approx(load_result(plan.folder)["distance"].value, rel=1e-5)
    assert cosine(direction, load_result(plan.folder).directions["difference"]) == pytest.approx(1)
    before = path.read_bytes()
    rewrite(plan.experiment, "(4, 3)", "(3, 4)", "figures.py")
    assert status_of(make_plan(number="92"), bench) == "redrawn"
    assert path.read_bytes() == before
    rewrite(plan.experiment, 'save_direction("difference"', 'save_direction("other"', "run.py")
    assert status_of(make_plan(number="92"), bench) == "measured"
    assert [found.name for found in plan.folder.glob("*.safetensors")] == ["other.safetensors"]


@pytest.mark.parametrize(("changed", "left"), [("just registered", 3), ("made-up", 8)])
def test_a_killed_run_resumes_and_equals_an_unbroken_one(
    bench, make_plan, monkeypatch, changed: str, left: int
) -> None:
    plan = make_plan()
    run_plans([plan], bench, say=silent)
    unbroken, table = content(plan.folder), (plan.folder / "profile.csv").read_bytes()
    shutil.rmtree(plan.folder)

    measured: list[Site] = []
    activations = Lab.activations

    def count(self, prompts, sites, positions=(-1,)):
        if len(measured) == 5 and not bench.hashes.get(changed) == "other":
            raise KeyboardInterrupt
        measured.extend(sites)
        return activations(self, prompts, sites, positions)

    monkeypatch.setattr(Lab, "activations", count)
    with pytest.raises(KeyboardInterrupt):
        run_plans([plan], bench, say=silent)
    assert not plan.folder.exists()
    measured.clear()
    bench.hashes[changed] = "other"
    run_plans([plan], bench, say=silent)
    assert len(measured) == left  # of eight sites, five were measured before
    assert content(plan.folder) == unbroken
    assert (plan.folder / "profile.csv").read_bytes() == table


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('    raise PromptError("this prompt is too long")', "too long"),
        ("    from interp.sites import nothing\n    nothing()", "interp.sites has no 'nothing'"),
    ],
)
def test_a_failing_experiment_does_not_stop_the_others(bench, make_plan, code, message) -> None:
    bad = make_plan(number="92")
    rewrite(
        bad.experiment, '    site = Site(2, "mid")', f'{code}\n    site = Site(2, "mid")', "run.py"
    )
    imported = "from interp.errors import PromptError\nfrom interp.sites import Site"
    rewrite(bad.experiment, "from interp.sites import Site", imported, "run.py")
    outcomes = run_plans([bad, make_plan()], bench, say=silent)
    assert [outcome.status for outcome in outcomes] == ["failed", "measured"]
    assert message in outcomes[0].error
    assert not bad.folder.exists()


def test_an_unwritable_folder_fails_before_anything_is_computed(bench, make_plan, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    plan = replace(make_plan(), folder=tmp_path / "file" / "smoke" / "tiny" / "91_norms")
    with pytest.raises(ExperimentError, match="cannot be written"):
        run_plans([plan], bench, say=silent)
    assert bench.asked == 0


def test_a_figure_without_a_table_is_refused_and_keeps_the_old_result(bench, make_plan) -> None:
    plan = make_plan()
    status_of(plan, bench)
    before = content(plan.folder)
    rewrite(plan.experiment, '{"profile": figure}', '{"no_table": figure}')
    for force in (False, True):
        (outcome,) = run_plans([make_plan()], bench, force=force, say=silent)
        assert outcome.status == "failed"
        assert "Figures without a table of the same name: no_table" in outcome.error
        assert content(plan.folder) == before


def test_a_second_run_of_the_same_result_is_refused(bench, make_plan) -> None:
    from filelock import FileLock

    plan = make_plan()
    partial = plan.folder.with_name("91_norms.partial")
    partial.mkdir(parents=True)
    with FileLock(partial / "lock"):
        (outcome,) = run_plans([plan], bench, say=silent)
    assert outcome.status == "failed"
    assert "Another run" in outcome.error


def test_a_result_that_another_run_is_writing_is_not_redrawn(bench, make_plan) -> None:
    from filelock import FileLock

    plan = make_plan()
    status_of(plan, bench)
    partial = plan.folder.with_name("91_norms.partial")
    partial.mkdir()
    (partial / "cells.jsonl").write_text("of a run with other settings")
    rewrite(plan.experiment, "figure = Figure()", "figure = Figure((3, 3))")
    with FileLock(partial / "lock"):
        (outcome,) = run_plans([make_plan()], bench, say=silent)
    assert "Another run" in outcome.error
    assert status_of(make_plan(), bench) == "redrawn"
    assert (partial / "cells.jsonl").is_file()


def test_captures_are_shared_and_exact(bench) -> None:
    lab = bench.lab(0)
    prompts = lab.splits.train.positive[:3]
    both = lab.activations(prompts, [Site(0, "pre"), Site(2, "mid")], (-1, -2))
    assert both.shape == (3, 2, 2, bench.model.d_model)
    view = lab.for_experiment(lab._cells)
    lab.model = None  # captured before: the model is not needed again
    again = view.activations(prompts, [Site(2, "mid")], (-2,))
    assert (again[:, 0, 0] == both[:, 1, 1]).all()


def test_an_earlier_result_keeps_the_revision_of_its_criterion(bench, make_plan, revision) -> None:
    plan = make_plan()

    def known() -> str | None:
        run_plans([plan], bench, force=True, say=silent)
        return claims(plan.folder)["91a"]["criterion_revision"]

    revision.append("first-dirty")
    assert known() is None
    revision.append("second")
    assert known() == "second"
    revision.append("third")
    assert known() == "second"
    repository = plan.folder.parents[2]
    git("init", "-q", folder=repository)
    path = plan.folder / "result.json"
    commit(repository, path)
    shutil.rmtree(plan.folder)
    plan.folder.mkdir()
    assert known() == "second"
    path.write_text(path.read_text().replace('"criterion_sha256": "', '"criterion_sha256": "0'))
    commit(repository, path)
    assert known() == "third"


def commit(root: Path, file: Path) -> None:
    """Commit a file."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    git("add", str(file), folder=root)
    assert git(*who, "commit", "-q", "-m", "x", folder=root) is not None


def test_the_revision_says_when_sources_were_changed_since(tmp_path) -> None:
    assert first_revision(tmp_path) is None
    git("init", "-q", folder=tmp_path)
    source = tmp_path / "interp" / "a.py"
    source.parent.mkdir()
    source.write_text("1")
    commit(tmp_path, source)
    clean = first_revision(tmp_path)
    assert clean is not None and len(clean) == 40
    (tmp_path / "notes.md").write_text("")  # no source
    assert first_revision(tmp_path) == clean
    source.write_text("2")
    assert first_revision(tmp_path) == f"{clean}-dirty"
