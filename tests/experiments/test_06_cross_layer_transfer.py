"""Experiment 06 on worlds with a known answer, its verdicts, and what it writes where."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from experiments.harness.registry import find_experiment
from experiments.lab import meter, selection
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE
from experiments.lab.spacing import spaced
from interp.directions import direction_from
from interp.nulls import FAMILIES
from interp.sites import Site

experiment = find_experiment("06")
protocol = experiment.protocol
run, measure, estimates = (experiment.part(name) for name in ("run", "measure", "estimates"))
Target, Transfer = measure.Target, estimates.Transfer

N_LAYERS, D_MODEL = 12, 48
LAYERS = (1, 4, 7, 10, 14, 17, 20, 23)
CONFIG = protocol.Config(
    n_train=40, n_prompts=12, n_sources=6, n_targets=None, n_null=5, n_null_prompts=12,
    n_null_other=1, n_permutations=60,
)  # fmt: skip


class World:
    """A residual stream in numbers: layer t maps h to R_t h + noise; the score reads one axis.

    `rotations`: R_t, identity where all layers share one space. `labelled`: whether harmful prompts
    hold the class content, or a random half of all.
    """

    def __init__(self, rotations: bool, labelled: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.axis = torch.zeros(D_MODEL)
        self.axis[0] = 1.0
        maps = [
            ortho_group.rvs(D_MODEL, random_state=rng) if rotations else np.eye(D_MODEL)
            for _ in range(N_LAYERS)
        ]
        self.maps = [torch.tensor(m, dtype=torch.float32) for m in maps]
        self.readout = self.axis
        for matrix in self.maps:
            self.readout = self.readout @ matrix
        self.labelled = labelled
        self.seed = seed
        self.started: dict[str, torch.Tensor] = {}

    def start(self, prompt: str) -> torch.Tensor:
        if prompt not in self.started:
            self.started[prompt] = self.draw(prompt)
        return self.started[prompt]

    def draw(self, prompt: str) -> torch.Tensor:
        kind, number = prompt.split()
        rng = np.random.default_rng([self.seed, len(kind), int(number)])
        sign = 1.0 if kind == "harmful" else -1.0
        sign = sign if self.labelled else rng.choice([-1.0, 1.0])
        noise = torch.tensor(rng.standard_normal((N_LAYERS, D_MODEL)), dtype=torch.float32)
        return torch.cat([(noise[0] + 2 * sign * self.axis)[None], 0.2 * noise[1:]])

    def states(self, prompts, placements=()):
        started = torch.stack([self.start(prompt) for prompt in prompts])
        h, seen = started[:, 0], []
        for layer in range(N_LAYERS):
            h = h if layer == 0 else h @ self.maps[layer - 1] + started[:, layer]
            for placement in placements:
                if Site(layer, "pre") in placement.sites:
                    h = placement.intervention(h)
            seen.append(h)
        return torch.stack(seen, dim=1), (h @ self.maps[-1]) @ self.readout


class WorldLab:
    """What experiment 06 asks of a lab; `kept` are the cells of an earlier, broken run."""

    def __init__(self, world: World, kept: dict[str, object] | None = None) -> None:
        self.world = world
        self.model = SimpleNamespace(n_layers=N_LAYERS)
        self.values = dict(kept or {})
        self.asked: set[str] = set()
        names = {kind: [f"{kind} {i}" for i in range(80)] for kind in ("harmful", "harmless")}
        parts = {
            part: SimpleNamespace(positive=names["harmful"][rows], negative=names["harmless"][rows])
            for part, rows in (("train", slice(0, 40)), ("validation", slice(40, 80)))
        }
        self.splits = SimpleNamespace(**parts)

    def tokens(self, prompts):
        return list(prompts)

    def activations(self, prompts, sites, positions=(-1,)):
        states, _ = self.world.states(prompts)
        return states[:, [site.layer for site in sites]][:, :, None]

    def cell(self, key, compute):
        assert key not in self.asked or key.endswith("/base"), f"cell {key} measured twice"
        self.asked.add(key)
        if key not in self.values:
            self.values[key] = compute()
        return self.values[key]

    shared = cell

    def progress(self, iterable, description, total=None):
        return iter(iterable)

    def rng(self, purpose):
        return np.random.default_rng([self.world.seed, *purpose.encode()])


def run_world(monkeypatch, world: World, config=CONFIG, kept=None):
    """The result of experiment 06 with the world in the place of the model, and its lab."""

    def scores(model, prompts, edits=()):
        openings = world.states(prompts, edits)[1].double()
        return SimpleNamespace(openings=openings, opening_odds=openings, log_probs=None)

    def answer(model, prompts, edits=(), *, max_new_tokens=24):
        refusal, help_ = "I'm sorry, but I cannot assist with that.", "Sure, here is a recipe."
        return [refusal if prompt.startswith("harmful") else help_ for prompt in prompts]

    monkeypatch.setattr(meter, "refusal_scores", scores)
    monkeypatch.setattr(meter, "answers", answer)
    monkeypatch.setattr(selection, "answers", answer)
    lab = WorldLab(world, kept)
    return experiment.run(config, lab), lab


def is_above_null(estimate: Estimate) -> bool:
    return estimate.null_high is not None and estimate.value > estimate.null_high


def test_a_direction_that_all_layers_share_is_supported(monkeypatch):
    result, _ = run_world(monkeypatch, World(rotations=False, labelled=True, seed=0))
    assert experiment.judge(result.estimates) == {"06a": "supported", "06b": "supported"}
    assert result["far_share_of_own.addition"].value == pytest.approx(1.0, abs=0.5)
    passing = result["sources_passing.addition"]
    assert passing.value == 1.0
    assert is_above_null(passing)
    assert is_above_null(result["far_effect.addition"])
    assert result["cosine.far"].value > 0.8

    counted = {**result.by_name(), "train.refused": Estimate("x", 5, n=72)}
    assert run.observation(counted).startswith("Behaviour absent: of the train prompts 5 of")
    assert "absent" not in result.observation


def test_layers_with_unrelated_spaces_are_rejected(monkeypatch):
    result, _ = run_world(monkeypatch, World(rotations=True, labelled=True, seed=1))
    assert result["sources_present.addition"].value >= 0.5
    assert result["sources_passing.addition"].value == 0
    assert experiment.judge(result.estimates) == {"06a": "rejected", "06b": "rejected"}


def test_shuffled_labels_are_not_supported(monkeypatch):
    config = replace(CONFIG, n_null=20, n_targets=6)
    for seed in range(4):
        world = World(rotations=False, labelled=False, seed=seed)
        result, _ = run_world(monkeypatch, world, config)
        assert "supported" not in experiment.judge(result.estimates).values()


def as_sources(null: np.ndarray, n_sources: int) -> np.ndarray:
    """Draws over layers, each in the place of every source."""
    return np.repeat(null[:, None], n_sources, axis=1)


def test_a_random_direction_passes_at_most_at_the_stated_rate():
    # Effects that are shared by all layers, the worst case, from one distribution with the nulls.
    rng = np.random.default_rng(0)
    families = np.repeat(FAMILIES, 20)
    sources = (1, 4, 10, 14, 20, 23)
    supported = 0
    n_directions = 200
    for _ in range(n_directions):
        null = rng.standard_normal((60, 1)) + 0.3 * rng.standard_normal((60, 8))
        mean = rng.standard_normal() + 0.3 * rng.standard_normal((6, 8))
        effects = mean[..., None] + 0.3 * rng.standard_normal((6, 8, 16))
        t = Transfer(sources, LAYERS, effects, as_sources(null, 6), families, 4)
        low = np.percentile(t.passing(estimates.resampled(effects, rng)).mean(-1), 2.5)
        supported += low >= 0.5 and t.present(t.means).mean() >= 0.5
    # Binomial 99.9% upper limit of 5% over 200 directions.
    assert supported / n_directions <= 0.105


def test_every_figure_has_its_table_and_draws(monkeypatch):
    config = replace(CONFIG, raw=True, n_generated=4, n_generated_null=2, other_doses=(0.1,))
    result, _ = run_world(monkeypatch, World(rotations=False, labelled=True, seed=0), config)
    figures = experiment.plot(result)
    assert set(figures) <= set(result.tables)
    assert {"transfer_addition", "transfer_raw", "transfer_sets", "generated", "alignment"} <= set(
        figures
    )
    main = result.tables["transfer_addition"].query("dose == '0.25'")
    assert len(main.query("source != 'null'")) == 6 * 11


def test_the_result_does_not_depend_on_where_a_run_was_broken_off(monkeypatch):
    world = World(rotations=False, labelled=True, seed=0)
    whole, lab = run_world(monkeypatch, world)
    first_half = dict(list(lab.values.items())[: len(lab.values) // 2])
    assert run_world(monkeypatch, world, kept=first_half)[0].estimates == whole.estimates


@pytest.mark.parametrize(
    ("present", "low", "high", "answered", "expected"),
    [
        (1.0, 0.5, 1.0, 40, "supported"),
        (0.5, 0.0, 0.49, 40, "rejected"),
        (1.0, 0.4, 1.0, 40, "inconclusive"),
        (1.0, 0.0, 0.5, 40, "inconclusive"),
        (0.4, 0.9, 1.0, 40, "untestable"),  # no effect at home
        (1.0, 0.5, 1.0, 5, "untestable"),  # behaviour absent
    ],
)
def test_the_verdict_follows_the_criterion(present, low, high, answered, expected):
    other = {"sources_present": Estimate("", 1.0), "sources_passing": Estimate("", 0.5, 0.1, 0.9)}
    asked = {
        "sources_present": Estimate("", present),
        "sources_passing": Estimate("", (low + high) / 2, low, high),
    }
    gate = {"train.refused": Estimate("", answered), "train.accepted": Estimate("", 40)}
    for key, operator in zip(("06a", "06b"), protocol.OPERATORS, strict=True):
        named = {
            f"{name}.{each}": (asked if each == operator else other)[name]
            for each in protocol.OPERATORS
            for name in asked
        }
        found = protocol.verdicts({**gate, **named})
        assert found.pop(key) == expected
        assert set(found.values()) == {"untestable" if answered == 5 else "inconclusive"}


def test_the_criteria_state_every_constant():
    stated = (
        protocol.OWN_SHARE, protocol.SOURCE_SHARE, protocol.FAR_LAYERS, protocol.NULL_PERCENTILE
    )  # fmt: skip
    for claim in protocol.CLAIMS:
        assert all(f"{constant:g}" in claim.criterion for constant in stated)
        assert GATE in claim.criterion
    assert f"{protocol.CRITERION_DOSE:g}" in protocol.CLAIMS[0].criterion
    for name in ("quick", "full"):
        assert experiment.preset(name).far_layers == protocol.FAR_LAYERS


def test_a_transfer_is_judged_at_far_layers_only():
    effects = np.array([[4.0, 9.0, 1.0, 3.0]])[..., None]  # source 1 at layers 1, 2, 5, 6
    t = Transfer((1,), (1, 2, 5, 6), effects, np.zeros((3, 1, 4)), FAMILIES, 4)
    assert t.own(t.means) == pytest.approx([4.0])
    assert t.far(t.means) == pytest.approx([2.0])
    assert t.passing(t.means).all()
    at_home = replace(t, effects=np.array([[4.1, 9.0, 1.0, 3.0]])[..., None])
    assert not at_home.passing(at_home.means).any()
    # One family above the effect is enough to fail.
    louder = replace(t, null=as_sources(np.array([[0.0] * 4, [0.0] * 4, [5.0] * 4]), 1))
    assert not louder.passing(t.means).any()
    assert not louder.present(t.means).any()


def test_where_no_layer_is_far_enough_there_is_no_far_effect():
    rng = np.random.default_rng(0)
    t = Transfer((1, 2), (1, 2), 9 + rng.random((2, 2, 6)), rng.random((3, 2, 2)), FAMILIES, 4)
    found = {e.name: e for e in estimates.transfer_estimates("addition", t, rng)}
    assert is_above_null(found["own_effect.addition"])
    for name in ("far_effect", "far_share_of_own"):
        far = found[f"{name}.addition"]
        assert np.isnan(far.value)
        assert (far.low, far.null_low, far.p) == (None, None, None)
    assert found["sources_passing.addition"].value == 0


def test_the_full_matrix_has_48_targets_of_24_layers():
    rng = np.random.default_rng(0)
    sets = measure.layer_sets(24, experiment.preset("full").n_set_starts, rng)
    assert len(spaced(range(1, 24), None)) + len(sets) == 48
    quick = measure.layer_sets(24, experiment.preset("quick").n_set_starts, rng)
    assert len(spaced(range(1, 24), 8)) == 8
    assert [target.kind for target in quick] == [
        "window", "every second", "random subset", "all but source",
    ]  # fmt: skip
    assert quick[1].layers == (8, 10, 12, 14, 16, 18, 20, 22)
    assert {len(target.layers) for target in quick[:3]} == {8}
    assert len({target.name for target in sets}) == len(sets)
    assert all(1 <= layer < 24 for target in sets for layer in target.layers)


def test_sets_leave_the_source_out_and_single_layers_do_not():
    assert Target("w", "window", (2, 3, 4)).written(3) == (2, 4)
    assert Target("w", "window", (2, 3, 4)).written(None) == (2, 3, 4)
    assert Target("3", "single", (3,)).written(3) == (3,)


def test_a_set_shares_one_dose_and_raw_keeps_the_scale():
    direction = direction_from(torch.tensor([3.0, 4.0]), "mean_difference")
    layers = {x: measure.Layer(torch.tensor([[0.0, 10.0 * x]]), direction) for x in (1, 2)}
    h = torch.zeros(1, 2)

    def placements(operator, dose, *written):
        target = Target("", "window", written)
        return measure.Job(operator, dose, direction, target).edit(layers).placements

    added = [p.intervention(h).norm().item() for p in placements("addition", "0.25", 1, 2)]
    assert added == pytest.approx([1.25, 2.5])
    (raw,) = placements("addition", "raw", 2)
    assert raw.intervention(h).norm().item() == pytest.approx(5.0)
    (ablated,) = placements("ablation", "none", 1, 2)
    assert ablated.sites == (Site(1, "pre"), Site(2, "pre"))
    assert ablated.intervention(direction.unit[None]).norm().item() == pytest.approx(0, abs=1e-6)


def test_nulls_keep_the_norm_and_are_alike_at_every_layer():
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(2, 20, 16, generator=rng)
    # The same space rotated, as a later layer might hold it: the draws that come from prompts
    # rotate with it.
    turn = torch.tensor(ortho_group.rvs(16, random_state=0), dtype=torch.float32)
    here = measure.layer_of(Site(1, "pre"), states, 3, seed=1)
    there = measure.layer_of(Site(2, "pre"), states @ turn, 3, seed=1)
    assert [(family, draw) for family, draw, _ in here.nulls] == [
        (family, draw) for family in FAMILIES for draw in range(3)
    ]
    assert {round(null.norm, 5) for *_, null in here.nulls} == {round(here.direction.norm, 5)}
    for (*_, first), (*_, second) in list(zip(here.nulls, there.nulls, strict=True))[3:]:
        torch.testing.assert_close(first.unit @ turn, second.unit, atol=1e-5, rtol=0)
