"""How often verdicts are right: counted on worlds, kept by claim, believed by a fixed rule."""

from dataclasses import replace

import pytest

from experiments.command.calibrate import FIGURE, Options, calibrate, extreme, has_worlds, plot
from experiments.command.report import how_often
from experiments.harness.calibration import (
    FILE,
    Calibration,
    Row,
    calibrations,
    false_limit,
    read_rows,
    write_rows,
)
from experiments.harness.paths import project_root
from experiments.harness.registry import experiments_in, find_experiment
from experiments.lab.progress import Silent
from interp.errors import ExperimentError

experiment = find_experiment("01")
ROW = Row("01a", "true", True, 60, 54, 0, 6, 0, 0.9, 0.8, 0.95, "0" * 12)
FALSE = replace(ROW, world="false", truth=False, supported=0, rejected=60, share=0.0)


def supported(row: Row, n: int, runs: int = 60) -> Row:
    return replace(row, runs=runs, supported=n, share=n / runs)


@pytest.mark.parametrize(
    ("true", "false", "registered"),
    [
        (supported(ROW, 48), FALSE, True),
        (supported(ROW, 47), FALSE, False),
        (ROW, supported(FALSE, 0, 59), True),
        (ROW, supported(FALSE, 0, 57), False),
        (ROW, supported(FALSE, 1), False),
        (ROW, supported(FALSE, 4, 200), True),
        (ROW, supported(FALSE, 5, 200), False),
    ],
)
def test_claim_is_registered_by_power_and_by_the_limit_of_its_false_alarms(true, false, registered):
    assert Calibration([true, false]).registered is registered


def test_the_hardest_and_the_worst_world_count():
    other_true, other_false = supported(ROW, 20), supported(FALSE, 3)
    found = Calibration([ROW, other_true, FALSE, other_false])
    assert (found.hardest, found.worst) == (other_true, other_false)
    assert str(found).startswith("supported 20 of 60 times where it is true, 3 of 60 where it is")
    assert "not to be relied on" in str(found)
    assert not Calibration([ROW]).registered
    assert "not calibrated" in str(Calibration([FALSE]))
    assert how_often(None) == "Not known: no planted worlds yet."
    assert extreme([ROW, other_true], True) == [other_true]
    assert extreme([], False) == []


def test_limit_of_a_share_is_clopper_and_pearsons():
    assert false_limit(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert false_limit(60, 60) == 1.0


def test_worlds_are_run_counted_written_and_reported(tmp_path):
    write_rows(tmp_path, [replace(ROW, claim="05a")], "05")
    paths = calibrate(["01"], tmp_path, Options(runs=1, workers=1), Silent())
    assert paths == [tmp_path / FILE, tmp_path / FIGURE]
    rows = read_rows(tmp_path)
    assert [row.claim for row in rows if row.claim.startswith("05")] == ["05a"]
    own = [row for row in rows if row.claim.startswith("01")]
    truths = {
        (key, world.name): truth
        for world in experiment.part("worlds").WORLDS
        for key, truth in world.truth.items()
    }
    assert {(row.claim, row.world): row.truth for row in own} == truths
    assert all(row.runs == 1 and row.supported == row.truth for row in own)
    assert set(calibrations(tmp_path, [experiment])) == {"01a", "01b", "01c"}
    assert plot(rows).get_suptitle()


def test_worlds_that_are_named_are_drawn_alone(tmp_path):
    one, other = (world.name for world in experiment.part("worlds").WORLDS[:2])
    kept = replace(ROW, world=other)
    write_rows(tmp_path, [replace(ROW, world=one), kept], "01")
    calibrate(["01"], tmp_path, Options(runs=1, workers=1, worlds=(one,)), Silent())
    rows = read_rows(tmp_path)
    assert kept in rows
    assert {row.runs for row in rows if row.world == one} == {1}
    with pytest.raises(ExperimentError, match="No planted world is called 'nowhere'; there are"):
        calibrate(["01"], tmp_path, Options(worlds=("nowhere",)), Silent())
    assert read_rows(tmp_path) == rows


def test_rows_of_an_earlier_criterion_count_as_none(tmp_path):
    write_rows(tmp_path, [ROW], "01")
    assert calibrations(tmp_path, [experiment]) == {}


@pytest.mark.parametrize("one", [e for e in experiments_in() if has_worlds(e)], ids=str)
def test_committed_counts_are_of_the_worlds_and_criteria_that_stand(one):
    found = {
        (row.claim, row.world): row.truth
        for calibration in calibrations(project_root() / "results", [one]).values()
        for row in calibration.rows
    }
    assert found == {
        (key, world.name): truth
        for world in one.part("worlds").WORLDS
        for key, truth in world.truth.items()
    }


def test_experiment_without_worlds_is_named(tmp_path):
    with pytest.raises(ExperimentError, match="speed lacks a worlds"):
        calibrate(["01", "speed"], tmp_path, Options(runs=1), Silent())
    assert not read_rows(tmp_path)


@pytest.mark.parametrize("setting", ["runs", "workers"])
def test_a_count_below_one_is_refused(setting):
    with pytest.raises(ExperimentError, match=f"{setting} is 0"):
        Options(**{setting: 0})  # type: ignore[arg-type]
