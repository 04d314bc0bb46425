"""The runner: skips the unchanged, resumes the broken, saves whole, and draws from the tables."""

import json
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.harness.provenance import criterion_revision, git
from experiments.harness.runner import fingerprint_of, run_plans
from experiments.harness.store import load_result
from experiments.harness.summaries import is_by_present_code
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp.errors import ExperimentError, PromptError
from interp.sites import Site


def silent(line: str) -> None:
    """Says nothing."""


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
    assert saved.run.criterion == "Supported if the mean norm is above 0.5."
    assert saved.run.mechanics is True
    assert saved.run.config == {"seed": 0, "n_prompts": 2}
    assert saved.run.changed == {}
    assert saved.run.criterion_revision is None
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


@pytest.mark.parametrize("fact", ["model", "data", "style", "dtype"])
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
    saved = content(plan.folder)
    assert is_by_present_code(saved, plan.file)
    source = plan.file.path.read_text()
    plan.file.path.write_text(source.replace("figure = Figure()", "figure = Figure((3, 3))"))
    assert is_by_present_code(saved, plan.file)
    plan.file.path.write_text(source.replace("mean().item()", "sum().item()"))
    assert not is_by_present_code(saved, plan.file)
    plan.file.path.write_text(source)
    del saved["code"]  # as in results from before there was one
    assert not is_by_present_code(saved, plan.file)


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


def test_code_counts_but_comments_and_drawing_do_not(bench, make_plan) -> None:
    plan = make_plan()
    first = fingerprint_of(plan, {})
    source = plan.file.path.read_text()
    plan.file.path.write_text(source.replace("# prompts that are measured", "# how many"))
    assert fingerprint_of(plan, {}) == first
    plan.file.path.write_text(source.replace("figure = Figure()", "figure = Figure((3, 3))"))
    assert fingerprint_of(plan, {}) == first
    plan.file.path.write_text(source.replace("mean().item()", "sum().item()"))
    assert fingerprint_of(plan, {}) != first


def test_new_drawing_code_redraws_without_measuring(bench, make_plan) -> None:
    plan = make_plan()
    run_plans([plan], bench, say=silent)
    before = content(plan.folder)
    picture = (plan.folder / "profile.png").read_bytes()
    source = plan.file.path.read_text()
    plan.file.path.write_text(source.replace("figure = Figure()", "figure = Figure((3, 3))"))

    def draw_small(result: Result):
        figures = plan.module.plot(result)
        figures["profile"].set_size_inches(3, 3)
        return figures

    changed = type("Module", (), {**vars(plan.module), "plot": staticmethod(draw_small)})
    again = replace(plan, module=changed)  # pyright: ignore[reportArgumentType]
    assert run_plans([again], bench, say=silent)[0].status == "redrawn"
    assert bench.asked == 1
    assert (plan.folder / "profile.png").read_bytes() != picture
    assert {**content(plan.folder), "drawing": ""} == {**before, "drawing": ""}
    assert run_plans([again], bench, say=silent)[0].status == "unchanged"


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


def test_a_failing_experiment_does_not_stop_the_others(bench, make_plan, tmp_path) -> None:
    good = make_plan()

    def fail(config, lab):
        raise PromptError("this prompt is too long")

    broken = type("Module", (), {**vars(good.module), "run": staticmethod(fail)})
    bad = replace(good, module=broken, folder=good.folder.with_name("92_bad"))  # pyright: ignore
    outcomes = run_plans([bad, good], bench, say=silent)
    assert [outcome.status for outcome in outcomes] == ["failed", "measured"]
    assert "too long" in outcomes[0].error
    assert not bad.folder.exists()


