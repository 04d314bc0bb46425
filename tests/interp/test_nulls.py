"""Null directions: same norm and place as the true one, orthogonal where they should be."""

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


@pytest.mark.parametrize("family", ["isotropic", "covariance_matched"])
def test_random_families_are_orthogonal_to_the_direction(family, classes, direction):
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


def test_label_permuted_is_a_mean_difference_of_shuffled_classes():
    pooled = torch.tensor([[1.0, 0, 0], [3.0, 1, 0], [0, 2.0, 1], [0, 0, 5.0]])
    direction = mean_difference(pooled[:2], pooled[2:])
    possible = []
    for first in ([0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]):
        rest = [i for i in range(4) if i not in first]
        possible.append(mean_difference(pooled[first], pooled[rest]).unit)
    found = torch.stack(
        [d.unit for d in nulls.label_permuted(pooled[:2], pooled[2:], direction, 60, 0)]
    )
    distances = torch.cdist(found.double(), torch.stack(possible).double())
    assert float(distances.min(dim=1).values.max()) < 1e-5
    assert set(distances.argmin(dim=1).tolist()) == set(range(6))


def test_permuted_labels_lose_the_direction(classes, direction):
    cosines = [
        float(null.unit @ direction.unit) for null in draw("label_permuted", classes, direction)
    ]
    assert np.abs(np.mean(cosines)) < 0.25
    assert max(np.abs(cosines)) < 0.99


@pytest.mark.parametrize(
    "activations",
    [
        torch.ones(1, D_MODEL),
        torch.full((4, D_MODEL), float("nan")),
        torch.ones(4, D_MODEL + 1),
        torch.outer(torch.arange(4.0), torch.eye(D_MODEL)[0]),
    ],
    ids=["one sample", "not finite", "other model", "varies along the direction only"],
)
def test_unusable_activations_are_named(activations):
    direction = Direction(torch.eye(D_MODEL)[0], 1.0)
    with pytest.raises(ActivationError):
        nulls.covariance_matched(direction, activations, 3, 0)


def test_constant_activations_have_no_permuted_direction():
    direction = Direction(torch.eye(D_MODEL)[0], 1.0)
    same = torch.ones(4, D_MODEL)
    with pytest.raises(ActivationError, match="do not vary"):
        nulls.label_permuted(same, same, direction, 3, 0)


def test_a_family_is_drawn_by_its_name(classes, direction):
    for family in nulls.FAMILIES:
        assert {d.method for d in draw(family, classes, direction, 3)} == {f"null.{family}"}
    with pytest.raises(ActivationError, match="isotropic, covariance_matched, label_permuted"):
        draw("permuted", classes, direction)
