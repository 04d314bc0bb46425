"""Estimates, results, cells and folders: what is written is what is read back."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.command.main import main
from experiments.harness.rows import read_rows
from experiments.harness.saving import COMPLETE, check_writable, recover, replacing
from experiments.harness.store import (
    finite,
    load_result,
    read_table,
    saved,
    write_json,
    write_tables,
)
from experiments.lab.cells import FileCells, MemoryCells
from experiments.lab.estimate import Estimate
from experiments.lab.results import Result, RunInfo
from interp.errors import ExperimentError

CLAIM = {
    "key": "91a",
    "notes": "norms grow",
    "statement": "Norms are positive.",
    "criterion": "Supported if above 0.5.",
    "estimates": ["a.b"],
    "criterion_sha256": "c0ffee",
    "criterion_revision": None,
    "verdict": "rejected",
}
RUN = RunInfo(
    experiment="91_norms",
    claims=(CLAIM,),
    config={"seed": 0},
    preset="smoke",
    style="template",
    model={"name": "tiny-random", "sha256": "ab", "quantisation": None},
    data=({"name": "made up", "sha256": "cd", "n": 2},),
    seed=0,
    versions={"python": "3.11"},
    revision=None,
    seconds=1.5,
    peak_memory_mb=10.0,
    mechanics=True,
    fingerprint="f",
)


def result(**changes) -> Result:
    table = pd.DataFrame({"site": ["0.pre", "none"], "value": [0.1 + 0.2, math.nan], "n": [3, 4]})
    estimates = (Estimate("a.b", 0.1 + 0.2, 0.1, 0.5, n=3, unit="nats"), Estimate("c", math.nan))
    settings = {"verdicts": {"91a": "rejected"}, "tables": {"x": table}, "run": RUN}
    return Result(**{"estimates": estimates, **settings, **changes})


def test_a_saved_result_is_read_back_equal(tmp_path: Path) -> None:
    original = result(observation="Ten nats, å.")
    write_tables(original.tables, tmp_path)
    write_json(original, tmp_path)
    loaded = load_result(tmp_path)
    assert loaded.run == original.run
    assert loaded["a.b"] == original["a.b"]
    assert math.isnan(loaded["c"].value)
    assert loaded["c"].low is None
    pd.testing.assert_frame_equal(loaded.tables["x"], original.tables["x"], check_exact=True)
    assert loaded.verdicts == {"91a": "rejected"}
    assert loaded.observation == "Ten nats, å."
    assert loaded.directions == {}


def test_result_json_has_the_documented_keys_and_no_nan(tmp_path: Path) -> None:
    write_json(result(), tmp_path)
    text = (tmp_path / "result.json").read_text()
    content = json.loads(text)
    documented = (
        "experiment claims estimates config preset style model data seed versions revision seconds "
        "peak_memory_mb observation mechanics fingerprint drawing changed code behaviour"
    )
    assert set(content) == set(documented.split())
    assert content["claims"] == [CLAIM]
    assert "NaN" not in text
    assert content["estimates"][1]["value"] is None
    keys = "name value low high null_low null_high n p mde unit"
    assert list(content["estimates"][0]) == keys.split()


def test_unknown_estimate_is_named_with_the_nearest() -> None:
    with pytest.raises(ExperimentError, match=r"'a\.d'.*did you mean 'a\.b'"):
        result()["a.d"]


def test_two_estimates_of_one_name_are_refused() -> None:
    twice = (Estimate("same", 1.0), Estimate("same", 2.0))
    with pytest.raises(ExperimentError, match="same"):
        result(estimates=twice)


def test_finite_makes_plain_json_types() -> None:
    found = finite({"a": np.float64("nan"), "b": (np.int64(3), math.inf), "c": "nan", "d": True})
    assert found == {"a": None, "b": [3, None], "c": "nan", "d": True}
    assert type(found["b"][0]) is int


def test_only_an_empty_field_of_a_table_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,value\nNA,1\nnull,\n")
    table = read_table(tmp_path / "t.csv")
    assert list(table["name"]) == ["NA", "null"]
    assert table["value"].isna().tolist() == [False, True]


def test_cells_come_back_bit_for_bit_also_when_new(tmp_path: Path) -> None:
    value = [0.1 + 0.2, float(np.float32(1) / 3), math.nan, 1e-320]
    for cells in (MemoryCells(), FileCells(tmp_path / "a" / "cells.jsonl", "f")):
        new = cells.get("k", lambda: tuple(value))
        again = cells.get("k", lambda: pytest.fail("measured twice"))
        assert repr(new) == repr(again) == repr(value)


def test_cells_survive_a_cut_off_line(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    cells = FileCells(path, "f")
    cells.get("one", lambda: 1)
    cells.get("two", lambda: 2)
    path.write_bytes(path.read_bytes()[:-9])
    resumed = FileCells(path, "f")
    assert len(resumed) == 1
    assert resumed.get("one", lambda: pytest.fail("was measured")) == 1
    assert resumed.get("two", lambda: 22) == 22
    third = FileCells(path, "f")
    assert third.get("two", lambda: pytest.fail("was measured")) == 22


def test_cells_of_another_fingerprint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    FileCells(path, "f").get("one", lambda: 1)
    assert FileCells(path, "g").get("one", lambda: 11) == 11
    assert len(FileCells(path, "f")) == 0


def test_cells_measured_on_other_data_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    record = {"name": "made up", "sha256": "cd", "n": 2}
    cells = FileCells(path, "f")
    for _ in range(2):
        cells.uses(record)
    cells.get("one", lambda: 1)
    resumed = FileCells(path, "f", lambda known: known == record)
    assert (len(resumed), resumed.used) == (1, (record,))
    anew = FileCells(path, "f", lambda known: False)
    assert (len(anew), anew.used) == (0, ())
    assert path.read_text().count("made up") == 0


def test_a_cell_that_json_cannot_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="'bad'"):
        FileCells(tmp_path / "cells.jsonl", "f").get("bad", lambda: {1, 2})


def test_seconds_of_a_broken_run_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    FileCells(path, "f")
    with path.open("a") as file:
        file.write('{"key": "one", "value": 1, "seconds": 100.0}\n')
    assert 100.0 <= FileCells(path, "f").seconds() < 101.0


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "05_x"
    with replacing(folder) as building:
        (building / "old.csv").write_text("1")

    def fail_while_replacing() -> None:
        with replacing(folder) as building:
            (building / "new.csv").write_text("2")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail_while_replacing()
    assert [path.name for path in folder.iterdir()] == ["old.csv"]
    with replacing(folder) as building:
        (building / "new.csv").write_text("2")
    assert [path.name for path in folder.iterdir()] == ["new.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["05_x"]


@pytest.mark.parametrize("complete", [True, False])
def test_a_kill_between_the_renames_is_recovered(tmp_path: Path, complete: bool) -> None:
    old, new = tmp_path / ".05_x.replaced-7", tmp_path / ".05_x.saving-7"
    for folder, content in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "result.json").write_text(content)
    if complete:
        (new / COMPLETE).write_bytes(b"")
    recover(tmp_path / "05_x")
    content = (tmp_path / "05_x" / "result.json").read_text()
    assert content == ("new" if complete else "old")
    assert not (tmp_path / "05_x" / COMPLETE).exists()


def test_full_disk_is_explained(tmp_path: Path) -> None:
    def fill() -> None:
        with replacing(tmp_path / "05_x"):
            raise OSError(28, os.strerror(28))

    with pytest.raises(ExperimentError, match="disk is full"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExperimentError, match="--out"):
        check_writable(tmp_path / "file" / "results")


def test_there_is_no_result_in_an_empty_folder_and_in_one_without_claims(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"verdict": "supported", "fingerprint": "f"}')
    for folder in (tmp_path / "nothing", tmp_path):
        assert saved(folder) == {}
        with pytest.raises(ExperimentError, match="no result"):
            load_result(folder)


def test_a_result_that_was_never_run_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="its `run` is empty"):
        write_json(result(run=None), tmp_path)


def test_a_damaged_result_is_one_error_that_names_it(
    tmp_path: Path, experiments_folder, capsys
) -> None:
    path = tmp_path / "full" / "tiny-random" / "91_norms" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"claims": [],\n<<<<<<< HEAD\n')
    out = ["--out", str(tmp_path)]
    for words in (["list"], ["report"], ["run", "91", "--preset", "full"]):
        assert main([*words, *out], experiments_folder) == 2
        shown = capsys.readouterr().err
        assert f"error: {path} is no JSON" in shown and "Traceback" not in shown


@pytest.mark.parametrize("text", ["a,b,c\nx,1,2\n", "a,b\nx,1\n<<<<<<< HEAD\n", "a\nx\n"])
def test_a_damaged_row_is_named(text: str, tmp_path: Path) -> None:
    @dataclass
    class Row:
        a: str
        b: int

    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(ExperimentError, match=rf"rows\.csv, line {text.count(chr(10))} is damaged"):
        read_rows(path, Row)