def test_an_unwritable_folder_fails_before_anything_is_computed(bench, make_plan, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    plan = replace(make_plan(), folder=tmp_path / "file" / "smoke" / "tiny" / "91_norms")
    with pytest.raises(ExperimentError, match="cannot be written"):
        run_plans([plan], bench, say=silent)
    assert bench.asked == 0


def test_a_figure_without_a_table_is_refused_and_keeps_the_old_result(bench, make_plan) -> None:
    plan = make_plan()
    run_plans([plan], bench, say=silent)
    before = content(plan.folder)
    other = type(
        "Module",
        (),
        {**vars(plan.module), "plot": staticmethod(lambda r: {"no_table": plan.module.plot(r)})},
    )
    (outcome,) = run_plans([replace(plan, module=other)], bench, force=True, say=silent)  # pyright: ignore
    assert outcome.status == "failed"
    assert "no_table" in outcome.error
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


def test_captures_are_shared_and_exact(bench) -> None:
    lab = bench.lab(0)
    prompts = lab.splits.train.positive[:3]
    both = lab.activations(prompts, [Site(0, "pre"), Site(2, "mid")], (-1, -2))
    assert both.shape == (3, 2, 2, bench.model.d_model)
    view = lab.for_experiment(lab._cells)
    lab.model = None  # captured before: the model is not needed again
    again = view.activations(prompts, [Site(2, "mid")], (-2,))
    assert (again[:, 0, 0] == both[:, 1, 1]).all()


def test_random_numbers_depend_on_seed_and_purpose(bench) -> None:
    first = bench.lab(0).rng("nulls").normal(size=4)
    assert (bench.lab(0).rng("nulls").normal(size=4) == first).all()
    assert (bench.lab(0).rng("splits").normal(size=4) != first).all()
    assert (bench.lab(1).rng("nulls").normal(size=4) != first).all()


def commit(root: Path, *files: Path) -> str:
    """Commit the files and return the revision."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    git("add", *map(str, files), folder=root)
    assert git(*who, "commit", "-q", "-m", "x", folder=root) is not None
    return (git("rev-parse", "HEAD", folder=root) or "").strip()


def test_an_earlier_result_keeps_the_revision_of_its_criterion(
    bench, make_plan, monkeypatch
) -> None:
    monkeypatch.setattr("experiments.harness.provenance.criterion_revision", lambda *_: "found")
    plan = make_plan()

    def revision() -> str:
        run_plans([plan], bench, force=True, say=silent)
        return content(plan.folder)["criterion_revision"]

    assert revision() == "found"
    path = plan.folder / "result.json"
    path.write_text(path.read_text().replace('"found"', '"first"'))
    assert revision() == "first"
    repository = plan.folder.parents[2]
    git("init", "-q", folder=repository)
    commit(repository, path)
    shutil.rmtree(plan.folder)
    plan.folder.mkdir()
    assert revision() == "first"
    path.write_text(path.read_text().replace('"criterion_sha256": "', '"criterion_sha256": "0'))
    commit(repository, path)
    assert revision() == "found"


def test_criterion_revision_is_the_first_commit_with_this_text(tmp_path) -> None:
    path, limits = tmp_path / "experiments" / "05_x.py", tmp_path / "experiments" / "limits.py"
    path.parent.mkdir()
    git("init", "-q", folder=tmp_path)
    text = """
        from experiments.limits import LIMIT
        CRITERION = (
            "Supported if "
            f"above {LIMIT:g}."
        )
    """
    path.write_text(textwrap.dedent(text))
    limits.write_text("LIMIT = 0.4")
    first = commit(tmp_path, path, limits)
    limits.write_text("LIMIT = 0.5")
    second = commit(tmp_path, limits)
    path.write_text(textwrap.dedent(text) + "# a comment")
    commit(tmp_path, path)
    moved = path.with_suffix("") / "protocol.py"
    moved.parent.mkdir()
    path.unlink()
    limits.rename(limits.with_name("bounds.py"))
    moved.write_text(textwrap.dedent(text).replace("experiments.limits", "..bounds"))
    commit(tmp_path, path, limits, moved, limits.with_name("bounds.py"))
    path = moved
    assert criterion_revision(path, "Supported if above 0.4.") == first
    assert criterion_revision(path, "Supported if above 0.5.") == second
    assert criterion_revision(path, "Supported if above 0.6.") is None
