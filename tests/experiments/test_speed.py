"""The speed benchmark: what it computes, never how fast a machine is."""

import json
import math
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from experiments.command.report import experiment_table, write_report
from experiments.command.speed_report import NO_RESULTS
from experiments.harness.registry import benchmarks_in, experiments_in, find_experiment, select
from experiments.harness.runner import Plan, run_plans
from experiments.harness.store import load_result
from experiments.harness.summaries import summaries
from experiments.lab.lab import Lab
from experiments.lab.spacing import spaced
from experiments.speed import baselines as plain_ways
from experiments.speed import bounds, peers
from experiments.speed import memory as speed_memory
from experiments.speed.protocol import CLAIMS, TARGETS
from experiments.speed.run import met, of_bound, speed_table, tally
from experiments.speed.timing import alternate
from experiments.speed.works import (
    BRIDGE,
    PLAIN_HOOKS,
    RATE,
    SPEED_UP,
    TIME,
    Row,
    Stage,
    capture_rows,
    generation_rows,
    steered,
)
from interp.assets.tiny import tiny_huggingface
from interp.errors import ExperimentError
from interp.interventions import Add, Placement, ablate
from interp.predict import readout
from interp.prompts import tokenise
from interp.sites import Site, everywhere

SPEED = find_experiment("speed")
COLUMNS = [
    *("work", "baseline", "seconds", "baseline_seconds", "ratio", "target", "met"),
    *("bound_padded", "bound_packed", "of_bound", "unit"),
]
PROMPTS = ["The sea is wide.", "Trees grow in the wood.", "Sing."]
# Two prompts of a 10-token prefix and 2 and 6 tokens of their own; 3 blocks of 100 operations per
# token, a head of 1000.
LENGTHS = bounds.Lengths(10, (2, 6))
COST = bounds.Cost(100.0, 1000.0, 3)


def plan_of(folder: Path, preset: str = "smoke") -> Plan:
    return Plan(SPEED, SPEED.preset(preset), preset, folder / "speed")


def stage_of(lab: Lab) -> Stage:
    return Stage(lab, SPEED.preset("smoke"))


def test_a_smoke_run_end_to_end(bench, tmp_path) -> None:
    plan = plan_of(tmp_path / "smoke" / "tiny-random")
    (outcome,) = run_plans([plan], bench, say=str)
    assert outcome.status == "measured", outcome.error
    table = load_result(plan.folder).tables["speed"]
    assert list(table.columns) == COLUMNS
    assert np.isnan(table["target"]).all()
    measured = table[table["met"] != "unmeasured"]
    assert min(measured["seconds"]) > 0
    assert set(table["baseline"]) >= {BRIDGE, PLAIN_HOOKS}
    saved = json.loads((plan.folder / "result.json").read_text())
    assert saved["claims"] == []
    assert saved["mechanics"]
    estimates = {entry["name"]: entry["value"] for entry in saved["estimates"]}
    assert estimates["agreement.ablate"] == 1
    assert (plan.folder / "speed.png").stat().st_size > 10_000
    (again,) = run_plans([plan], bench, say=str)
    assert again.status == "unchanged"


def test_a_measured_work_is_not_timed_again(bench, monkeypatch) -> None:
    lab = bench.lab(0)
    first = capture_rows(stage_of(lab))
    monkeypatch.setattr("experiments.speed.works.alternate", lambda *_: pytest.fail("timed"))
    assert capture_rows(stage_of(lab)) == first


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3", "phi3"])
@pytest.mark.parametrize("kind", ["everywhere", "add pre", "add mid", "ablate post"])
def test_every_baseline_computes_what_the_engine_does(tiny_models, family, kind) -> None:
    model = tiny_models[family]
    unit = torch.nn.functional.normalize(torch.arange(1.0, model.d_model + 1), dim=0)
    placed = {
        "everywhere": Placement(ablate(unit), tuple(everywhere(model.n_layers))),
        "add pre": Placement(Add(3 * unit), (Site(1, "pre"),)),
        "add mid": Placement(Add(3 * unit), (Site(0, "mid"),)),
        "ablate post": Placement(ablate(unit), (Site(0, "post"),)),
    }[kind]
    tokens = tokenise(model, PROMPTS)
    batch = plain_ways.plain_batch(model, tokens)
    plain = tiny_huggingface(family, n_layers=model.n_layers)[0]
    engine = readout(model, tokens, [placed]).log_probs
    unedited = readout(model, tokens).log_probs
    assert not torch.allclose(engine, unedited, atol=1e-3)
    for found in (
        plain_ways.bridge_log_probs(model, batch, [placed]),
        plain_ways.hooked_log_probs(plain, batch, [placed]),
    ):
        torch.testing.assert_close(found, engine, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        plain_ways.hooked_log_probs(plain, batch, []), unedited, atol=1e-4, rtol=1e-4
    )


def test_plain_hooks_refuse_single_positions(tiny_model) -> None:
    placed = Placement(Add(torch.ones(32)), (Site(1, "pre"),), (-1,))
    plain = plain_ways.plain_model(tiny_model)
    with (
        pytest.raises(ExperimentError, match="every token"),
        plain_ways.module_hooks(plain, [placed]),
    ):
        pass


