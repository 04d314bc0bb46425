"""Profiles on planted data, and the Gram-matrix path against the plain definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from interp import geometry
from interp.errors import ActivationError

N_POSITIVE, N_NEGATIVE, N_SITES, D_MODEL = 14, 18, 3, 40


@pytest.fixture
def classes():
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(N_SITES, D_MODEL, generator=generator) * 3
    shift = torch.randn(N_SITES, D_MODEL, generator=generator)
    positive = common + shift + torch.randn(N_POSITIVE, N_SITES, D_MODEL, generator=generator)
    negative = common + 2 * torch.randn(N_NEGATIVE, N_SITES, D_MODEL, generator=generator)
    return positive, negative


def rows(weights: geometry.Weights) -> np.ndarray:
    return np.concatenate([weights.positive, weights.negative])


def variance_share(states):
    return geometry.mean_variance(states) / states.double().square().mean((0, 2))


def fisher_separation(positive, negative):
    distance = (positive.double().mean(0) - negative.double().mean(0)).square().mean(-1)
    within = [geometry.mean_variance(states) for states in (positive, negative)]
    return distance / (sum(within) / 2)


def test_plain_profiles_by_hand():
    positive = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]])
    negative = torch.tensor([[[0.0, 2.0]], [[2.0, 2.0]]])
    assert geometry.mean_cosine(positive, negative).item() == pytest.approx(1 / np.sqrt(5))
    assert geometry.mean_variance(positive).item() == 1.0  # features vary by 2 and 0
    assert geometry.maximum_variance(positive).item() == 2.0
    assert variance_share(positive).item() == pytest.approx(0.4)
    # Means differ by (1, -2): 5 / 2 per feature, over a mean variance of 1.
    assert fisher_separation(positive, negative).item() == pytest.approx(2.5)


def test_noise_alone_gives_the_stated_fisher_separation():
    states = torch.randn(70, 30, 500, generator=torch.Generator().manual_seed(1))
    weights = geometry.true_weights(20, 50)
    found = [geometry.resampled(geometry.gram_matrix(site), weights) for site in states.unbind(1)]
    assert np.mean([site.fisher for site in found]) == pytest.approx(1 / 20 + 1 / 50, rel=0.05)


def test_largest_dimensions_and_leaving_them_out(classes):
    pooled = torch.cat(classes)
    pooled[:, 0, 7] += 100
    pooled[:, 0, 3] -= 50
    pooled[:, 1, 9] += 100
    found = geometry.largest_dimensions(pooled, 2)
    assert found[0].tolist() == [7, 3]
    assert found[1, 0].item() == 9
    kept = geometry.without_dimensions(pooled, found)
    assert kept.shape == (len(pooled), N_SITES, D_MODEL - 2)
    rest = [i for i in range(D_MODEL) if i not in (3, 7)]
    assert torch.equal(kept[:, 0], pooled[:, 0, rest])


def test_gram_path_equals_the_definitions(classes):
    positive, negative = classes
    weights = geometry.true_weights(N_POSITIVE, N_NEGATIVE)
    for site in range(N_SITES):
        found = geometry.resampled(geometry.gram_matrix(torch.cat(classes)[:, site]), weights)
        expected = {
            "cosine": geometry.mean_cosine(positive, negative),
            "fisher": fisher_separation(positive, negative),
            "variance_positive": geometry.mean_variance(positive),
            "variance_negative": geometry.mean_variance(negative),
            "share_positive": variance_share(positive),
            "share_negative": variance_share(negative),
        }
        for name, values in expected.items():
            assert_allclose(getattr(found, name), [values[site].item()], rtol=1e-9, err_msg=name)


def test_permuted_draws_equal_relabelled_classes(classes):
    pooled = torch.cat(classes)
    weights = geometry.permuted_weights(N_POSITIVE, N_NEGATIVE, 20, seed=3)
    found = geometry.resampled(geometry.gram_matrix(pooled[:, 1]), weights)
    for draw in range(20):
        first = torch.from_numpy(weights.positive[draw] > 0)
        assert int(first.sum()) == N_POSITIVE
        relabelled = pooled[first], pooled[~first]
        expected = geometry.mean_cosine(*relabelled)[1].item()
        assert found.cosine[draw] == pytest.approx(expected, rel=1e-10)
        expected = fisher_separation(*relabelled)[1].item()
        assert found.fisher[draw] == pytest.approx(expected, rel=1e-8)


def test_bootstrap_draws_equal_resampled_classes(classes):
    positive, negative = classes
    weights = geometry.bootstrap_weights(N_POSITIVE, N_NEGATIVE, 20, seed=4)
    found = geometry.resampled(geometry.gram_matrix(torch.cat(classes)[:, 2]), weights)
    for draw in range(20):
        counts = np.rint(weights.positive[draw, :N_POSITIVE] * N_POSITIVE).astype(int)
        again = positive[np.repeat(np.arange(N_POSITIVE), counts)]
        counts = np.rint(weights.negative[draw, N_POSITIVE:] * N_NEGATIVE).astype(int)
        other = negative[np.repeat(np.arange(N_NEGATIVE), counts)]
        assert (len(again), len(other)) == (N_POSITIVE, N_NEGATIVE)
        assert found.cosine[draw] == pytest.approx(geometry.mean_cosine(again, other)[2].item())
        assert found.share_positive[draw] == pytest.approx(variance_share(again)[2].item())


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 1000))
def test_weights_sum_to_one_and_classes_share_no_sample(n, m, seed):
    for weights in (
        geometry.true_weights(n, m),
        geometry.permuted_weights(n, m, 5, seed),
        geometry.bootstrap_weights(n, m, 5, seed),
    ):
        assert_allclose(rows(weights).sum(axis=1), 1.0)
        assert not ((weights.positive > 0) & (weights.negative > 0)).any()


@settings(max_examples=25)
@given(st.integers(2, 13), st.integers(2, 13), st.integers(0, 1000))
def test_halves_hold_half_of_each_class_of_each_draw(n, m, seed):
    weights = geometry.permuted_weights(n, m, 6, seed)
    half = geometry.stratified_halves(weights, seed)
    for rows_of_class, size in ((weights.positive > 0, n), (weights.negative > 0, m)):
        inside = (half & rows_of_class).sum(axis=1)
        assert set(inside.tolist()) <= {size // 2, size - size // 2}
    assert len({tuple(row) for row in half.tolist()}) > 1 or n + m < 6


def test_common_mean_form_equals_its_definition(classes):
    pooled = torch.cat(classes)[:, 0].double().numpy()
    weights = geometry.permuted_weights(N_POSITIVE, N_NEGATIVE, 4, seed=5)
    half = geometry.stratified_halves(weights, 6)
    gram = geometry.gram_matrix(torch.cat(classes)[:, 0])
    found = geometry.cosine_without_common_mean(gram, weights, half)
    for draw in range(4):
        is_positive, cosines = weights.positive[draw] > 0, []
        for inside in (half[draw], ~half[draw]):
            means = [pooled[inside & c].mean(0) for c in (is_positive, ~is_positive)]
            outside = [pooled[~inside & c].mean(0) for c in (is_positive, ~is_positive)]
            first, second = (mean - (outside[0] + outside[1]) / 2 for mean in means)
            cosines.append(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
        assert found[draw] == pytest.approx(np.mean(cosines))


def test_common_mean_form_tells_apart_from_alike():
    generator = torch.Generator().manual_seed(2)
    offset = 10 * torch.randn(300, generator=generator)
    alike = offset + torch.randn(80, 300, generator=generator)
    weights = geometry.true_weights(40, 40)
    half = geometry.stratified_halves(weights, 0)
    gram = geometry.gram_matrix(alike)
    assert geometry.cosine_without_common_mean(gram, weights, half)[0] == pytest.approx(
        1 / 3, abs=0.1
    )
    apart = alike.clone()
    apart[:40] += torch.randn(300, generator=generator)
    gram = geometry.gram_matrix(apart)
    # Per feature: means 1 apart, 20 samples of unit variance per half and class.
    expected = (-1 / 4 + 1 / 40) / (1 / 4 + 3 / 40)
    assert geometry.cosine_without_common_mean(gram, weights, half)[0] == pytest.approx(
        expected, abs=0.08
    )
    assert geometry.resampled(gram, weights).cosine[0] > 0.98  # the raw cosine hides it


def test_one_token_everywhere_gives_no_separation_but_no_error():
    same = torch.randn(1, D_MODEL, generator=torch.Generator().manual_seed(3)).repeat(12, 1)
    weights = geometry.permuted_weights(6, 6, 9, seed=0)
    gram = geometry.gram_matrix(same)
    found = geometry.resampled(gram, weights)
    assert_allclose(found.cosine, 1.0)
    assert np.isnan(found.fisher).all()
    assert (np.abs(found.share_positive) < 1e-10).all()
    half = geometry.stratified_halves(weights, 0)
    assert np.isnan(geometry.cosine_without_common_mean(gram, weights, half)).all()


def test_too_few_samples_are_named():
    with pytest.raises(ActivationError, match="two or more"):
        geometry.true_weights(1, 5)
