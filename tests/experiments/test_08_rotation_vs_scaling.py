"""Rotation against scaling: planted answers, the verdict, and a run on a tiny model."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from experiments.harness.registry import find_experiment
from experiments.harness.store import read_table
from experiments.lab.cells import FileCells
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.meter import Meter
from experiments.lab.results import Result
from experiments.lab.selection import Prompts, Selection
from interp import stats
from interp.data.prompt_sets import contrast, text_set
from interp.directions import Direction
from interp.errors import ExperimentError
from interp.models import LoadedModel

experiment = find_experiment("08")
protocol = experiment.protocol
method, measuring, reaching, tabulating = map(
    experiment.part, ("run", "measure", "reach", "tables")
)
all_estimates = experiment.part("estimates").all_estimates
Variant, doses = experiment.part("operators").Variant, experiment.part("operators").doses
Measured, Measurements = measuring.Measured, reaching.Measurements
CAP, MATCHED, MATCHED_KL = reaching.CAP, reaching.MATCHED, protocol.MATCHED_KL
Point = tuple[Any, float]  # a variant at a dose
N = 40


# ------------------------------------------------------------------------------- planted worlds


@dataclasses.dataclass(frozen=True)
class World:
    """What each operator does, in nats; the default is the world that the claim describes."""

    along_b1: float = 4.0  # amplitude of the absolute rotation along b1
    along_b2: float = 2.0  # and along b2
    second_harmonic: float = 0.0
    scaling: float = 6.0  # reach
    adding: float = 3.0  # reach
    magnitude: float = 0.1  # share of the angle's effect
    random_amplitude: float = 0.5
    random_b2: float = 0.2
    separation: float = 10.0
    text_kl: float = 0.05
    n_refused: int = 80
    bypass: float = 0.0  # of the selected direction, where the unedited model has 8
    noise: float = 0.2


def wave(world: World, degrees: float) -> float:
    t = np.radians(degrees)
    first = world.along_b1 * np.cos(t) + world.along_b2 * np.sin(t)
    return float(first + world.second_harmonic * np.cos(2 * t))


def shifts(world: World) -> dict[Point, float]:
    """Change of the score under every setting that the sweep holds."""
    rotate, scale, add = (Variant.parse(f"{o}@norms") for o in ("rotate_to", "scale", "add"))
    found: dict[Point, float] = {(rotate, angle): wave(world, angle) for angle in doses(rotate, 8)}
    found |= {(scale, 0.0): -world.scaling / 2, (scale, 2.0): world.scaling / 2}
    found |= {(add, -0.1): -world.adding / 2, (add, 0.1): world.adding / 2}
    return found


def plant(world: World, seed: int = 0) -> Measurements:
    """Measurements of a planted world, with noise per prompt."""
    rng = np.random.default_rng(seed)
    base, other = (unedited(world, rng) for _ in range(2))
    sweep = {point: edited(base, s, world, rng) for point, s in shifts(world).items()}
    choices = reaching.choose(sweep)
    found = planes(world, base, rng)
    chosen = sorted({point for shares in choices.values() for point in shares})
    return Measurements(
        base=other,
        sweep=sweep,
        planes=found,
        choices=choices,
        test={point: edited(other, shifts(world)[point], world, rng) for point in chosen},
        magnitude=magnitudes(world, other, rng),
        refused={},
        selection=selected(world),
    )


def selected(world: World) -> Selection:
    """A selection of which only the counts, the scores and the nulls matter."""
    rows = (tuple(range(world.n_refused)), tuple(range(96)))
    train = (
        tuple(f"harmful {i}" for i in range(96)),
        tuple(f"harmless {i}" for i in range(96)),
    )
    prompts = Prompts(train, rows, ((), ()), True, world.n_refused, 96)
    direction = Direction(torch.eye(4)[0], 1.0)
    table = pd.DataFrame({"bypass": [world.bypass], "kl": 0.0, "failed": "", "selected": True})
    nulls = pd.DataFrame({"effect": np.linspace(-0.5, 0.5, 10), "kl": 0.0})
    return Selection(direction, torch.eye(4), torch.eye(4), table, 8.0, 0.0, prompts, nulls)


def unedited(world: World, rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.normal(world.separation, 1, N), rng.normal(0, 1, N)])


def edited(base: np.ndarray, shift: float, world: World, rng: np.random.Generator) -> Measured:
    kl = np.full(N, world.text_kl)
    return Measured(base + shift + rng.normal(0, world.noise, (2, N)), base, kl, kl[:6])


def planes(world: World, base: np.ndarray, rng: np.random.Generator) -> dict:
    found = {}

    def turn(family: str, number: int, amplitude: float, sine: float) -> None:
        plane = dataclasses.replace(world, along_b1=amplitude, along_b2=sine, second_harmonic=0)
        for angle in (0.0, 90.0, 180.0, 270.0):
            found[family, number, angle] = edited(base, wave(plane, angle), world, rng)

    for number in range(10):
        for family in measuring.FULLY_RANDOM:
            turn(family, number, world.random_amplitude * rng.uniform(0.5, 1), 0.0)
        turn("random_b2", number, world.along_b1, world.random_b2 * rng.uniform(0.5, 1))
    return found


def magnitudes(world: World, base: np.ndarray, rng: np.random.Generator) -> dict:
    quiet = dataclasses.replace(world, noise=0.01)
    change = world.magnitude * 2 * world.along_b1
    found = {}
    for angle, level in ((0.0, world.along_b1), (180.0, -world.along_b1)):
        for factor, extra in ((1.0, 0.0), (0.5, change), (2.0, -change)):
            found["turn", angle, factor] = edited(base, level + extra, quiet, rng)
    for number in range(5):
        for factor in (0.5, 2.0):
            found["move", number, factor] = edited(base, 3.0, quiet, rng)
    return found


def judged(world: World, seed: int = 0) -> tuple[Mapping[str, str], dict[str, Estimate]]:
    estimates = all_estimates(plant(world, seed), seed=0)
    return experiment.judge(estimates.values()), estimates


KEYS = tuple(claim.key for claim in experiment.claims)


# ------------------------------------------------------------------------------------- questions


def test_the_world_of_the_claims_supports_them():
    verdicts, estimates = judged(World())
    assert verdicts == dict.fromkeys(KEYS, "supported")
    assert estimates["magnitude.share"].value == pytest.approx(0.1, abs=0.01)
    # Angles of the sweep are 45 degrees apart; the best two lie nearest to the peak, at 26.6.
    best = wave(World(), 45) - wave(World(), 225)
    assert estimates["reach.rotation.cap_0.1"].value == pytest.approx(best, abs=0.3)
    assert estimates["reach.scaling.cap_0.5"].value == pytest.approx(6, abs=0.3)
    assert estimates["angle.amplitude"].value == pytest.approx(np.hypot(4, 2), abs=0.2)


@pytest.mark.parametrize(
    ("claim", "world"),
    [
        ("08a", World(magnitude=0.5)),
        ("08b", World(scaling=2.0)),
        ("08c", World(scaling=12.0)),
        ("08c", World(adding=12.0)),
        ("08d", World(second_harmonic=5.0)),
        ("08d", World(random_amplitude=12.0)),
        ("08d", World(random_b2=4.0)),
    ],
)
def test_each_planted_negative_is_rejected(claim: str, world: World):
    assert judged(world)[0][claim] == "rejected"


@pytest.mark.parametrize(
    ("claim", "world"),
    [
        ("08a", World(magnitude=0.25)),
        ("08a", World(along_b1=0.1)),
        ("08b", World(scaling=4.24, noise=3.0)),
        ("08b", World(along_b1=0.0, along_b2=0.0, scaling=0.0)),
        ("08c", World(scaling=8.49, noise=2.0)),
    ],
)
def test_what_the_data_cannot_tell_is_inconclusive(claim: str, world: World):
    # A draw whose noise is not itself one of the 5% that look like an effect.
    assert judged(world, seed=3)[0][claim] == "inconclusive"


def test_a_claim_is_judged_by_its_own_estimates():
    estimates = judged(World())[1]
    share = dataclasses.replace(estimates["magnitude.share"], low=0.2, high=0.3)
    verdicts = experiment.judge((estimates | {"magnitude.share": share}).values())
    assert verdicts == {**dict.fromkeys(KEYS, "supported"), "08a": "inconclusive"}


def test_an_absent_behaviour_is_untestable():
    assert judged(World(n_refused=5))[0] == dict.fromkeys(KEYS, "untestable")
    assert judged(World(n_refused=6))[0] == dict.fromkeys(KEYS, "supported")


def test_a_direction_that_random_ones_equal_is_untestable():
    assert judged(World(bypass=7.6))[0] == dict.fromkeys(KEYS, "untestable")


def test_a_model_that_no_edit_moves_supports_nothing():
    """Shuffled data: every change is noise."""
    still = World(
        along_b1=0, along_b2=0, scaling=0, adding=0, random_amplitude=0, random_b2=0, noise=1.0
    )
    assert not any("supported" in judged(still, seed)[0].values() for seed in range(4))


def test_settings_are_chosen_on_validation_and_only_measured_on_test():
    found = plant(World())
    flipped = {
        point: dataclasses.replace(m, openings=2 * m.base - m.openings)
        for point, m in found.test.items()
    }
    turned = dataclasses.replace(found, test=flipped)
    before, after = (all_estimates(f, seed=0) for f in (found, turned))
    for name in ("reach.rotation.cap_0.1", "matched.scaling"):
        assert after[name].value == pytest.approx(-before[name].value)


def test_damage_beyond_a_cap_is_allowed_on_a_share_of_the_prompts():
    """A third of the prompts edited at a KL of .3 is a KL of .1."""
    found = plant(World(text_kl=0.3))
    for target in measuring.TARGETS:
        ((point, share),) = found.choices[CAP, 0.1, "rotation", target].items()
        assert share == pytest.approx(1 / 3)
        assert found.choices[CAP, 0.5, "rotation", target] == {point: 1.0}
    estimates = all_estimates(found, seed=0)
    whole = estimates["reach.rotation.cap_0.5"].value
    assert whole > 7
    assert estimates["reach.rotation.cap_0.1"].value == pytest.approx(whole / 3)
    assert estimates["matched.rotation"].value == pytest.approx(whole / 3)


def test_matching_uses_the_damage_of_the_measured_text():
    found = plant(World(text_kl=0.3))
    twice = {p: dataclasses.replace(m, text_kl=2 * m.text_kl) for p, m in found.test.items()}
    key = MATCHED, MATCHED_KL, "scaling", "bypass"
    once, half = (reaching.mix(found.choices, test, N)[key] for test in (found.test, twice))
    assert half.effect == pytest.approx(once.effect / 2)
    assert half.text_kl == once.text_kl == MATCHED_KL


def short_world() -> Measurements:
    """Rotation's settings have a KL of .3 on validation, but only .04 on the test text."""
    found = plant(World(text_kl=0.3))
    test = {
        p: dataclasses.replace(m, text_kl=np.full(6, 0.04)) if p[0].family == "rotation" else m
        for p, m in found.test.items()
    }
    return dataclasses.replace(found, test=test)


