"""Intervals, paired tests and permutation p-values against references, and their coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from interp import stats
from interp.errors import DataError

counts = st.tuples(*[st.integers(0, 12)] * 4).filter(lambda cells: sum(cells) > 0)


def pairs(both: int, only_first: int, only_second: int, neither: int):
    """The two boolean lists of a paired 2 x 2 table."""
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first, second


@given(st.integers(1, 60), st.data())
def test_wilson_equals_statsmodels(n, data):
    successes = data.draw(st.integers(0, n))
    found = stats.wilson(successes, n)
    expected = proportion_confint(successes, n, method="wilson")
    assert_allclose((found.low, found.high), expected, atol=1e-12)
    assert found.low - 1e-12 <= found.value == successes / n <= found.high + 1e-12


def test_wilson_covers_at_the_nominal_rate():
    # Exact coverage: at a single rate it oscillates (.928 at .2), over rates it averages out.
    intervals = [stats.wilson(k, 40) for k in range(41)]
    low, high = (np.array([getattr(i, side) for i in intervals]) for side in ("low", "high"))
    coverage = [
        scipy_stats.binom.pmf(np.arange(41), 40, rate)[(low <= rate) & (rate <= high)].sum()
        for rate in np.linspace(0.05, 0.95, 181)
    ]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)
    assert min(coverage) > 0.92


@pytest.mark.parametrize(
    ("cells", "phi"),
    [
        ((20, 5, 3, 22), (425 - 25) / np.sqrt(25 * 25 * 23 * 27)),  # lessened by n / 2
        ((1, 1, 7, 12), 0.0),  # 5 - 10.5 would be negative, so 0
        ((36, 12, 2, 0), -24 / np.sqrt(48 * 2 * 38 * 12)),  # a negative phi is not lessened
        ((5, 0, 4, 0), 0.0),  # an empty margin
    ],
)
def test_newcombe_equals_the_formula_of_method_10(cells, phi):
    both, only_first, only_second, _ = cells
    n = sum(cells)
    (l1, u1), (l2, u2) = (
        proportion_confint(both + alone, n, method="wilson") for alone in (only_first, only_second)
    )
    p1, p2 = (both + only_first) / n, (both + only_second) / n
    below = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    above = (u2 - p2) ** 2 - 2 * phi * (u2 - p2) * (p1 - l1) + (p1 - l1) ** 2
    found = stats.newcombe_difference(*pairs(*cells))
    expected = p2 - p1, p2 - p1 - np.sqrt(below), p2 - p1 + np.sqrt(above)
    assert_allclose((found.value, found.low, found.high), expected, atol=1e-9)
    assert found.n == n


@given(counts)
def test_newcombe_is_antisymmetric_and_holds_the_difference(cells):
    first, second = pairs(*cells)
    there, back = stats.newcombe_difference(first, second), stats.newcombe_difference(second, first)
    assert_allclose((there.low, there.high), (-back.high, -back.low), atol=1e-12)
    assert -1 - 1e-9 <= there.low <= there.value <= there.high <= 1 + 1e-9


def test_newcombe_without_correlation_is_the_unpaired_score_interval():
    first, second = pairs(4, 4, 4, 4)
    found = stats.newcombe_difference(first, second)
    wilson = stats.wilson(8, 16)
    # Phi is 0, so the sides are at a right angle: the square root of the sum of squares.
    reach = np.hypot(0.5 - wilson.low, wilson.high - 0.5)
    assert_allclose((found.low, found.high), (-reach, reach), atol=1e-12)


def test_newcombe_covers_for_correlated_answers():
    rng = np.random.default_rng(1)
    probabilities = [0.35, 0.25, 0.05, 0.35]  # both, only first, only second, neither
    found = [
        stats.newcombe_difference(*pairs(*rng.multinomial(50, probabilities))) for _ in range(800)
    ]
    covered = np.mean([interval.low <= -0.2 <= interval.high for interval in found])
    assert 0.93 < covered < 0.985


def test_bootstrap_mean_is_near_the_normal_interval():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = stats.bootstrap_mean(values, seed=1)
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert_allclose(
        (found.low, found.high),
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error),
        atol=0.03,
    )
    assert found == stats.bootstrap_mean(values, seed=1)
    assert found != stats.bootstrap_mean(values, seed=2)


def test_bootstrap_mean_covers_as_often_as_a_plain_bootstrap():
    rng = np.random.default_rng(2)
    samples = rng.normal(1.0, 2.0, (300, 60))
    # A seed per data set: with one seed all intervals would share the same resamples.
    found = [stats.bootstrap_mean(x, seed, 200) for seed, x in enumerate(samples)]
    plain = [
        np.percentile(x[rng.integers(0, 60, (200, 60))].mean(axis=1), [2.5, 97.5]) for x in samples
    ]
    covered = np.mean([interval.low <= 1.0 <= interval.high for interval in found])
    assert covered == pytest.approx(np.mean([low <= 1.0 <= high for low, high in plain]), abs=0.02)
    assert covered == pytest.approx(0.94, abs=0.03)


def test_bootstrap_of_pairs_keeps_the_rows_together():
    x = np.random.default_rng(4).normal(size=(80, 3))
    arrays = [x, 2 * x + 1]

    def slope(a, b):
        return float(np.polyfit(a.ravel(), b.ravel(), 1)[0])

    paired = stats.bootstrap(slope, arrays, paired=True, seed=0, n_resamples=200)
    assert_allclose((paired.low, paired.value, paired.high), 2.0)
    apart = stats.bootstrap(slope, arrays, paired=False, seed=0, n_resamples=200)
    assert apart.high - apart.low > 0.1
    assert (paired.n, apart.n) == (80, 160)


def test_half_samples_give_an_interval_about_the_value():
    found = stats.half_sample_interval(3.0, np.array([9.0, 10.0, 11.0]))
    assert found.low < 3.0 < found.high
    assert (found.high + found.low) / 2 == pytest.approx(3.0)


def test_half_samples_cover_at_about_the_nominal_rate():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        values = rng.standard_normal(40)
        halves = [rng.choice(values, 20, replace=False).mean() for _ in range(200)]
        found = stats.half_sample_interval(values.mean(), np.array(halves))
        covered += found.low < 0 < found.high
    assert 0.9 < covered / 200 < 0.99


def test_permutation_p_counts_ties_and_is_never_zero():
    null = np.array([0.0, 1.0, 2.0, 3.0])
    assert stats.permutation_p(3.0, null) == 2 / 5
    assert stats.permutation_p(9.0, null) == 1 / 5
    assert stats.permutation_p(0.5, null, "less") == 2 / 5
    assert stats.permutation_p(9.0, null, "two-sided") == 2 / 5
    assert stats.permutation_p(1.5, null, "two-sided") == 1.0
    assert stats.permutation_p(0.1 + 0.2, np.array([0.3])) == 1.0


def test_what_is_not_measured_has_no_p():
    null = np.arange(9.0)
    assert all(
        np.isnan(stats.permutation_p(np.nan, null, alternative))
        for alternative in ("greater", "less", "two-sided")
    )
    assert_allclose(stats.max_statistic_p(np.array([np.nan, 9.0]), null[:, None]), [np.nan, 0.1])


def test_maximum_statistic_controls_the_error_over_sites():
    rng = np.random.default_rng(5)
    draws = rng.standard_normal((300, 25))
    smallest = [
        stats.max_statistic_p(draws[i], np.delete(draws, i, axis=0)).min() for i in range(300)
    ]
    assert np.mean(np.array(smallest) <= 0.05) == pytest.approx(0.05, abs=0.01)
    raw = [stats.permutation_p(draws[i, 0], np.delete(draws[:, 0], i)) for i in range(300)]
    assert np.mean(raw) == pytest.approx(0.5, abs=0.01)


def test_one_strong_site_is_found():
    null = np.random.default_rng(6).standard_normal((199, 10))
    observed = np.zeros(10)
    observed[3] = 9.0
    p = stats.max_statistic_p(observed, null)
    assert p[3] == 1 / 200
    assert (np.delete(p, 3) > 0.5).all()


@settings(max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=5, max_size=12, unique=True), st.randoms())
def test_circular_shift_uses_spearman_and_every_shift(values, random):
    x, y = np.array(values), np.array(random.sample(values, len(values)))
    rho, p = stats.circular_shift_spearman(x, y)
    shifts = [scipy_stats.spearmanr(x, np.roll(y, k)).statistic for k in range(len(x))]
    assert rho == pytest.approx(shifts[0], abs=1e-12)
    expected = np.mean(np.abs(shifts) >= abs(shifts[0]) - 1e-9)
    assert p == pytest.approx(expected)


def test_spearman_is_scipys_and_none_with_a_constant():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (2, 3, 12)).astype(float)
    expected = [scipy_stats.spearmanr(*rows).statistic for rows in zip(x, y, strict=True)]
    assert stats.spearman(x, y) == pytest.approx(expected)
    assert stats.spearman(np.ones(4), np.arange(4.0)) == 0


def test_interval_columns_are_those_of_every_item():
    draws = np.random.default_rng(0).standard_normal((50, 2, 3))
    found = stats.interval_columns(draws, "null_")
    ends = found["null_low"][1, 2], found["null_high"][1, 2]
    assert ends == pytest.approx(stats.null_interval(draws[:, 1, 2]))


def test_circular_shift_is_not_fooled_by_smooth_series():
    rng = np.random.default_rng(7)
    smooth = rng.standard_normal((200, 2, 48)).cumsum(axis=-1)
    smooth = smooth - np.linspace(0, 1, 48) * smooth[..., -1:]  # bridges: the ends join
    usual = np.mean([scipy_stats.spearmanr(x, y).pvalue < 0.05 for x, y in smooth])
    shifted = np.mean([stats.circular_shift_spearman(x, y)[1] < 0.05 for x, y in smooth])
    assert usual > 0.4
    assert shifted < 0.1


def test_holm_by_hand():
    assert_allclose(stats.holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])


def test_detectable_effect_of_an_interval_is_that_of_its_standard_error():
    error = 0.5
    interval = stats.Interval(1.0, 1.0 - 1.959964 * error, 1.0 + 1.959964 * error, 30)
    found = stats.minimum_detectable_effect_interval(interval)
    assert found == pytest.approx(2.801585 * error, rel=1e-5)


def test_null_interval_is_the_middle_95_percent():
    assert_allclose(stats.null_interval(np.arange(1001.0)), (25.0, 975.0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.wilson(3, 0),
        lambda: stats.wilson(5, 4),
        lambda: stats.newcombe_difference(np.ones(3, bool), np.ones(4, bool)),
        lambda: stats.bootstrap_mean(np.array([1.0, np.nan])),
        lambda: stats.bootstrap_mean(np.array([1.0])),
        lambda: stats.bootstrap(np.mean, [np.ones(3), np.ones(4)], paired=True),
        lambda: stats.permutation_p(1.0, np.array([])),
        lambda: stats.max_statistic_p(np.ones(2), np.full((3, 2), np.nan)),
        lambda: stats.circular_shift_spearman(np.ones(5), np.arange(5.0)),
    ],
)
def test_impossible_input_is_named(call):
    with pytest.raises(DataError):
        call()