def test_plain_generation_has_the_length_asked_for(tiny_model) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    batch = plain_ways.plain_batch(tiny_model, tokens)
    answers = plain_ways.plain_generate(plain_ways.plain_model(tiny_model), batch, 5)
    assert [len(answer) for answer in answers] == [5, 5, 5]


def test_steered_generation_has_the_length_asked_for(bench) -> None:
    stage = stage_of(bench.lab(0))
    assert {len(answer) for answer in steered(stage)} == {stage.config.n_new_tokens}
    (row,) = generation_rows(stage)
    assert row.ratio > 0


def test_bounds_are_those_computed_by_hand() -> None:
    # plain: 2 prompts of 16 tokens, 3 blocks and the head at each: 32 * (300 + 1000)
    assert bounds.plain_work(LENGTHS, COST) == 41_600
    # padded: 10 + 2 * 6 tokens; packed: 10 + 2 + 6; the head at one token per prompt
    assert bounds.needed_work(LENGTHS.padded, 2, COST) == 22 * 300 + 2000
    assert bounds.needed_work(LENGTHS.packed, 2, COST, first_layer=2) == 18 * 100 + 2000
    found = bounds.speed_up_bounds([(LENGTHS, 0), (LENGTHS, 2)], COST)
    assert found.padded == pytest.approx(2 * 41_600 / (8600 + 4200))
    assert found.packed == pytest.approx(2 * 41_600 / (7400 + 3800))
    assert bounds.capture_bounds(LENGTHS) == bounds.Bounds(22 / 32, 18 / 32)
    # 3 new tokens: the body at 2 and the head at 3 for each of 2 prompts
    decoding = 2 * (2 * 300 + 3 * 1000)
    generation = bounds.generation_bounds(LENGTHS, COST, 3)
    assert generation.padded == pytest.approx((22 * 300 + decoding) / (32 * 300 + decoding))
    assert generation.packed == pytest.approx((18 * 300 + decoding) / (32 * 300 + decoding))


def test_cost_is_that_of_the_weights(tiny_model) -> None:
    plain = plain_ways.plain_model(tiny_model)
    cost = bounds.cost_of(plain, plain_ways.blocks_of(plain))
    # width 32, 2 of 4 heads of size 8 for keys and values, 64 in the MLP
    assert cost.block == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    assert cost.head == 2 * 32 * len(tiny_model.tokenizer)
    assert cost.n_layers == 4


@pytest.mark.parametrize(
    ("unit", "ratio", "target", "expected"),
    [
        (SPEED_UP, 2.5, 2.5, "yes"),
        (SPEED_UP, 2.4, 2.5, "no"),
        (TIME, 0.6, 0.65, "yes"),
        (TIME, 0.7, 0.65, "no"),
        (RATE, 0.7, 0.75, "no"),
        (SPEED_UP, 2.5, math.nan, ""),
        (SPEED_UP, math.nan, 2.5, "unmeasured"),
    ],
)
def test_a_target_is_met_in_the_direction_of_its_unit(unit, ratio, target, expected) -> None:
    assert met(ratio, target, unit) == expected


def test_what_was_reached_of_a_bound_is_at_most_one_at_the_bound() -> None:
    assert of_bound(2.0, 4.0, SPEED_UP) == 0.5
    assert of_bound(0.5, 0.4, TIME) == 0.8


def row(key: str, ratio: float, unit: str = SPEED_UP, baseline: str = BRIDGE) -> Row:
    return Row(key, key or "no target", baseline, 1.0, ratio, ratio, unit, bounds.Bounds(3.0, 4.0))


@pytest.mark.parametrize(
    ("ratios", "targets", "expected"),
    [
        ((2.6, 4.6), {"ablate": 2.5, "add": 4.5}, (2, 0, 0)),
        ((2.6, 4.4), {"ablate": 2.5, "add": 4.5}, (1, 1, 0)),
        ((math.nan, 4.4), {"ablate": 2.5, "add": 4.5}, (0, 1, 1)),
        ((2.6, 4.6), {}, (0, 0, 0)),
    ],
)
def test_targets_are_met_missed_or_unmeasured(ratios, targets, expected) -> None:
    rows = [row("ablate", ratios[0]), row("add", ratios[1]), row("", 0.1, baseline=PLAIN_HOOKS)]
    table = speed_table(rows, targets)
    found = tally(table)
    assert [e.name for e in found] == ["targets.met", "targets.missed", "targets.unmeasured"]
    assert tuple(e.value for e in found) == expected
    assert {e.n for e in found} == {len(targets)}
    # The second baseline has no target, so that it is never judged.
    assert table["met"].iloc[-1] == ""


def test_every_target_is_that_of_a_work() -> None:
    keys = {key for targets in TARGETS.values() for key in targets}
    expected = {"capture", "ablate", "add", "select", "transfer", "generate", "memory", "rate"}
    assert keys == expected


