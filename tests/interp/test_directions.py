"""Directions on planted data, and their file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from interp.directions import (
    direction_from,
    load_directions,
    mean_difference,
    save_directions,
)
from interp.errors import ActivationError
from interp.sites import Site


def planted(n: int = 400, width: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Two Gaussian classes whose means differ by 6 along a unit vector."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0)
    noise = torch.randn(2, n, width, generator=generator)
    return noise[0] + 4 * axis, noise[1] - 2 * axis, axis


def test_the_planted_axis_is_found_with_its_sign() -> None:
    positive, negative, axis = planted()
    direction = mean_difference(positive, negative, Site(3, "mid"), -1)
    assert float(direction.unit @ axis) > 0.97
    assert direction.norm == pytest.approx(6, rel=0.1)
    assert float(direction.unit.norm()) == pytest.approx(1, abs=1e-6)
    assert torch.allclose(direction.vector, direction.unit * direction.norm)
    flipped = mean_difference(negative, positive)
    assert float(flipped.unit @ axis) < -0.97


def test_mean_difference_is_the_difference_of_means() -> None:
    positive, negative, _ = planted()
    found = mean_difference(positive, negative).vector
    assert torch.allclose(found, positive.mean(0) - negative.mean(0), atol=1e-5)


def test_identical_classes_have_no_direction() -> None:
    same = torch.ones(4, 3)
    with pytest.raises(ActivationError, match="is zero"):
        mean_difference(same, same)


def test_activations_that_are_not_finite_have_no_direction() -> None:
    with pytest.raises(ActivationError, match="not finite"):
        mean_difference(torch.full((2, 3), float("nan")), torch.ones(2, 3))


def test_a_file_of_directions_reads_back(tmp_path: Path) -> None:
    positive, negative, _ = planted()
    saved = [
        mean_difference(positive, negative, Site(3, "mid"), -2),
        mean_difference(positive, negative),
    ]
    save_directions(tmp_path / "d.safetensors", saved)
    for before, after in zip(saved, load_directions(tmp_path / "d.safetensors"), strict=True):
        assert torch.equal(before.unit, after.unit)
        fields = ("norm", "site", "position", "method", "provenance")
        assert [getattr(before, f) for f in fields] == [getattr(after, f) for f in fields]
    assert [path.name for path in tmp_path.iterdir()] == ["d.safetensors"]


def test_an_edit_takes_a_single_site_or_position() -> None:
    direction = direction_from(torch.ones(4), "made_up", Site(1, "pre"))
    for sites in ("2.mid", Site(2, "mid"), ["2.mid"]):
        assert (
            direction.ablate(sites).sites == direction.add(sites=sites).sites == (Site(2, "mid"),)
        )
    for positions in (-1, [-1], (-1,)):
        assert direction.ablate(positions=positions).positions == (-1,)
    with pytest.raises(ActivationError, match="also all, prompt, generated; got 'last'"):
        direction.ablate(positions="last")  # type: ignore[arg-type]


def test_a_rotation_may_go_towards_a_vector_of_any_dtype() -> None:
    direction, towards = direction_from(torch.arange(4.0), "made_up"), torch.ones(4)
    wanted = direction.rotate(30, towards).intervention(torch.eye(4))
    found = direction.rotate(30, towards.double()).intervention(torch.eye(4))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("described", ['[{"norm": 1.0}]', "[1]", "3"])
def test_a_file_that_tells_too_little_is_refused(tmp_path: Path, described: str) -> None:
    path = tmp_path / "d.safetensors"
    save_file({"direction.0": torch.ones(3)}, path, metadata={"directions": described})
    with pytest.raises(ActivationError, match="does not hold directions"):
        load_directions(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ActivationError, match="does not hold directions"):
        load_directions(tmp_path / "d.safetensors")
