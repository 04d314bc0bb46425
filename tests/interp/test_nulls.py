"""Null directions: same norm and place as the true one, and orthogonal to it."""

import numpy as np
import pytest
import torch

from interp import nulls
from interp.directions import Direction, mean_difference
from interp.errors import ActivationError
from interp.sites import Site

D_MODEL = 24
SITE = Site(3, "mid")


@pytest.fixture
def classes():
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(3.0, 0.1, D_MODEL)
    positive = torch.randn(30, D_MODEL, generator=generator) * scale
    negative = torch.randn(40, D_MODEL, generator=generator) * scale
    positive[:, 5] += 4.0
    return positive, negative


@pytest.fixture
def direction(classes):
    return mean_difference(*classes, site=SITE, position=-2)


def draw(family: str, classes, direction, n: int = 50, seed: int = 0) -> list[Direction]:
    return nulls.of_family(family, direction, *classes, n, seed)


@pytest.mark.parametrize("family", nulls.FAMILIES)
def test_nulls_match_the_direction_in_all_but_where_they_point(family, classes, direction):
    found = draw(family, classes, direction)
    assert len(found) == 50
    for null in found:
        assert (null.norm, null.site, null.position) == (direction.norm, SITE, -2)
        assert null.unit.dtype == direction.unit.dtype
        assert float(null.unit.norm()) == pytest.approx(1.0, abs=1e-6)
        assert null.provenance["null"] == family


@pytest.mark.parametrize("family", nulls.FAMILIES)
def test_nulls_are_drawn_by_the_seed(family, classes, direction):
    units = [
        torch.stack([d.unit for d in draw(family, classes, direction, 5, s)]) for s in (1, 1, 2)
    ]
    assert torch.equal(units[0], units[1])
    assert not torch.allclose(units[0], units[2])
    assert torch.linalg.matrix_rank(units[0]) == 5


@pytest.mark.parametrize("family", nulls.FAMILIES)
def test_every_family_is_orthogonal_to_the_direction(family, classes, direction):
    found = torch.stack([null.unit for null in draw(family, classes, direction)])
    assert float((found @ direction.unit).abs().max()) < 1e-6


def test_isotropic_draws_have_no_preferred_axis(classes, direction):
    units = torch.stack(
        [null.unit for null in draw("isotropic", classes, direction, 4000)]
    ).double()
    expected = (torch.eye(D_MODEL) - torch.outer(direction.unit, direction.unit)) / (D_MODEL - 1)
    assert float((units.T @ units / 4000 - expected).abs().max()) < 6e-3


def test_covariance_matched_draws_have_the_sample_covariance(classes, monkeypatch):
    pooled = torch.cat(classes)
    # Before normalising, so that the covariance itself can be compared.
    monkeypatch.setattr(nulls, "_as_directions", lambda draws, *_: draws)
    direction = Direction(torch.eye(D_MODEL)[-1], 1.0)
    draws = np.asarray(nulls.covariance_matched(direction, pooled, 20_000, 0))
    expected = np.cov(pooled.double().numpy().T)[:-1, :-1]
    found = np.cov(draws.T)[:-1, :-1]
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.03


def test_covariance_matched_stays_in_the_span_of_fewer_samples_than_dimensions():
    generator = torch.Generator().manual_seed(1)
    few = torch.randn(6, D_MODEL, generator=generator)
    direction = Direction(torch.nn.functional.normalize(few[0] - few[1], dim=0), 2.0)
    units = torch.stack([d.unit for d in nulls.covariance_matched(direction, few, 30, 0)]).double()
    assert torch.linalg.matrix_rank(units, atol=1e-5) == 4  # 5 centred, less the direction


@pytest.fixture
def far_apart():
    """Two Gaussian classes of one shape, 20 apart in 64 dimensions; 40 samples each."""
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(2, 40, 64, generator=generator) * torch.linspace(3.0, 0.2, 64)
    states[0, :, 30] += 20.0
    return states[0], states[1]


def test_permuting_the_labels_of_distant_classes_does_not_bring_the_direction_back(far_apart):
    direction = mean_difference(*far_apart)
    drawn = torch.stack([d.unit for d in draw("label_permuted", far_apart, direction, 200)])
    assert float((drawn @ direction.unit).abs().max()) < 1e-6
    # The states themselves, neither centred nor orthogonalised, do bring it back.
    order = torch.Generator().manual_seed(0)
    shuffled = (torch.cat(far_apart)[torch.randperm(80, generator=order)] for _ in range(200))
    naive = [mean_difference(pooled[:40], pooled[40:]).unit @ direction.unit for pooled in shuffled]
    assert float(torch.stack(naive).abs().mean()) > 0.3