def test_a_family_that_does_not_reach_the_matched_damage_is_told_apart():
    found = short_world()
    estimates = all_estimates(found, seed=0)
    damage = {f: estimates[f"matched.damage.{f}"].value for f in ("rotation", "scaling", "adding")}
    assert damage == {"rotation": 0.04, "scaling": MATCHED_KL, "adding": MATCHED_KL}
    assert method.below_matched_kl(estimates) == " (short of that KL: rotation 0.04 nats)"
    for family, rows in tabulating.tables(found, seed=0)["matched"].groupby("family"):
        assert set(rows["text_kl"]) == {damage[str(family)]}
    assert method.below_matched_kl(all_estimates(plant(World(text_kl=0.3)), seed=0)) == ""


def test_the_damage_of_a_sum_is_that_of_the_target_that_falls_short():
    found = short_world()
    (induce,) = found.choices[MATCHED, MATCHED_KL, "rotation", "induce"]
    test = {**found.test, induce: dataclasses.replace(found.test[induce], text_kl=np.ones(6))}
    found = dataclasses.replace(found, test=test)
    table = tabulating.tables(found, seed=0)["matched"]
    rotation = table[table["family"] == "rotation"].set_index("target")["text_kl"]
    assert rotation.to_dict() == {"bypass": 0.04, "induce": MATCHED_KL, "reach": 0.04}
    assert all_estimates(found, seed=0)["matched.damage.rotation"].value == 0.04


