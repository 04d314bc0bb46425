"""Turns in a state's own plane, against algebra."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.interventions import Add, RotateTo, Scale
from interp.planes import isotropic_planes, plane_from
from interp.turns import KeepNorm, RotateAsLong, TurnBy, TurnTo, chord_degrees

D_MODEL = 48


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


UNIT = torch.nn.functional.normalize(normal(D_MODEL, seed=3), dim=0)
STATES = normal(5, D_MODEL)


def angles(h: torch.Tensor) -> torch.Tensor:
    """Degrees from the direction, in each state's own plane: 0 to 180."""
    return torch.rad2deg(torch.arccos((h @ UNIT) / h.norm(dim=-1)))


@given(degrees=st.floats(-720, 720))
def test_every_state_gets_to_the_angle_at_its_own_length(degrees: float) -> None:
    turned = TurnTo(UNIT, degrees)(STATES)
    wanted = STATES.norm(dim=-1) * float(np.cos(np.radians(degrees)))
    torch.testing.assert_close(turned.norm(dim=-1), STATES.norm(dim=-1))
    torch.testing.assert_close(turned @ UNIT, wanted, atol=1e-4, rtol=1e-4)


def test_the_own_plane_is_that_of_the_state_and_the_direction() -> None:
    for i, own in enumerate(angles(STATES)):
        torch.testing.assert_close(TurnTo(UNIT, float(own))(STATES[i]), STATES[i])
        plane = plane_from(UNIT, STATES[i], "own")
        rotated = RotateTo(plane.b1, plane.b2, 200.0)(STATES[i])
        torch.testing.assert_close(TurnTo(UNIT, 200.0)(STATES[i]), rotated, atol=1e-4, rtol=1e-4)


@given(factor=st.floats(0, 100))
def test_scaling_stays_on_its_side_and_a_negative_scale_is_a_turn(factor: float) -> None:
    """What 08c calls algebra: half of the plane, and with s >= 0 one side of 90 degrees in it."""
    side = torch.sign(STATES @ UNIT)
    scaled = Scale(UNIT, factor)(STATES)
    assert ((scaled @ UNIT) * side > -1e-4).all()
    rest = STATES - (STATES @ UNIT)[:, None] * UNIT
    assert ((scaled * rest).sum(-1) > 0).all()  # never in the half where the rest is reversed
    reflected = Scale(UNIT, -1.0)(STATES)
    torch.testing.assert_close(reflected.norm(dim=-1), STATES.norm(dim=-1))
    torch.testing.assert_close(angles(reflected), 180 - angles(STATES))


@given(dose=st.floats(-20, 20))
def test_adding_at_the_old_length_is_a_turn_within_the_half(dose: float) -> None:
    added, kept = (edit(STATES) for edit in (Add(dose * UNIT), KeepNorm(Add(dose * UNIT))))
    torch.testing.assert_close(kept.norm(dim=-1), STATES.norm(dim=-1))
    for before, after in zip(added, kept, strict=True):
        turned = TurnTo(UNIT, float(angles(before)))(before / before.norm() * after.norm())
        torch.testing.assert_close(after, turned, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 2.0, 1.3])
def test_a_turn_of_the_same_chord_moves_as_far_as_rescaling(factor: float) -> None:
    towards = torch.nn.functional.normalize(normal(D_MODEL, seed=9), dim=0)
    for sign in (1, -1):
        turned = TurnBy(sign * towards, chord_degrees(abs(factor - 1)))(STATES)
        moved = (turned - STATES).norm(dim=-1)
        torch.testing.assert_close(moved, abs(factor - 1) * STATES.norm(dim=-1))
        torch.testing.assert_close(turned.norm(dim=-1), STATES.norm(dim=-1))
        assert (sign * ((turned - STATES) @ towards) > 0).all()


def test_a_random_plane_is_turned_with_the_length_of_the_true_one() -> None:
    plane = plane_from(UNIT, normal(D_MODEL, seed=5), "true")
    rotate = RotateTo(plane.b1, plane.b2, 70.0)
    torch.testing.assert_close(RotateAsLong(plane, 70.0, plane)(STATES), rotate(STATES))
    other = isotropic_planes(plane, 1, seed=0)[0]
    turned = RotateAsLong(other, 90.0, plane)(STATES)
    length = (STATES @ torch.stack([plane.b1, plane.b2]).T).norm(dim=-1)
    torch.testing.assert_close(turned @ other.b2, length, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned @ plane.b1, STATES @ plane.b1, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("edit", [TurnTo(UNIT, 30.0), TurnBy(UNIT, 30.0), KeepNorm(Add(UNIT))])
def test_number_types_are_kept_and_zero_states_stay_finite(edit) -> None:
    assert edit(STATES.bfloat16()).dtype == torch.bfloat16
    assert torch.isfinite(edit(torch.zeros(2, D_MODEL))).all()
