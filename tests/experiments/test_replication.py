"""Verdicts by other seeds: run, kept by claim, model, preset and seed, counted in the report."""

from dataclasses import replace

import pytest

from experiments.command.replicate import Options, replicate
from experiments.command.report import report_text
from experiments.harness.calibration import criterion_of
from experiments.harness.registry import FOLDER, find_experiment
from experiments.harness.replication import (
    FILE,
    Replicate,
    agreement,
    read_replicates,
    write_replicates,
)
from experiments.harness.summaries import summaries
from experiments.lab.progress import Silent
from interp.errors import ExperimentError

EXPERIMENT = find_experiment("03")
ROW = Replicate(
    claim="03a", model="some-model", preset="quick", seed=1, verdict="supported",
    estimate="x", value=0.5, low=0.25, high=float("inf"), revision="abc",
    criterion=criterion_of(EXPERIMENT, "03a"),
)  # fmt: skip


def test_rows_are_replaced_by_place_and_read_as_written(tmp_path):
    write_replicates(tmp_path, [ROW, replace(ROW, seed=2, verdict="rejected")])
    write_replicates(tmp_path, [replace(ROW, verdict="inconclusive")])
    found = read_replicates(tmp_path)
    assert [(row.seed, row.verdict) for row in found] == [(1, "inconclusive"), (2, "rejected")]
    assert found[0] == replace(ROW, verdict="inconclusive")
    assert not read_replicates(tmp_path / "nothing")


def test_seeds_are_run_written_and_reported(tmp_path):
    path = replicate(["03"], tmp_path, Options(preset="smoke", seeds=(1, 2)), Silent())
    assert path == tmp_path / FILE
    found = read_replicates(tmp_path)
    assert {(row.claim, row.seed) for row in found} == {
        (claim.key, seed) for claim in EXPERIMENT.claims for seed in (1, 2)
    }
    first, second = (
        summaries(tmp_path / "seeds" / str(seed), "smoke")[0].content for seed in (1, 2)
    )
    assert (first["seed"], second["seed"]) == (1, 2)
    assert first["estimates"] != second["estimates"]
    (row,) = summaries(tmp_path / "seeds" / "1", "smoke")
    mine = row.verdicts["03a"]
    of_second = [one for one in found if one.seed == 2]
    said = agreement(of_second, EXPERIMENT, row, "03a")
    assert said == f"{[r.claim + r.verdict for r in of_second].count('03a' + mine)} of 1"
    assert "of 1 |" in report_text([row], "smoke", tmp_path, FOLDER, tmp_path)


def test_a_seed_counts_for_its_own_claim_model_and_criterion(tmp_path):
    replicate(["03"], tmp_path, Options(preset="smoke", seeds=(1,)), Silent())
    (row,) = summaries(tmp_path / "seeds" / "1", "smoke")
    own = replace(ROW, model=row.model, seed=2, verdict=row.verdicts["03a"])
    assert agreement([own], EXPERIMENT, row, "03a") == "1 of 1"
    other = [
        replace(own, model="another"), replace(own, criterion="earlier"),
        replace(own, claim="03b"), replace(own, seed=1),
    ]  # fmt: skip
    assert agreement(other, EXPERIMENT, row, "03a") == ""
    assert agreement([own, replace(own, seed=3, verdict="none")], EXPERIMENT, row, "03a") == (
        "1 of 2"
    )


@pytest.mark.parametrize("seeds", [(), (-1,)])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ExperimentError, match="seeds"):
        Options(seeds=seeds)
