"""The best setting within a damage limit, and mixtures at equal damage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from experiments.harness.registry import find_experiment
from interp.errors import DataError

reach = find_experiment("08").part("reach")
best_mixture = reach.best_mixture
mixture_at = reach.mixture_at

Setting = tuple[float, float]  # effect and damage


def value(mixture: dict[str, float], settings: dict[str, Setting]) -> Setting:
    effect, damage = (
        sum(settings[name][part] * share for name, share in mixture.items()) for part in (0, 1)
    )
    return effect, damage


def test_one_setting_is_best_where_the_others_do_less():
    settings = {"weak": (1.0, 0.05), "good": (2.0, 0.1), "harmful": (2.5, 9.0)}
    mixture = best_mixture(settings, 0.1)
    assert value(mixture, settings) == pytest.approx((2.0, 0.1), rel=0.01)
    assert best_mixture(settings, 10.0) == {"harmful": 1.0}


def test_a_setting_beyond_the_cap_serves_a_share_of_the_prompts():
    settings = {"strong": (4.0, 0.4), "mild": (3.0, 0.05)}
    assert best_mixture({"strong": settings["strong"]}, 0.1) == {"strong": 0.25}
    mixture = best_mixture(settings, 0.1)
    assert list(mixture) == ["mild", "strong"]
    assert value(mixture, settings) == pytest.approx((3 + 0.05 / 0.35, 0.1))


def test_nothing_is_chosen_where_nothing_helps():
    assert best_mixture({"bad": (-1.0, 0.0), "idle": (0.0, 0.0)}, 1.0) == {}
    assert best_mixture({}, 0.1) == {}
    assert best_mixture({"broken": (5.0, np.nan)}, 1.0) == {}


@given(
    points=st.lists(
        st.tuples(st.floats(-5, 5), st.floats(0.001, 2)), min_size=1, max_size=6, unique=True
    ),
    cap=st.floats(0.01, 3),
)
def test_the_best_mixture_solves_the_linear_programme(
    points: list[tuple[float, float]], cap: float
):
    settings = {str(number): point for number, point in enumerate(points)}
    mixture = best_mixture(settings, cap)
    effects, damages = np.array(points).T
    solved = linprog(
        -effects, A_ub=[damages, np.ones(len(points))], b_ub=[cap, 1.0], bounds=(0, None)
    )
    effect, damage = value(mixture, settings)
    assert damage <= cap * (1 + 1e-9)
    assert sum(mixture.values()) <= 1 + 1e-9
    assert effect == pytest.approx(-solved.fun, abs=1e-6)


def test_mixtures_interpolate_between_neighbours_and_no_intervention():
    damages = {"high": 0.4, "low": 0.2}
    for at, high, low in ((0.1, 0.0, 0.5), (0.2, 0.0, 1.0), (0.3, 0.5, 0.5)):
        shares, reached = mixture_at(damages, at)
        assert shares == pytest.approx({"high": high, "low": low})
        assert reached == at


@pytest.mark.parametrize("damages", [[0.2], [0.1, 0.2], []])
def test_mixtures_never_extrapolate_and_tell_that_they_fall_short(damages: list[float]):
    shares, reached = mixture_at(dict(enumerate(damages)), 5.0)
    assert sum(shares.values()) == bool(damages)
    assert reached == max(damages, default=0.0)


@given(
    damages=st.lists(st.floats(0.01, 10), min_size=1, max_size=6, unique=True),
    at=st.floats(0, 20),
)
def test_a_mixture_is_convex_and_has_the_damage_asked_for(damages: list[float], at: float):
    shares, reached = mixture_at(dict(enumerate(damages)), at)
    assert min(shares.values()) >= -1e-12
    assert sum(shares.values()) <= 1 + 1e-9
    assert sum(share * damages[index] for index, share in shares.items()) == pytest.approx(reached)
    assert reached == min(at, max(damages))


def test_damages_must_be_numbers():
    with pytest.raises(DataError, match="finite"):
        mixture_at({"broken": np.nan}, 0.1)