def test_label_permuted_draws_vary_as_the_classes_do_within(far_apart, monkeypatch):
    direction = mean_difference(*far_apart)
    # Before normalising, so that the variances themselves can be compared.
    monkeypatch.setattr(nulls, "_as_directions", lambda draws, *_: draws)
    draws = np.asarray(nulls.label_permuted(*far_apart, direction, 20_000, 0))
    within = torch.cat([part.double() - part.double().mean(0) for part in far_apart]).numpy()
    _, lengths, axes = np.linalg.svd(within, full_matrices=False)
    # Of weights 1/40 and -1/40 in random order: covariance (2/40) / 79 away from their mean.
    expected = lengths**2 * (2 / 40) / 79
    found = ((draws @ axes.T) ** 2).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=0.06)


def test_label_permuted_is_one_mean_difference_of_centred_classes_at_every_layer():
    """Sample i lies on an axis of its own, another one in each layer, so its label can be read."""
    n_positive, n_negative = 9, 12
    n = n_positive + n_negative
    direction = Direction(torch.eye(n + 1)[n], 1.0)
    labels = []
    for layer in range(2):
        rng = np.random.default_rng(layer)
        axes, lengths = rng.permutation(n), rng.uniform(1, 5, n)
        states = torch.zeros(n, n + 1, dtype=torch.float64)
        states[range(n), axes] = torch.from_numpy(lengths)
        states[:n_positive, n] += 50.0
        classes = states[:n_positive], states[n_positive:]
        drawn = torch.stack([d.unit for d in draw("label_permuted", classes, direction)]).double()
        found = drawn[:, axes] > 0
        assert (found.sum(dim=1) == n_positive).all()
        centred = torch.cat([part - part.mean(0) for part in classes])
        for unit, positive in zip(drawn, found, strict=True):
            expected = mean_difference(centred[positive], centred[~positive]).unit.double()
            torch.testing.assert_close(unit, expected, atol=1e-6, rtol=0)
        labels.append(found)
    assert torch.equal(*labels)
    assert len(labels[0].unique(dim=0)) == 50


@pytest.mark.parametrize(
    "activations",
    [
        torch.ones(1, D_MODEL),
        torch.full((4, D_MODEL), float("nan")),
        torch.ones(4, D_MODEL + 1),
        torch.full((6, D_MODEL), 0.1, dtype=torch.float64),  # differs from its mean by rounding
        torch.outer(torch.arange(4.0), torch.eye(D_MODEL)[0]),
    ],
    ids=["one sample", "not finite", "other model", "constant", "varies along the direction only"],
)
def test_unusable_activations_are_named(activations):
    direction = Direction(torch.eye(D_MODEL)[0], 1.0)
    with pytest.raises(ActivationError):
        nulls.covariance_matched(direction, activations, 3, 0)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (torch.full((6, D_MODEL), 0.1, dtype=torch.float64), "do not vary within"),
        (torch.outer(torch.arange(7.0), torch.eye(D_MODEL)[0]), "only along the direction"),
    ],
    ids=["constant", "varies along the direction only"],
)
def test_classes_that_do_not_vary_have_no_permuted_direction(states, message):
    direction = Direction(torch.eye(D_MODEL)[0], 1.0)
    with pytest.raises(ActivationError, match=message):
        nulls.label_permuted(states + 3.1, states, direction, 3, 0)


def test_too_few_samples_to_permute_are_named():
    states = torch.randn(2, 2, D_MODEL, generator=torch.Generator().manual_seed(0))
    # Of six ways to label four samples two are the true ones.
    with pytest.raises(ActivationError, match="so few"):
        nulls.label_permuted(*states, mean_difference(*states), 40, 0)


def test_a_family_is_drawn_by_its_name(classes, direction):
    for family in nulls.FAMILIES:
        assert {d.method for d in draw(family, classes, direction, 3)} == {f"null.{family}"}
    with pytest.raises(ActivationError, match="isotropic, covariance_matched, label_permuted"):
        draw("permuted", classes, direction)
