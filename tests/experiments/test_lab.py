"""The lab: cells shared between experiments, captures made once, randomness by purpose."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.harness.labs import ModelBench, load_data
from experiments.lab import lab as lab_module
from experiments.lab.cells import FileCells, MemoryCells
from experiments.lab.lab import Lab
from experiments.lab.progress import Silent
from interp.activations import capture
from interp.behaviours import REGISTERED
from interp.data import sets
from interp.data.prompt_sets import text_set
from interp.data.sets import load_set
from interp.directions import Direction, mean_difference
from interp.errors import DataError
from interp.models import tiny_random_model
from interp.nulls import FAMILIES
from interp.prompts import tokenise
from interp.sites import all_sites


def test_shared_cells_are_measured_once_per_run_and_kept_by_each(bench, tmp_path) -> None:
    lab = bench.lab(0)
    first = lab.for_experiment(FileCells(tmp_path / "a.jsonl", "f"))
    second = lab.for_experiment(FileCells(tmp_path / "b.jsonl", "f"))
    assert first.shared("key", lambda: [1, (2,)]) == [1, [2]]
    assert second.shared("key", lambda: 1 / 0) == [1, [2]]
    resumed = lab.for_experiment(FileCells(tmp_path / "b.jsonl", "f"))
    assert resumed.cell("key", lambda: 1 / 0) == [1, [2]]


SIDES = {"advbench": "harmful_test", "tasks": "harmless_test"}


def test_data_is_told_apart_by_what_it_reads_now(monkeypatch, made_up_prompts) -> None:
    read = {name: text_set(name, [f"A {name}."], "none") for name in ("advbench", "tasks")}
    monkeypatch.setattr("interp.data.sets.contrast_set", lambda name: made_up_prompts)
    monkeypatch.setattr("interp.data.sets.advbench", lambda: read["advbench"])
    monkeypatch.setattr("interp.data.sets.tasks", lambda: read["tasks"])
    monkeypatch.setattr("interp.data.sets.wikipedia", lambda: pytest.fail("was read"))
    first = load_data()
    assert first.holds("made-up", made_up_prompts.sha256, 0)
    before = {name: getattr(first, side)(0).sha256 for name, side in SIDES.items()}
    read["tasks"] = text_set("tasks", ["Another task."], "none")
    assert first.holds("tasks test", before["tasks"], 0)  # read once
    now = load_data()
    assert now.holds("advbench test", before["advbench"], 0)
    assert not now.holds("tasks test", before["tasks"], 0)


def test_what_was_read_of_other_behaviours_is_known_again() -> None:
    """A registered behaviour may put the set of its name into a frame: both are of that name."""
    data = load_data()
    for name in ("refusal", "sentiment"):
        assert data.holds(name, REGISTERED[name]().contrast.sha256, 0)
    assert data.holds("sentiment", load_set("sentiment").sha256, 0)
    assert not data.holds("sentiment", load_set("register").sha256, 0)


def test_plain_cells_are_not_shared(bench, tmp_path) -> None:
    lab = bench.lab(0)
    first = lab.for_experiment(FileCells(tmp_path / "a.jsonl", "f"))
    second = lab.for_experiment(FileCells(tmp_path / "b.jsonl", "f"))
    assert first.cell("key", lambda: 1) == 1
    assert second.cell("key", lambda: 2) == 2


def test_activations_do_not_depend_on_what_was_asked_before(bench) -> None:
    lab, sites = bench.lab(0), all_sites(4)
    prompts = lab.splits.train.positive[:5]
    late = lab.activations(prompts, sites[4:], (-1, -2))
    whole = lab.activations(prompts, sites, (-1, -2))
    plain = capture(lab.model, tokenise(lab.model, prompts), sites=sites, positions=(-1, -2))
    assert torch.equal(whole[:, 4:], late)
    assert torch.allclose(whole, plain, atol=1e-5)


def test_what_a_bench_is_known_by_holds_the_precision_that_is_used(made_up_data) -> None:
    def identity(**options: Any) -> dict[str, Any]:
        return ModelBench("tiny-random", "a", made_up_data, "smoke", **options).identity()

    assert (identity()["dtype"], identity()["device"]) == ("float32", "cpu")
    assert identity() == identity(dtype="float32", device="cpu")
    small = tiny_random_model(dtype=torch.bfloat16)
    assert identity(dtype="bfloat16") == identity(loaded=small) != identity()


def test_no_room_to_check_bfloat16_is_said_and_no_failure(made_up_data, monkeypatch) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("interp.agreement.agreement", too_large)
    said: list[str] = []
    progress = Silent()
    monkeypatch.setattr(progress, "say", said.append)
    small = tiny_random_model(dtype=torch.bfloat16)
    bench = ModelBench("mine", "a", made_up_data, "smoke", loaded=small, progress=progress)
    assert bench.lab(0).model is small
    assert len(said) == 1 and "could not be checked" in said[0]


def test_activations_fall_back_on_the_models_own_dtype_with_a_warning(
    bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tiny_random_model(dtype=torch.bfloat16)
    said: list[str] = []
    lab = copy.copy(bench.lab(0))
    lab.model, lab._captured, lab._progress = small, {}, Silent()
    monkeypatch.setattr(lab._progress, "say", said.append)
    prompts, site = lab.splits.train.positive[:3], all_sites(4)[3]
    exact, random = (one.activations(prompts, [site]) for one in (lab, lab.untrained()))
    lab._captured = {}

    @contextmanager
    def too_large(model: object) -> Iterator[None]:
        raise torch.OutOfMemoryError
        yield

    monkeypatch.setattr(lab_module, "in_float32", too_large)
    rounded = lab.activations(prompts, [site])
    assert small.dtype == torch.bfloat16
    assert 0 < (exact - rounded).abs().max() < 0.1 * exact.abs().max()
    assert len(said) == 1 and "bfloat16" in said[0]
    still_random = lab.untrained().activations(prompts, [site])
    assert (random - still_random).abs().max() < 0.1 * random.abs().max()


def test_randomness_depends_on_purpose_and_seed_alone(bench) -> None:
    lab = bench.lab(0)
    draws = [lab.rng(purpose).normal() for purpose in ("a", "b", "a")]
    assert draws[0] == draws[2] != draws[1]
    assert not np.isclose(bench.lab(1).rng("a").normal(), draws[0])


def test_any_registered_set_is_given_by_name_and_recorded(lab, monkeypatch) -> None:
    made_up = text_set("advbench", ["One.", "Two.", "Three."], "none")
    monkeypatch.setitem(sets._TEXTS, "advbench", lambda offline: made_up)
    assert lab.used == ()
    for _ in range(2):
        assert lab.data("advbench").texts == ("One.", "Two.", "Three.")
    assert lab.used == ({"name": "advbench", "sha256": made_up.sha256, "n": 3},)
    with pytest.raises(DataError, match="'advbenhc'; did you mean 'advbench'"):
        lab.data("advbenhc")


@dataclass
class Taken:
    """A direction with the states that it was taken from."""

    direction: Direction
    positive: Float[Tensor, "positive d_model"]
    negative: Float[Tensor, "negative d_model"]


def test_nulls_are_of_all_families_orthogonal_and_reproducible_by_purpose(lab) -> None:
    positive, negative = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    taken = Taken(mean_difference(positive + 1, negative), positive + 1, negative)

    def drawn(purpose: str, lab: Lab = lab, n: int = 4) -> Float[Tensor, "draw d_model"]:
        return torch.stack([null.unit for _, _, null in lab.nulls(taken, n, purpose)])

    found = lab.nulls(taken, 4, "a")
    assert [(family, number) for family, number, _ in found] == [
        (family, number) for family in FAMILIES for number in range(4)
    ]
    assert len(FAMILIES) == 3
    units = drawn("a")
    assert torch.allclose(units.norm(dim=-1), torch.ones(12))
    assert (units @ taken.direction.unit).abs().max() < 1e-5
    cosines = units @ units.T - torch.eye(12)
    assert cosines.abs().max() < 0.99  # no two are the same, in no two families
    assert torch.equal(drawn("a"), units)
    assert torch.equal(drawn("a", n=2).view(3, 2, -1), units.view(3, 4, -1)[:, :2])
    assert not torch.isclose(drawn("b"), units).all(-1).any()
    other = copy.copy(lab)
    other.seed = 1
    assert not torch.isclose(drawn("a", other), units).all(-1).any()


def test_directions_belong_to_the_experiment_that_saves_them(lab) -> None:
    first, second = (lab.for_experiment(MemoryCells()) for _ in range(2))
    direction = mean_difference(torch.ones(2, 4), torch.zeros(2, 4))
    first.save_direction("refusal", direction)
    assert first.directions == {"refusal": direction}
    assert second.directions == {}
