"""The algebra of the interventions, on random tensors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from interp.errors import ActivationError
from interp.interventions import (
    Add,
    RotateTo,
    Scale,
    ablate,
    compose,
)

WIDTH = 12
seeds = st.integers(0, 10_000)
angles = st.floats(-720, 720)


def states(seed: int) -> Tensor:
    return torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(seed)) * 10


def plane(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.linalg.qr(torch.randn(WIDTH, 2, generator=generator)).Q.T


def close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, atol=2e-4, rtol=1e-4)


@given(seeds)
def test_ablation_is_idempotent_and_leaves_nothing_of_the_span(seed: int) -> None:
    h, (first, second) = states(seed), plane(seed)
    remove = ablate(first, first + 0.3 * second)
    once = remove(h)
    assert close(remove(once), once)
    assert close(once @ first, torch.zeros(3, 5))
    assert close(once @ second, torch.zeros(3, 5))


@given(seeds)
def test_ablation_does_not_depend_on_length_or_sign(seed: int) -> None:
    h, (unit, _) = states(seed), plane(seed)
    assert close(ablate(unit)(h), ablate(-7 * unit)(h))


@given(seeds, st.floats(-5, 5))
def test_scaling_changes_one_component_only(seed: int, factor: float) -> None:
    h, (unit, other) = states(seed), plane(seed)
    scaled = Scale(unit, factor)(h)
    assert close(scaled @ unit, factor * (h @ unit))
    assert close(scaled @ other, h @ other)


@given(seeds)
def test_scaling_by_zero_ablates_and_by_minus_one_reflects(seed: int) -> None:
    h, (unit, _) = states(seed), plane(seed)
    assert close(Scale(unit, 0)(h), ablate(unit)(h))
    assert close(Scale(unit, -1)(Scale(unit, -1)(h)), h)


@given(seeds, angles)
def test_rotations_keep_the_norm_and_the_complement(seed: int, degrees: float) -> None:
    h, (b1, b2) = states(seed), plane(seed)
    turned = RotateTo(b1, b2, degrees)(h)
    assert close(turned.norm(dim=-1), h.norm(dim=-1))
    assert close(ablate(b1, b2)(turned), ablate(b1, b2)(h))


@given(seeds, angles)
def test_absolute_rotation_arrives_at_its_angle(seed: int, degrees: float) -> None:
    h, (b1, b2) = states(seed), plane(seed)
    turned = RotateTo(b1, b2, degrees)(h)
    radius = (h @ b1).hypot(h @ b2)
    assert close(turned @ b1, radius * math.cos(math.radians(degrees)))
    assert close(turned @ b2, radius * math.sin(math.radians(degrees)))


@given(seeds)
def test_composition_applies_the_first_part_first(seed: int) -> None:
    h, (unit, _) = states(seed), plane(seed)
    assert close(compose(Add(5 * unit), ablate(unit))(h) @ unit, torch.zeros(3, 5))
    assert close(compose(ablate(unit), Add(5 * unit))(h) @ unit, torch.full((3, 5), 5.0))


def test_interventions_do_not_change_their_input_and_keep_the_dtype() -> None:
    b1, b2 = plane(3)
    for dtype in (torch.float32, torch.bfloat16):
        h = states(3).to(dtype)
        before = h.clone()
        for act in (ablate(b1), Add(b1), Scale(b1, 2), RotateTo(b1, b2, 30)):
            assert act(h).dtype == dtype
            assert torch.equal(h, before)


@pytest.mark.parametrize("vectors", [[torch.zeros(4)], [torch.ones(4), 2 * torch.ones(4)],
                                     [torch.tensor([1.0, float("nan")])]])  # fmt: skip
def test_ablation_refuses_vectors_without_a_span(vectors: list[Tensor]) -> None:
    with pytest.raises(ActivationError):
        ablate(*vectors)
