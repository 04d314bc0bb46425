"""Experiment 01 on planted streams: found where it is there, not where labels mean nothing."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import find_experiment
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp.data import prompt_sets

experiment = find_experiment("01")
protocol = experiment.protocol
N_LAYERS, D_MODEL, N_PROMPTS = 6, 48, 40
CONFIG = protocol.Config(n_prompts=None, n_permutations=99, n_resamples=100)


class PlantedLab:
    """What experiment 01 asks of a lab: activations with a chosen separation and spread by depth.

    State of a prompt: a common mean that grows by 1.5 a block, plus a class offset `apart` times
    that, plus noise `spread` times that. `spread_growth` 1 keeps the share of variance constant.
    """

    def __init__(self, apart=0.0, spread_growth=1.0, seed=0, has_mid=True) -> None:
        info = SimpleNamespace(has_mid=has_mid)
        self.model = SimpleNamespace(n_layers=N_LAYERS, info=info)
        names = [tuple(f"{kind} {i}" for i in range(N_PROMPTS)) for kind in ("harmful", "harmless")]
        self.contrast = SimpleNamespace(positive=names[0], negative=names[1])
        self.apart, self.spread_growth, self.seed = apart, spread_growth, seed
        self.asked: list[list[str]] = []
        rng = np.random.default_rng([seed, 99])
        self.common, self.offset = rng.standard_normal((2, D_MODEL))

    def rng(self, purpose):
        return np.random.default_rng([self.seed, *purpose.encode()])

    def progress(self, iterable, description, total=None):
        return iter(iterable)

    def activations(self, prompts, sites, positions=(-1,)):
        self.asked.append(list(prompts))
        states = []
        for prompt in prompts:
            kind, number = prompt.split()
            noise = np.random.default_rng([self.seed, len(kind), int(number)])
            state = []
            for site in sites:
                size, share = 1.5**site.depth, 0.02 * self.spread_growth**site.depth
                sign = 1.0 if kind == "harmful" else -1.0
                late = sign * self.apart * (site.depth / N_LAYERS) * self.offset
                spread = share**0.5 * noise.standard_normal(D_MODEL)
                state.append(size * (self.common + late + spread))
            states.append(state)
        return torch.tensor(np.array(states), dtype=torch.float32)[:, :, None]


@pytest.fixture(scope="module")
def planted():
    return experiment.run(CONFIG, PlantedLab(apart=0.3, spread_growth=1.3))


def test_planted_fall_and_spread_are_supported(planted):
    assert experiment.judge(planted.estimates) == {"01a": "supported", "01b": "supported"}
    assert planted["cosine.excess.maximum"].p == 1 / 100
    fall = planted["cosine.fall"]
    assert fall.low > 0
    assert fall.value > fall.null_high


def test_slope_is_the_planted_one():
    found = experiment.run(CONFIG, PlantedLab(spread_growth=1.1))
    for name in protocol.CLASSES:
        slope = found[f"variance_slope.{name}"]
        # The share is s / (1 + s) for a noise-to-mean ratio s from .02 to .034: a bit less steep.
        assert slope.value == pytest.approx(np.log(1.1), abs=0.03)
        assert slope.low is not None
        assert slope.high is not None
        assert slope.low <= slope.value <= slope.high


def test_growth_of_the_norm_alone_is_not_support():
    found = experiment.run(CONFIG, PlantedLab(apart=0.3, spread_growth=0.8))
    assert experiment.judge(found.estimates)["01b"] == "rejected"
    table = found.tables["profiles"]
    variance = table[(table["panel"] == "mean_variance") & (table["group"] == "harmful")]
    assert variance["value"].iloc[-1] > 10 * variance["value"].iloc[0]


def test_labels_that_mean_nothing_are_seldom_significant():
    config = dataclasses.replace(CONFIG, n_permutations=59, n_resamples=30)
    results = [experiment.run(config, PlantedLab(spread_growth=1.3, seed=s)) for s in range(20)]
    verdicts = [experiment.judge(result.estimates)["01a"] for result in results]
    assert verdicts.count("supported") <= 2
    p = [result["cosine.excess.maximum"].p for result in results]
    assert 0.25 < np.mean(p) < 0.75


def test_excess_recovers_the_population_cosine_that_the_raw_one_overstates():
    lab = PlantedLab(apart=0.0, spread_growth=1.5)
    found = experiment.run(CONFIG, lab)
    last = found.tables["permutation"].query("panel == 'all'").iloc[-1]
    raw = 1 - found.tables["profiles"].query("panel == 'cosine'")["value"].iloc[-1]
    assert abs(last["value"]) < raw / 2
    assert last["low"] < 0 < last["high"]


def test_dimension_that_holds_the_norm_hides_the_fall():
    lab = PlantedLab(apart=0.3, spread_growth=1.3)
    lab.common[4] = 40.0
    found = experiment.run(CONFIG, lab)
    assert found["largest_dimension.share.maximum"].value > 0.9
    assert found["cosine.minimum"].value > 0.99
    assert found["cosine.minimum.without_largest"].value < 0.95


def test_a_model_without_mid_has_pre_only():
    found = experiment.run(CONFIG, PlantedLab(apart=0.3, has_mid=False))
    assert set(found.tables["profiles"]["stream"]) == {"pre"}


def estimates(p=0.001, fall=(0.01, 0.02), harmful=(0.1, 0.2), harmless=(0.1, 0.2)):
    def one(name, limits, p=None):
        return Estimate(name, sum(limits) / 2, *limits, p=p)

    made = [
        one("cosine.excess.maximum", (0.0, 1.0), p),
        one("cosine.fall", fall),
        one("variance_slope.harmful", harmful),
        one("variance_slope.harmless", harmless),
    ]
    return {estimate.name: estimate for estimate in made}


@pytest.mark.parametrize(
    ("changes", "parting", "spreading"),
    [
        ({}, "supported", "supported"),
        ({"p": 0.05}, "inconclusive", "supported"),
        ({"fall": (-0.01, 0.02)}, "inconclusive", "supported"),
        ({"fall": (-0.01, 0.0009)}, "rejected", "supported"),
        ({"fall": (-0.01, 0.0011)}, "inconclusive", "supported"),
        ({"fall": (0.0001, 0.0005)}, "supported", "supported"),
        ({"p": 0.5, "fall": (-0.02, -0.01)}, "rejected", "supported"),
        ({"harmful": (-0.1, 0.02)}, "supported", "inconclusive"),
        ({"harmful": (-0.1, 0.009)}, "supported", "rejected"),
        ({"harmless": (-0.2, -0.1)}, "supported", "rejected"),
    ],
)
def test_verdicts_follow_the_criteria(changes, parting, spreading):
    found = protocol.verdicts(estimates(**changes))
    assert found == {"01a": parting, "01b": spreading}


def test_verdict_without_an_interval_is_inconclusive():
    found = estimates() | {"cosine.fall": Estimate("cosine.fall", 0.5)}
    assert protocol.verdicts(found)["01a"] == "inconclusive"


@pytest.mark.parametrize("number", ["SIGNIFICANCE", "FALL_OF_INTEREST", "SLOPE_OF_INTEREST",
                                    "SMALLEST_SHARE", "N_LARGEST"])  # fmt: skip
def test_criteria_state_every_constant(number):
    criteria = " ".join(claim.criterion for claim in protocol.CLAIMS)
    assert str(getattr(protocol, number)) in criteria


@pytest.mark.parametrize("n", [12, N_PROMPTS, 99, None])
def test_prompts_are_drawn_in_order_and_never_more_than_there_are(n):
    lab = PlantedLab()
    experiment.run(dataclasses.replace(CONFIG, n_prompts=n, n_resamples=9), lab)
    for drawn, texts in zip(lab.asked, (lab.contrast.positive, lab.contrast.negative), strict=True):
        assert len(set(drawn)) == min(n or N_PROMPTS, N_PROMPTS)
        assert drawn == sorted(drawn, key=texts.index)


def test_figures_come_from_the_saved_tables_alone(planted, tmp_path):
    figures = experiment.plot(planted)
    assert {name.partition(".")[0] for name in figures} == set(planted.tables)
    for figure in figures.values():
        caption = " ".join(figure.texts[-1].get_text().split())
        assert f"n = {N_PROMPTS} harmful, {N_PROMPTS} harmless prompts" in caption
    for name, table in planted.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    read = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in planted.tables}
    bare = dataclasses.replace(planted, tables=read, estimates=(), observation="")
    for name, figure in experiment.plot(bare).items():
        assert figure.get_suptitle() == figures[name].get_suptitle()


def test_smoke_on_a_tiny_model_where_the_last_token_is_the_same(tiny_model):
    words = [f"word{i} {i * i}" for i in range(40)]
    contrast = prompt_sets.contrast("made-up", words[:20], words[20:], "none")
    texts = prompt_sets.text_set("none", ["Nothing."], "none")
    lab = Lab(
        model=tiny_model, contrast=contrast, harmful_test=texts, harmless_test=texts, text=texts
    )
    found = experiment.run(experiment.preset("smoke"), lab)
    assert all(np.isfinite(estimate.value) for estimate in found.estimates)
    share = found.tables["profiles"].query("panel == 'share' and site == '0.pre'")
    assert np.isnan(share["value"].to_numpy()).all()
    assert lab.used[0]["name"] == "made-up"
