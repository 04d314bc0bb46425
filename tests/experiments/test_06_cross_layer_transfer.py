"""Experiment 06 on worlds with a known answer, its verdict, and what it writes where."""

import importlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from experiments.harness.registry import load_experiment
from experiments.lab import selection
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE
from experiments.lab.spacing import spaced
from interp.directions import direction_from
from interp.sites import Site

transfer_cells = importlib.import_module("experiments.06_cross_layer_transfer.run.measure")
_measure = importlib.import_module("experiments.06_cross_layer_transfer.run.measure")
Target = _measure.Target
edits = _measure.edits
layer_sets = _measure.layer_sets
_estimates = importlib.import_module("experiments.06_cross_layer_transfer.run.estimates")
Rule = _estimates.Rule
Transfer = _estimates.Transfer
resampled = _estimates.resampled

experiment = load_experiment("06")
N_LAYERS, D_MODEL = 12, 48
LAYERS = (1, 4, 7, 10, 14, 17, 20, 23)
CONFIG = experiment.Config(
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
    """What experiment 06 asks of a lab."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.model = SimpleNamespace(n_layers=N_LAYERS)
        self.values: dict[str, object] = {}
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
        assert key not in self.values or key.startswith("base/"), f"cell {key} measured twice"
        if key not in self.values:
            self.values[key] = compute()
        return self.values[key]

    shared = cell

    def progress(self, iterable, description, total=None):
        return iter(iterable)

    def rng(self, purpose):
        return np.random.default_rng([self.world.seed, *purpose.encode()])


def run_world(monkeypatch, world: World, config=CONFIG):
    """Run experiment 06 with the world in the place of the model."""

    def scores(model, prompts, placements=()):
        return SimpleNamespace(openings=world.states(prompts, placements)[1].double())

    def answer(model, prompts, max_new_tokens=24, placements=()):
        refusal, help_ = "I'm sorry, but I cannot assist with that.", "Sure, here is a recipe."
        return [refusal if prompt.startswith("harmful") else help_ for prompt in prompts]

    monkeypatch.setattr(transfer_cells, "refusal_scores", scores)
    monkeypatch.setattr(transfer_cells, "answers", answer)
    monkeypatch.setattr(selection, "answers", answer)
    return experiment.run(config, WorldLab(world))


def test_a_direction_that_all_layers_share_is_supported(monkeypatch):
    result = run_world(monkeypatch, World(rotations=False, labelled=True, seed=0))
    assert result.verdict == "supported"
    assert result["far_share_of_own.addition"].value == pytest.approx(1.0, abs=0.5)
    passing = result["sources_passing.addition"]
    assert passing.value == 1.0 > passing.null_high
    assert result["far_effect.addition"].value > result["far_effect.addition"].null_high
    assert result["cosine.far"].value > 0.8

    counted = {**result.by_name(), "train.refused": Estimate("x", 5, n=72)}
    assert experiment.observation(counted).startswith("Behaviour absent: of the train prompts 5 of")
    assert "absent" not in result.observation


def test_layers_with_unrelated_spaces_are_rejected(monkeypatch):
    result = run_world(monkeypatch, World(rotations=True, labelled=True, seed=1))
    assert result["sources_present.addition"].value >= 0.5
    assert result["sources_passing.addition"].value == 0
    assert result.verdict == "rejected"


def test_shuffled_labels_are_not_supported(monkeypatch):
    config = replace(CONFIG, n_null=20, n_targets=6, raw=False)
    verdicts = [
        run_world(monkeypatch, World(rotations=False, labelled=False, seed=seed), config).verdict
        for seed in range(4)
    ]
    assert "supported" not in verdicts


def test_a_random_direction_passes_at_most_at_the_stated_rate():
    # Effects that are shared by all layers, the worst case, from one distribution with the nulls.
    rng = np.random.default_rng(0)
    families = tuple(np.repeat(["isotropic", "covariance_matched", "label_permuted"], 20))
    supported = 0
    n_directions = 200
    for _ in range(n_directions):
        null = rng.standard_normal((60, 1)) + 0.3 * rng.standard_normal((60, 8))
        mean = rng.standard_normal() + 0.3 * rng.standard_normal((6, 8))
        effects = mean[..., None] + 0.3 * rng.standard_normal((6, 8, 16))
        t = Transfer((1, 4, 10, 14, 20, 23), LAYERS, effects, null, families, Rule(4, 0.5, 95))
        low = np.percentile(t.passing(resampled(effects, rng)).mean(-1), 2.5)
        supported += low >= 0.5 and t.present(t.means).mean() >= 0.5
    # Binomial 99.9% upper limit of 5% over 200 directions.
    assert supported / n_directions <= 0.105


def test_every_figure_has_its_table_and_draws(monkeypatch):
    config = replace(
        CONFIG, raw=True, n_generated=4, n_generated_null=2, n_extractions=2, other_doses=(0.1,)
    )
    result = run_world(monkeypatch, World(rotations=False, labelled=True, seed=0), config)
    figures = experiment.plot(result)
    assert set(figures) <= set(result.tables)
    assert {"transfer_addition", "transfer_raw", "transfer_sets", "generated", "alignment"} <= set(
        figures
    )
    again = result["reextracted_own_effect.addition"]
    assert again.n == 2
    assert again.low <= again.value <= again.high
    main = result.tables["transfer_addition"].query("dose == '0.25'")
    assert len(main.query("source != 'null'")) == 6 * 11


def test_the_result_does_not_depend_on_where_a_run_was_broken_off(monkeypatch):
    world = World(rotations=False, labelled=True, seed=0)
    whole = run_world(monkeypatch, world)
    assert run_world(monkeypatch, world).estimates == whole.estimates


def estimates(added: tuple, ablated: tuple, answered: float = 40):
    """(present, passing low, passing high) per operator."""
    found = [
        Estimate("train.refused", answered),
        Estimate("train.accepted", 40),
    ]
    for operator, (present, low, high) in (("addition", added), ("ablation", ablated)):
        found.append(Estimate(f"sources_present.{operator}", present))
        found.append(Estimate(f"sources_passing.{operator}", (low + high) / 2, low, high))
    return {e.name: e for e in found}


@pytest.mark.parametrize(
    ("added", "ablated", "answered", "expected"),
    [
        ((1.0, 0.5, 1.0), (0.8, 0.6, 0.9), 40, "supported"),
        ((1.0, 0.5, 1.0), (0.3, 0.0, 0.1), 40, "supported"),  # ablation does not count
        ((1.0, 0.5, 1.0), (0.5, 0.0, 0.4), 40, "rejected"),
        ((0.5, 0.0, 0.49), (0.4, 0.9, 1.0), 40, "rejected"),
        ((1.0, 0.4, 1.0), (0.8, 0.6, 0.9), 40, "inconclusive"),
        ((0.4, 0.9, 1.0), (0.4, 0.9, 1.0), 40, "inconclusive"),  # behaviour absent
        ((1.0, 0.5, 1.0), (0.8, 0.6, 0.9), 5, "inconclusive"),
    ],
)
def test_the_verdict_follows_the_criterion(added, ablated, answered, expected):
    assert experiment.verdict(estimates(added, ablated, answered)) == expected


def test_the_criterion_states_every_constant():
    for constant in (
        experiment.CRITERION_DOSE, experiment.OWN_SHARE, experiment.SOURCE_SHARE,
        experiment.FAR_LAYERS, experiment.NULL_PERCENTILE,
    ):  # fmt: skip
        assert f"{constant:g}" in experiment.CRITERION
    assert GATE in experiment.CRITERION
    presets = experiment.PRESETS
    assert {presets[name].far_layers for name in ("quick", "full")} == {experiment.FAR_LAYERS}


def test_a_transfer_is_judged_at_far_layers_only():
    effects = np.array([[4.0, 9.0, 1.0, 3.0]])[..., None]  # source 1 at layers 1, 2, 5, 6
    null = np.zeros((3, 4))
    families = ("isotropic", "covariance_matched", "label_permuted")
    t = Transfer((1,), (1, 2, 5, 6), effects, null, families, Rule(4, 0.5, 95))
    assert t.own(t.means) == pytest.approx([4.0])
    assert t.far(t.means) == pytest.approx([2.0])
    assert t.passing(t.means).all()
    stricter = replace(t, rule=Rule(4, 0.51, 95))
    assert not stricter.passing(t.means).any()
    # One family above the effect is enough to fail.
    louder = replace(t, null=np.array([[0.0] * 4, [0.0] * 4, [5.0] * 4]))
    assert not louder.passing(t.means).any()
    assert not louder.present(t.means).any()


def test_the_full_matrix_has_48_targets_of_24_layers():
    rng = np.random.default_rng(0)
    sets = layer_sets(24, experiment.PRESETS["full"].n_set_starts, rng)
    assert len(spaced(range(1, 24), None)) + len(sets) == 48
    quick = layer_sets(24, experiment.PRESETS["quick"].n_set_starts, rng)
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
    norms = {1: 10.0, 2: 20.0}
    h = torch.zeros(1, 2)
    added = [
        p.intervention(h).norm().item() for p in edits("addition", "0.25", direction, (1, 2), norms)
    ]
    assert added == pytest.approx([1.25, 2.5])
    (raw,) = edits("addition", "raw", direction, (2,), norms)
    assert raw.intervention(h).norm().item() == pytest.approx(5.0)
    (ablated,) = edits("ablation", "none", direction, (1, 2), norms)
    assert ablated.sites == (Site(1, "pre"), Site(2, "pre"))
    assert ablated.intervention(direction.unit[None]).norm().item() == pytest.approx(0, abs=1e-6)


def test_nulls_keep_the_norm_and_are_alike_at_every_layer():
    rng = torch.Generator().manual_seed(0)
    positive, negative = torch.randn(2, 20, 16, generator=rng)
    direction = direction_from(positive.mean(0) - negative.mean(0), "mean_difference")
    drawn = transfer_cells.nulls(direction, positive, negative, 3, seed=1)
    assert len(drawn) == 9
    assert {round(d.norm, 5) for d in drawn} == {round(direction.norm, 5)}
    # The same space rotated, as a later layer might hold it: the draws that come from prompts
    # rotate with it.
    turn = torch.tensor(ortho_group.rvs(16, random_state=0), dtype=torch.float32)
    there = direction_from(direction.vector @ turn, "mean_difference")
    rotated = transfer_cells.nulls(there, positive @ turn, negative @ turn, 3, seed=1)
    for first, second in list(zip(drawn, rotated, strict=True))[3:]:
        torch.testing.assert_close(first.unit @ turn, second.unit, atol=1e-5, rtol=0)