def test_a_family_that_nothing_of_helps_is_compared_at_no_damage():
    found = plant(World(text_kl=0.3))
    empty = {key: {} for key in found.choices if key[0] == MATCHED and key[2] == "adding"}
    estimates = all_estimates(
        dataclasses.replace(found, choices={**found.choices, **empty}), seed=0
    )
    assert estimates["matched.adding"].value == estimates["matched.damage.adding"].value == 0
    assert method.below_matched_kl(estimates) == " (short of that KL: adding 0 nats)"


def test_next_token_damage_counts_against_bypass_alone():
    m = Measured(np.ones((2, 3)), np.zeros((2, 3)), np.full(3, 0.9), np.full(2, 0.05))
    assert (m.damage("bypass"), m.damage("induce")) == (0.9, 0.05)
    assert m.effect("bypass").tolist() == [-1, -1, -1]
    assert m.effect("induce").tolist() == [1, 1, 1]


def test_the_criteria_state_every_constant():
    stated = " ".join(claim.criterion for claim in experiment.claims)
    for constant in (
        protocol.LOW_CAP, protocol.HIGH_CAP, MATCHED_KL, protocol.SMALL_SHARE,
        protocol.MIN_ANGLE_EFFECT, protocol.MIN_R_SQUARED, protocol.SIGNIFICANCE,
    ):  # fmt: skip
        assert str(constant) in stated