def test_ways_take_turns_and_the_first_run_does_not_count() -> None:
    order: list[str] = []
    ways = {
        name: [lambda name=name, i=i: order.append(f"{name}{i}") for i in (1, 2)] for name in "ab"
    }
    seconds = alternate(ways, 2)
    turn = ["a1", "b1", "a2", "b2"]
    assert order == ["a1", "b1", *turn, *turn]
    assert set(seconds) == {"a", "b"}


def test_ways_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same number"):
        alternate({"a": [int], "b": [int, int]}, 1)


def test_choices_are_spaced_from_the_first_to_the_last() -> None:
    assert spaced(range(10), 4) == [0, 3, 6, 9]
    assert spaced(range(3), None) == [0, 1, 2]


def resident(mb: int) -> mmap.mmap:
    """That many MB straight from the system: a block of malloc may lie in memory freed before."""
    block = mmap.mmap(-1, mb * 2**20)
    block.write(bytes(mb * 2**20))
    return block


@pytest.mark.skipif(not speed_memory.PROCESS.is_dir(), reason="the peak is reset on Linux alone")
def test_peak_memory_starts_anew_and_grows() -> None:
    with resident(256):
        high = speed_memory.peak_mb()
    speed_memory.forget_peak()
    before = speed_memory.peak_mb()
    assert before < high - 200
    with resident(64):
        assert speed_memory.peak_mb() > before + 50


def test_many_prompts_are_all_different() -> None:
    found = speed_memory.many(["a", "b"], 5)
    assert len(set(found)) == 5


def test_all_leaves_the_benchmark_out() -> None:
    assert [one.name for one in benchmarks_in()] == ["speed"]
    assert "speed" not in [one.name for one in experiments_in()]
    assert "speed" not in [one.name for one in select(["all"])]
    assert [one.name for one in select(["speed"])] == ["speed"]
    assert CLAIMS == () and SPEED.judge([]) == {}


def save_table(root: Path, preset: str) -> None:
    folder = root / preset / "m" / "speed"
    folder.mkdir(parents=True)
    table = speed_table([row("ablate", 2.6), row("", math.nan)], {"ablate": 2.5})
    table.to_csv(folder / "speed.csv", index=False)
    content = {"experiment": "speed", "preset": preset, "claims": [], "mechanics": False}
    content["estimates"] = [{"name": "targets.met", "value": 1.0, "n": 1}]
    (folder / "result.json").write_text(json.dumps(content))


def test_speed_tables_end_the_report_of_the_full_results(tmp_path) -> None:
    assert write_report(tmp_path, "full").read_text().endswith(f"## Speed\n\n{NO_RESULTS}\n")
    save_table(tmp_path, "full")
    text = write_report(tmp_path, "full").read_text()
    assert f"| ablate | {BRIDGE} | 1 | 2.6 | 2.6 {SPEED_UP} | 2.5 | yes | 3 to 4 |" in text
    assert "unmeasured" in text
    save_table(tmp_path, "quick")
    assert "## Speed" not in write_report(tmp_path, "quick").read_text()


def test_list_shows_the_benchmark_and_the_tables_of_verdicts_do_not(tmp_path) -> None:
    save_table(tmp_path, "full")
    assert summaries(tmp_path, "full") == []
    console = Console(record=True, width=200)
    console.print(experiment_table(tmp_path, ("full",)))
    (line,) = [x for x in console.export_text().splitlines() if "speed" in x]
    assert "a benchmark: no claim" in line
    assert "m (full): 1 of 1 targets met" in line


def test_peers_share_torch_and_transformers_and_nothing_else() -> None:
    found = peers.shared_versions("accelerate==1\ntorch==2.13.0\ntorchvision==1\ntransformers==5\n")
    assert found == "torch==2.13.0\ntransformers==5\n"


def test_a_peer_that_cannot_be_installed_is_named_with_the_reason(bench, monkeypatch) -> None:
    def refuse(package: str, folder: Path) -> str:
        return peers.shell(["sh", "-c", "echo no such package >&2; exit 1"], str(folder))

    monkeypatch.setattr(peers, "install", refuse)
    monkeypatch.setattr(plain_ways, "model_folder", lambda _: Path("absent"))
    monkeypatch.setattr(Stage, "plain", None)
    rows = peers.peer_rows(stage_of(bench.lab(0)))
    assert len(rows) == 4
    assert all(math.isnan(row.ratio) for row in rows)
    assert rows[0].baseline == "nnsight, not measured: no such package"


SCRIPT = """
import sys
sys.stdin.readline()
for line in sys.stdin:
    if line.strip() == "fail":
        sys.exit("it broke")
    print("noise", line.strip(), flush=True)
    print("peer: done", flush=True)
"""


def test_a_peer_answers_and_says_why_when_it_does_not(tmp_path, monkeypatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(peers.peers_script, "__file__", str(script))
    with peers.running(sys.executable, {}, str(tmp_path)) as ask:
        ask("means")
        ask("means")
        with pytest.raises(subprocess.CalledProcessError) as caught:
            ask("fail")
    assert peers.reason(caught.value) == "it broke"


def test_random_weights_have_no_peers(bench) -> None:
    with pytest.raises(ExperimentError, match="random weights"):
        peers.peer_rows(stage_of(bench.lab(0)))
