"""Rotation against scaling: planted answers, the verdict, and a run on a tiny model."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.harness.registry import load_experiment
from experiments.harness.store import read_table
from experiments.lab.cells import FileCells
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.selection import Prompts, Selection
from interp import stats
from interp.data.prompt_sets import contrast, text_set
from interp.directions import Direction
from interp.errors import ExperimentError
from interp.models import LoadedModel

rotation_tables = importlib.import_module("experiments.08_rotation_vs_scaling.run.tables")
_reach = importlib.import_module("experiments.08_rotation_vs_scaling.run.reach")
TARGETS = _reach.TARGETS
Point = _reach.Point
at_text_kl = _reach.at_text_kl
choose = _reach.choose
points_of = _reach.points_of
_measure = importlib.import_module("experiments.08_rotation_vs_scaling.run.measure")
FULLY_RANDOM = _measure.FULLY_RANDOM
Measurements = _measure.Measurements
_meter = importlib.import_module("experiments.08_rotation_vs_scaling.run.meter")
Measured = _meter.Measured
_operators = importlib.import_module("experiments.08_rotation_vs_scaling.run.operators")
Variant = _operators.Variant
doses = _operators.doses

module = load_experiment("08")
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
    chosen = choose(sweep, base, module.CAPS)
    matched = choose(sweep, base, (module.MATCHED_KL,), text_only=True)
    return Measurements(
        base_validation=base,
        base_test=other,
        sweep=sweep,
        planes=planes(world, base, rng),
        chosen=chosen,
        matched=matched,
        test={
            point: edited(other, shifts(world)[point], world, rng)
            for point in points_of(chosen, matched)
        },
        magnitude=magnitudes(world, other, rng),
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


def unedited(world: World, rng: np.random.Generator) -> Measured:
    harmful, harmless = rng.normal(world.separation, 1, N), rng.normal(0, 1, N)
    return Measured(harmful, harmless, np.zeros(N), np.zeros(6))


def edited(base: Measured, shift: float, world: World, rng: np.random.Generator) -> Measured:
    noise = rng.normal(0, world.noise, (2, N))
    kl = np.full(N, world.text_kl)
    return Measured(base.harmful + shift + noise[0], base.harmless + shift + noise[1], kl, kl[:6])


def planes(world: World, base: Measured, rng: np.random.Generator) -> dict:
    def turned(amplitude: float, sine: float) -> dict[float, Measured]:
        plane = dataclasses.replace(world, along_b1=amplitude, along_b2=sine, second_harmonic=0)
        return {a: edited(base, wave(plane, a), world, rng) for a in (0.0, 90.0, 180.0, 270.0)}

    found = {}
    for number in range(10):
        for family in FULLY_RANDOM:
            found[family, number] = turned(world.random_amplitude * rng.uniform(0.5, 1), 0.0)
        found["random_b2", number] = turned(world.along_b1, world.random_b2 * rng.uniform(0.5, 1))
    return found


def magnitudes(world: World, base: Measured, rng: np.random.Generator) -> dict:
    quiet = dataclasses.replace(world, noise=0.01)
    change = world.magnitude * 2 * world.along_b1
    found = {}
    for angle, level in (("0", world.along_b1), ("180", -world.along_b1)):
        for factor, extra in ((1.0, 0.0), (0.5, change), (2.0, -change)):
            found[angle, factor] = edited(base, level + extra, quiet, rng)
    for number in range(5):
        for factor in (0.5, 2.0):
            found[f"random.{number}", factor] = edited(base, 3.0, quiet, rng)
    return found


def judged(world: World, seed: int = 0) -> tuple[str, dict[str, str], dict[str, Estimate]]:
    estimates = module.all_estimates(plant(world, seed), seed=0)
    return module.verdict(estimates), module.answers(estimates), estimates


# ------------------------------------------------------------------------------------- questions


def test_the_world_of_the_claim_is_supported():
    verdict, answers, estimates = judged(World())
    assert answers == {"a": "yes", "b": "yes", "c": "yes", "d": "yes"}
    assert verdict == "supported"
    assert estimates["magnitude.share"].value == pytest.approx(0.1, abs=0.01)
    # Angles of the sweep are 45 degrees apart; the best two lie nearest to the peak, at 26.6.
    best = wave(World(), 45) - wave(World(), 225)
    assert estimates["reach.rotation.cap_0.1"].value == pytest.approx(best, abs=0.3)
    assert estimates["reach.scaling.cap_0.5"].value == pytest.approx(6, abs=0.3)
    assert estimates["angle.amplitude"].value == pytest.approx(np.hypot(4, 2), abs=0.2)


@pytest.mark.parametrize(
    ("question", "world"),
    [
        ("a", World(magnitude=0.5)),
        ("b", World(scaling=2.0)),
        ("c", World(scaling=12.0)),
        ("c", World(adding=12.0)),
        ("d", World(second_harmonic=5.0)),
        ("d", World(random_amplitude=12.0)),
        ("d", World(random_b2=4.0)),
    ],
)
def test_each_planted_negative_is_answered_no_and_rejects(question: str, world: World):
    verdict, answers, _ = judged(world)
    assert answers[question] == "no"
    assert verdict == "rejected"


@pytest.mark.parametrize(
    ("question", "world"),
    [
        ("a", World(magnitude=0.25)),
        ("a", World(along_b1=0.1)),
        ("b", World(scaling=4.24, noise=3.0)),
        ("b", World(along_b1=0.0, along_b2=0.0, scaling=0.0)),
        ("c", World(scaling=8.49, noise=2.0)),
    ],
)
def test_what_the_data_cannot_tell_is_open(question: str, world: World):
    # A draw whose noise is not itself one of the 5% that look like an effect.
    assert judged(world, seed=3)[1][question] == "open"


def test_an_open_question_alone_is_inconclusive():
    estimates = judged(World())[2]
    share = dataclasses.replace(estimates["magnitude.share"], low=0.2, high=0.3)
    changed = estimates | {"magnitude.share": share}
    assert module.answers(changed) == {"a": "open", "b": "yes", "c": "yes", "d": "yes"}
    assert module.verdict(changed) == "inconclusive"


def test_an_absent_behaviour_is_inconclusive():
    assert judged(World(n_refused=5))[0] == "inconclusive"
    assert judged(World(n_refused=6))[0] == "supported"


def test_a_direction_that_random_ones_equal_is_inconclusive():
    assert judged(World(bypass=7.6))[0] == "inconclusive"


def test_a_model_that_no_edit_moves_is_never_supported():
    """Shuffled data: every change is noise."""
    still = World(
        along_b1=0, along_b2=0, scaling=0, adding=0, random_amplitude=0, random_b2=0, noise=1.0
    )
    assert "supported" not in {judged(still, seed)[0] for seed in range(4)}


def test_settings_are_chosen_on_validation_and_only_measured_on_test():
    found = plant(World())
    flipped = {
        point: Measured(
            2 * found.base_test.harmful - m.harmful,
            2 * found.base_test.harmless - m.harmless,
            m.kl,
            m.text_kl,
        )
        for point, m in found.test.items()
    }
    turned = dataclasses.replace(found, test=flipped)
    before, after = (module.all_estimates(f, seed=0) for f in (found, turned))
    for name in ("reach.rotation.cap_0.1", "matched.scaling"):
        assert after[name].value == pytest.approx(-before[name].value)


def test_damage_beyond_a_cap_is_allowed_on_a_share_of_the_prompts():
    """A third of the prompts edited at a KL of .3 is a KL of .1."""
    found = plant(World(text_kl=0.3))
    for target in TARGETS:
        ((point, share),) = found.chosen["rotation", target, 0.1]
        assert share == pytest.approx(1 / 3)
        assert found.chosen["rotation", target, 0.5] == ((point, 1.0),)
    estimates = module.all_estimates(found, seed=0)
    whole = estimates["reach.rotation.cap_0.5"].value
    assert whole > 7
    assert estimates["reach.rotation.cap_0.1"].value == pytest.approx(whole / 3)
    assert estimates["matched.rotation"].value == pytest.approx(whole / 3)


def test_matching_uses_the_damage_of_the_test_text():
    found = plant(World(text_kl=0.3))
    shares = found.matched["scaling", "bypass", module.MATCHED_KL]
    twice = {p: dataclasses.replace(m, text_kl=2 * m.text_kl) for p, m in found.test.items()}
    mixed = [at_text_kl(shares, test, 0.1) for test in (found.test, twice)]
    (((_, once),), reached), (((_, half),), _) = mixed
    assert half == pytest.approx(once / 2)
    assert reached == 0.1


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
    estimates = module.all_estimates(found, seed=0)
    damage = {f: estimates[f"matched.damage.{f}"].value for f in ("rotation", "scaling", "adding")}
    assert damage == {"rotation": 0.04, "scaling": module.MATCHED_KL, "adding": module.MATCHED_KL}
    assert module.below_matched_kl(estimates) == " (short of that KL: rotation 0.04 nats)"
    table = rotation_tables.tables(found, module.MATCHED_KL, seed=0)["matched"]
    for family, rows in table.groupby("family"):
        assert set(rows["text_kl"]) == {damage[str(family)]}
    assert module.below_matched_kl(module.all_estimates(plant(World(text_kl=0.3)), seed=0)) == ""


def test_the_damage_of_a_sum_is_that_of_the_target_that_falls_short():
    found = short_world()
    ((induce, _),) = found.matched["rotation", "induce", module.MATCHED_KL]
    test = {**found.test, induce: dataclasses.replace(found.test[induce], text_kl=np.ones(6))}
    found = dataclasses.replace(found, test=test)
    table = rotation_tables.tables(found, module.MATCHED_KL, seed=0)["matched"]
    rotation = table[table["family"] == "rotation"].set_index("target")["text_kl"]
    assert rotation.to_dict() == {"bypass": 0.04, "induce": module.MATCHED_KL, "reach": 0.04}
    assert module.all_estimates(found, seed=0)["matched.damage.rotation"].value == 0.04


def test_a_family_that_nothing_of_helps_is_compared_at_no_damage():
    found = plant(World(text_kl=0.3))
    empty = {key: () for key in found.matched if key[0] == "adding"}
    found = dataclasses.replace(found, matched=found.matched | empty)
    estimates = module.all_estimates(found, seed=0)
    assert estimates["matched.adding"].value == estimates["matched.damage.adding"].value == 0
    assert module.below_matched_kl(estimates) == " (short of that KL: adding 0 nats)"


def test_next_token_damage_counts_against_bypass_alone():
    base = Measured(np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(2))
    m = Measured(np.ones(3), np.ones(3), np.full(3, 0.9), np.full(2, 0.05))
    assert (m.damage("bypass"), m.damage("induce")) == (0.9, 0.05)
    assert m.effect(base, "bypass").tolist() == [-1, -1, -1]
    assert m.effect(base, "induce").tolist() == [1, 1, 1]


def test_the_criterion_states_every_constant_and_the_verdict_uses_no_other():
    for constant in (
        module.LOW_CAP, module.HIGH_CAP, module.MATCHED_KL, module.SMALL_SHARE,
        module.MIN_ANGLE_EFFECT, module.MIN_R_SQUARED, module.SIGNIFICANCE,
    ):  # fmt: skip
        assert str(constant) in module.CRITERION


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
    module.PRESETS["smoke"],
    variants=("add@norms", "scale@source", "rotate_to@norms", "adaptive_rotate_to@opposite"),
)


@pytest.fixture(scope="module")
def tiny_result(tiny_model: LoadedModel) -> Result:
    return module.run(SMALL, make_lab(tiny_model))


def same(first: Result, second: Result) -> bool:
    return first.observation == second.observation and all(
        first.tables[name].equals(second.tables[name]) for name in first.tables
    )


def test_run_gives_every_estimate_and_a_verdict(tiny_result: Result):
    assert tiny_result.verdict == "inconclusive"
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
    figures = module.plot(dataclasses.replace(tiny_result, tables=saved))
    assert set(figures) <= set(saved)
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert "n = " in figure.get_suptitle()


def test_the_figures_of_the_full_preset_can_be_drawn(tiny_model: LoadedModel):
    full = module.PRESETS["full"]
    config = dataclasses.replace(
        module.PRESETS["smoke"],
        variants=full.variants,
        n_doses=12,
        n_magnitude_angles=full.n_magnitude_angles,
    )
    result = module.run(config, make_lab(tiny_model))
    figures = module.plot(result)
    places = {
        name.split("@")[1] for name in set(result.tables["dose_bypass"]["variant"]) if "@" in name
    }
    assert len(figures["dose_bypass"].axes) == len(places) > 1
    assert set(result.tables["magnitude"]["angle"]) == {f"{30 * i} degrees" for i in range(12)}


def test_per_prompt_scores_name_no_text(tiny_result: Result):
    table = tiny_result.tables["per_prompt"]
    assert set(table["prompt"]) == {f"{c}.{i}" for c in ("harmful", "harmless") for i in range(4)}
    assert "base" in set(table["setting"])


def test_random_planes_take_the_path_of_the_true_one_and_empty_places_are_named(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[Variant, str]] = []
    original = module.placements

    def spy(variant: Variant, dose: float, frame: Any) -> Any:
        seen.append((variant, frame.plane.family))
        return original(variant, dose, frame)

    monkeypatch.setattr(module, "placements", spy)
    monkeypatch.setattr(module, "opposite_sites", lambda *_: ())
    result = module.run(SMALL, make_lab(tiny_model))
    by_family = {family: {v for v, f in seen if f == family} for _, family in seen}
    assert set(by_family) == {"steering", "random_b2", "isotropic", "covariance"}
    for family in ("random_b2", "isotropic", "covariance"):
        assert by_family[family] == {module.PLANE_VARIANT}
    assert module.PLANE_VARIANT in by_family["steering"]
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
        module.run(SMALL, make_lab(tiny_model, cells=BreakingCells(path, "one")))
    cells = FileCells(path, "one")
    assert len(cells) == 45
    assert same(module.run(SMALL, make_lab(tiny_model, cells=cells)), tiny_result)


def test_intervals_of_many_settings_are_those_of_each():
    values = np.random.default_rng(0).normal(3, 2, (4, 30))
    mean, low, high = rotation_tables.mean_intervals(values, seed=0)
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
        moved = module.random_move(unit, factor)(h)
        assert torch.allclose(moved.norm(dim=-1), h.norm(dim=-1), rtol=1e-4)
        length = (moved - h).norm(dim=-1) / h.norm(dim=-1)
        assert torch.allclose(length, torch.full((20,), abs(factor - 1)), rtol=0.1)


def test_headlines_are_estimates():
    assert set(module.HEADLINE) <= set(module.all_estimates(plant(World()), seed=0))


@pytest.mark.parametrize("preset", ["smoke", "quick", "full"])
def test_presets_fit_together(preset: str):
    config = module.PRESETS[preset]
    module.check(config)
    assert all(doses(Variant.parse(v), config.n_doses) for v in config.variants)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": ("scale@norms",)}, "must hold rotate_to@norms"),
        ({"variants": ("rotate_to@norms", "add@norms")}, "one that scales"),
        ({"n_random_angles": 5}, "divide n_doses"),
        ({"n_isotropic": 0, "n_covariance": 0}, "needs n_isotropic or n_covariance"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: Mapping[str, Any], message: str):
    with pytest.raises(ExperimentError, match=message):
        module.check(dataclasses.replace(module.Config(), **change))


def test_tables_of_a_planted_world_hold_the_intervals_and_the_null():
    made = rotation_tables.tables(plant(World()), module.MATCHED_KL, seed=0)
    matched = made["matched"].set_index(["family", "target"])
    row = matched.loc[("rotation", "reach")]
    assert row.low < row.value < row.high
    assert row.null_high < row.low
    assert set(made["dose_bypass"]["null"]) == {True, False}
