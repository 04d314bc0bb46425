"""Steering planes, random planes and the first harmonic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import ActivationError
from interp.interventions import RotateTo, Scale
from interp.planes import (
    Plane,
    ScaleState,
    covariance_planes,
    isotropic_planes,
    plane_from,
    random_second_axis,
    steering_plane,
)

D_MODEL = 48


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted_plane(harmless_sign: float = 1.0) -> tuple[Plane, torch.Tensor, torch.Tensor]:
    """A direction that turns towards a known axis over 12 layers; the plane found, and both."""
    b1, axis = torch.linalg.qr(normal(D_MODEL, 2))[0].T
    turns = torch.linspace(-1, 1, 12)
    candidates = torch.stack([torch.cos(t) * b1 + torch.sin(t) * axis for t in turns])
    lengths = torch.linspace(0.1, 50, 12)[:, None]
    harmless = harmless_sign * axis + 0.1 * normal(12, D_MODEL, seed=1)
    return steering_plane(3 * b1, candidates * lengths, harmless), b1, axis


def coordinates(plane: Plane, h: torch.Tensor) -> torch.Tensor:
    """Projections on b1 and b2."""
    return h.double() @ torch.stack([plane.b1, plane.b2]).double().T


def random_planes(plane: Plane, n: int = 3, seed: int = 0) -> dict[str, list[Plane]]:
    return {
        "random_b2": random_second_axis(plane, n, seed),
        "isotropic": isotropic_planes(plane, n, seed),
        "covariance": covariance_planes(plane, normal(40, D_MODEL, seed=5), n, seed),
    }


def gram(plane: Plane) -> torch.Tensor:
    axes = torch.stack([plane.b1, plane.b2])
    return axes @ axes.T


def test_plane_finds_the_axis_along_which_the_direction_varies():
    plane, b1, axis = planted_plane()
    assert torch.allclose(plane.b1, b1, atol=1e-6)
    assert float(plane.b2 @ axis) > 0.999
    assert torch.allclose(gram(plane), torch.eye(2), atol=1e-6)


def test_harmless_means_project_positively_on_the_second_axis():
    plane, _, axis = planted_plane(harmless_sign=-1.0)
    assert float(plane.b2 @ axis) < -0.999


def test_plane_ignores_the_lengths_and_the_common_part_of_the_candidates():
    """Unit candidates are centred: a common component of any size is no axis of variation."""
    common, axis, other = torch.linalg.qr(normal(D_MODEL, 3))[0].T
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    candidates = 10 * common + signs * axis
    plane = steering_plane(other, candidates, axis.expand(4, -1))
    assert abs(float(plane.b2 @ axis)) > 0.999


def test_directions_that_do_not_turn_span_no_plane():
    b1 = normal(D_MODEL)
    with pytest.raises(ActivationError, match="parallel"):
        plane_from(b1, 2 * b1, "steering")
    with pytest.raises(ActivationError, match="two or more sites"):
        steering_plane(b1, b1[None], b1[None])


@pytest.mark.parametrize("family", ["random_b2", "isotropic", "covariance"])
def test_random_planes_are_orthonormal_and_outside_the_true_plane(family: str):
    true, _, _ = planted_plane()
    drawn = random_planes(true)[family]
    assert [plane.family for plane in drawn] == [family] * 3
    for plane in drawn:
        assert torch.allclose(gram(plane), torch.eye(2), atol=1e-6)
        assert torch.allclose(coordinates(true, plane.b2), torch.zeros(2).double(), atol=1e-6)
        expected = [1.0, 0.0] if family == "random_b2" else [0.0, 0.0]
        assert torch.allclose(
            coordinates(true, plane.b1), torch.tensor(expected).double(), atol=1e-6
        )


@pytest.mark.parametrize("family", ["random_b2", "isotropic", "covariance"])
def test_random_planes_depend_on_the_seed_alone(family: str):
    true, _, _ = planted_plane()
    first, again, other = (random_planes(true, seed=s)[family] for s in (1, 1, 2))
    assert all(torch.equal(a.b2, b.b2) for a, b in zip(first, again, strict=True))
    assert not torch.allclose(first[0].b2, other[0].b2, atol=0.1)
    assert not torch.allclose(first[0].b2, first[1].b2, atol=0.1)


def test_covariance_planes_follow_the_activations_and_isotropic_ones_do_not():
    true, _, _ = planted_plane()
    spread = torch.ones(D_MODEL)
    spread[:3] = 100.0
    activations = normal(200, D_MODEL) * spread
    matched = covariance_planes(true, activations, 10, seed=0)
    isotropic = isotropic_planes(true, 10, seed=0)
    inside = [float(p.b1[:3].norm()) for p in matched]
    outside = [float(p.b1[:3].norm()) for p in isotropic]
    assert min(inside) > 0.9 > 0.6 > max(outside)


def test_rotation_in_any_plane_keeps_the_norm_and_leaves_the_complement_alone():
    """Random planes go through the code of the true one."""
    true, _, _ = planted_plane()
    h = normal(5, D_MODEL, seed=9)
    for plane in [true, *(p for drawn in random_planes(true).values() for p in drawn)]:
        turned = RotateTo(plane.b1, plane.b2, 70.0)(h)
        assert torch.allclose(turned.norm(dim=-1), h.norm(dim=-1), rtol=1e-5)
        before, after = coordinates(plane, h), coordinates(plane, turned)
        assert torch.allclose(after.norm(dim=-1), before.norm(dim=-1), rtol=1e-5)
        angle = torch.atan2(after[:, 1], after[:, 0]).rad2deg()
        assert torch.allclose(angle, torch.full((5,), 70.0).double(), atol=1e-3)
        axes = torch.stack([plane.b1, plane.b2]).double()
        assert torch.allclose(turned - after @ axes, h - before @ axes, atol=1e-5)


@given(
    along=st.floats(0.1, 10).flatmap(lambda x: st.sampled_from([x, -x])),
    across=st.floats(0.1, 10).flatmap(lambda y: st.sampled_from([y, -y])),
    factor=st.floats(-1e3, 1e3),
)
def test_scaling_stays_in_its_half_of_the_plane(along: float, across: float, factor: float):
    """Scaling the b1 component leaves b2: within 90 degrees of the b2 side it is on."""
    plane, _, _ = planted_plane()
    h = along * plane.b1 + across * plane.b2
    x, y = coordinates(plane, Scale(plane.b1, factor)(h)).tolist()
    from_b2 = abs(np.degrees(np.arctan2(x, y * np.sign(across))))
    assert y * across > 0
    assert from_b2 < 90


@given(degrees=st.floats(-89, 89), across=st.floats(0.1, 10))
def test_scaling_reaches_every_angle_of_its_half(degrees: float, across: float):
    plane, _, _ = planted_plane()
    h = 2.0 * plane.b1 + across * plane.b2
    factor = across * np.tan(np.radians(degrees)) / 2.0
    x, y = coordinates(plane, Scale(plane.b1, float(factor))(h)).tolist()
    assert np.degrees(np.arctan2(x, y)) == pytest.approx(degrees, abs=0.1)


@given(factor=st.floats(0.05, 20))
def test_an_rms_norm_does_not_see_the_scale_of_the_state(factor: float):
    h = normal(4, D_MODEL)
    scaled = ScaleState(factor)(h)
    assert torch.allclose(scaled.norm(dim=-1), factor * h.norm(dim=-1), rtol=1e-5)
    norm = torch.nn.RMSNorm(D_MODEL, eps=0.0)
    assert torch.allclose(norm(scaled), norm(h), atol=1e-5)


def test_scale_state_keeps_the_number_type_and_the_input():
    h = normal(4, D_MODEL).bfloat16()
    before = h.clone()
    assert ScaleState(2.0)(h).dtype == torch.bfloat16
    assert torch.equal(h, before)