# ------------------------------------------------------------------------------------------- run


def words(n: int, label: str, seed: int) -> list[str]:
    """Prompts without near-duplicates."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return [
        f"{label} " + " ".join("".join(rng.choice(letters, 5)) for _ in range(4)) for _ in range(n)
    ]


def make_lab(model: LoadedModel, **options: Any) -> Lab:
    return Lab(
        model=model,
        contrast=contrast("planted", words(24, "harm", 0), words(24, "help", 1), "made here"),
        harmful_test=text_set("harmful", words(8, "harm", 2), "made here"),
        harmless_test=text_set("harmless", words(8, "help", 3), "made here"),
        text=text_set("text", words(8, "story", 4), "made here"),
        preset="smoke",
        **options,
    )


SMALL = dataclasses.replace(
    protocol.PRESETS["smoke"],
    variants=("add@norms", "scale@source", "rotate_to@norms", "adaptive_rotate_to@opposite"),
)


@pytest.fixture(scope="module")
def tiny_result(tiny_model: LoadedModel) -> Result:
    return experiment.run(SMALL, make_lab(tiny_model))


def same(first: Result, second: Result) -> bool:
    return first.observation == second.observation and all(
        first.tables[name].equals(second.tables[name]) for name in first.tables
    )


def test_run_gives_every_estimate_and_a_verdict(tiny_result: Result):
    assert experiment.judge(tiny_result.estimates) == dict.fromkeys(KEYS, "untestable")
    assert "Behaviour absent" in tiny_result.observation
    for estimate in tiny_result.estimates:
        assert np.isfinite(estimate.value)
        if estimate.low is not None and estimate.high is not None:
            assert estimate.low <= estimate.high
    for question in ("magnitude.share", "reach.margin.cap_0.1", "matched.lead", "angle.amplitude"):
        assert tiny_result[question].p is not None


def test_figures_are_drawn_from_the_saved_tables_alone(tiny_result: Result, tmp_path: Path):
    saved = {}
    for name, table in tiny_result.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        saved[name] = read_table(tmp_path / f"{name}.csv")
    figures = experiment.plot(dataclasses.replace(tiny_result, tables=saved))
    assert {name.split(".")[0] for name in figures} <= set(saved)
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert any("n = " in text.get_text() for text in figure.findobj(Text))


def test_the_figures_of_the_full_preset_can_be_drawn(tiny_model: LoadedModel):
    full = protocol.PRESETS["full"]
    config = dataclasses.replace(
        protocol.PRESETS["smoke"],
        variants=full.variants,
        n_doses=12,
        n_magnitude_angles=full.n_magnitude_angles,
    )
    result = experiment.run(config, make_lab(tiny_model))
    figures = experiment.plot(result)
    places = {
        name.split("@")[1] for name in set(result.tables["dose_bypass"]["variant"]) if "@" in name
    }
    assert len(figures["dose_bypass"].axes) == len(places) > 1
    assert set(result.tables["magnitude"]["angle"]) == {f"{30 * i} degrees" for i in range(12)}


def test_answers_around_the_plane_are_counted_per_class_where_asked_for(
    tiny_model: LoadedModel, tiny_result: Result
):
    rates = tiny_result.tables["angle_rates"]
    assert rates["angle"].tolist() == [0.0, 0.0, 180.0, 180.0]
    assert rates["group"].tolist() == ["harmful", "harmless"] * 2
    assert set(rates["n"]) == {4}

    refused = np.array([[True] * 3 + [False], [False] * 4])
    found = dataclasses.replace(plant(World()), refused={None: refused, 90.0: refused[::-1]})
    harmful, harmless = tabulating.tables(found, seed=0)["angle_rates"].to_dict("records")
    assert (harmful["angle"], harmful["group"], harmful["value"]) == (90.0, "harmful", 0.0)
    assert (harmful["base"], harmless["base"], harmless["value"]) == (0.75, 0.0, 0.75)
    expected = stats.wilson(3, 4)
    assert (harmless["low"], harmless["high"]) == (expected.low, expected.high)

    silent = dataclasses.replace(SMALL, n_angle_answers=0)
    assert measuring.refusals(silent, Meter(make_lab(tiny_model), {}), None) == {}
    assert "angle_rates" not in tabulating.tables(plant(World()), seed=0)


def test_per_prompt_scores_name_no_text(tiny_result: Result):
    table = tiny_result.tables["per_prompt"]
    assert set(table["prompt"]) == {f"{c}.{i}" for c in ("harmful", "harmless") for i in range(4)}
    assert "base" in set(table["setting"])


def test_random_planes_take_the_path_of_the_true_one_and_empty_places_are_named(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[Variant, str]] = []
    original = method.placements

    def spy(variant: Variant, dose: float, frame: Any) -> Any:
        seen.append((variant, frame.plane.family))
        return original(variant, dose, frame)

    for module in (method, measuring):
        monkeypatch.setattr(module, "placements", spy)
    monkeypatch.setattr(method, "opposite_sites", lambda *_: ())
    result = experiment.run(SMALL, make_lab(tiny_model))
    by_family = {family: {v for v, f in seen if f == family} for _, family in seen}
    assert set(by_family) == {"steering", "random_b2", "isotropic", "covariance"}
    for family in ("random_b2", "isotropic", "covariance"):
        assert by_family[family] == {measuring.PLANE_VARIANT}
    assert measuring.PLANE_VARIANT in by_family["steering"]
    assert "Not run, for want of sites: adaptive_rotate_to@opposite" in result.observation
    assert "adaptive_rotate_to@opposite" not in set(result.tables["dose_bypass"]["variant"])


def test_a_broken_run_continues_and_equals_an_unbroken_one(
    tiny_model: LoadedModel, tiny_result: Result, tmp_path: Path
):
    path = tmp_path / "cells.jsonl"

    class Broken(Exception):
        pass

    class BreakingCells(FileCells):
        def get(self, key: str, compute: Callable[[], Any]) -> Any:
            if len(self) == 45:
                raise Broken
            return super().get(key, compute)

    with pytest.raises(Broken):
        experiment.run(SMALL, make_lab(tiny_model, cells=BreakingCells(path, "one")))
    cells = FileCells(path, "one")
    assert len(cells) == 45
    assert same(experiment.run(SMALL, make_lab(tiny_model, cells=cells)), tiny_result)


def test_intervals_of_many_settings_are_those_of_each():
    values = np.random.default_rng(0).normal(3, 2, (4, 30))
    mean, low, high = tabulating.mean_intervals(values, seed=0)
    for row, *found in zip(values, mean, low, high, strict=True):
        expected = stats.bootstrap_mean(row, n_resamples=10_000)
        wanted = (expected.value, expected.low, expected.high)
        assert found == pytest.approx(wanted, abs=0.1)


def test_a_random_move_is_as_long_as_the_rescaling():
    h = torch.randn(20, 512, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(
        torch.randn(512, generator=torch.Generator().manual_seed(1)), dim=0
    )
    for factor in (0.5, 0.8, 2.0):
        moved = measuring.random_move(unit, factor)(h)
        assert torch.allclose(moved.norm(dim=-1), h.norm(dim=-1), rtol=1e-4)
        length = (moved - h).norm(dim=-1) / h.norm(dim=-1)
        assert torch.allclose(length, torch.full((20,), abs(factor - 1)), rtol=0.1)


@pytest.mark.parametrize("preset", ["smoke", "quick", "full"])
def test_every_variant_of_a_preset_has_doses(preset: str):
    config = protocol.PRESETS[preset]
    assert all(len(doses(Variant.parse(v), config.n_doses)) > 3 for v in config.variants)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": ("scale@norms",)}, "must hold rotate_to@norms"),
        ({"variants": ("rotate_to@norms", "add@norms")}, "scale@norms or scale@source"),
        ({"variants": ("rotate_to@norms", "scale@opposite")}, "scale@norms or scale@source"),
        ({"n_random_angles": 5}, "divide n_doses"),
        ({"n_isotropic": 0, "n_covariance": 0}, "needs n_isotropic or n_covariance"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: Mapping[str, Any], message: str):
    with pytest.raises(ExperimentError, match=message):
        protocol.Config(**change)


def test_tables_of_a_planted_world_hold_the_intervals_and_the_null():
    made = tabulating.tables(plant(World()), seed=0)
    matched = made["matched"].set_index(["family", "target"])
    row = matched.loc[("rotation", "reach")]
    assert row.low < row.value < row.high
    assert row.null_high < row.low
    assert set(made["dose_bypass"]["null"]) == {True, False}
