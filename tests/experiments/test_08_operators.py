"""Steering operators: doses, places, and what each edit does to a state."""

import pytest
import torch

from experiments.harness.registry import find_experiment
from interp.errors import ExperimentError
from interp.interventions import Placement
from interp.planes import plane_from
from interp.sites import Site

operators = find_experiment("08").part("operators")
Frame = operators.Frame
Variant = operators.Variant
doses = operators.doses
opposite_sites = operators.opposite_sites
parse_all = operators.parse_all
placements = operators.placements

D_MODEL = 16
SITES = (Site(0, "pre"), Site(0, "mid"), Site(1, "pre"))
ALL = [
    "add@norms", "scale@norms", "rotate_to@norms", "rotate_by@norms", "interpolate@opposite",
    "adaptive_scale@norms", "adaptive_rotate_to@norms", "adaptive_rotate_by@norms",
    "add@source", "scale@source", "rotate_to@source", "interpolate@source",
]  # fmt: skip


@pytest.fixture
def frame() -> Frame:
    generator = torch.Generator().manual_seed(0)
    first, second, noise = torch.randn(3, D_MODEL, generator=generator)
    plane = plane_from(first, second, "steering")
    positive = {SITES[0]: noise + plane.b1, SITES[1]: 3 * plane.b1, SITES[2]: 2 * plane.b1}
    negative = {SITES[0]: noise, SITES[1]: -1 * plane.b1, SITES[2]: plane.b1}
    places = {
        "norms": SITES,
        "opposite": opposite_sites(plane, positive, negative),
        "source": SITES[2:],
    }
    return Frame(plane, places, positive, negative)


def states(seed: int = 1) -> torch.Tensor:
    return torch.randn(6, D_MODEL, generator=torch.Generator().manual_seed(seed))


def only(variant: str, dose: float, frame: Frame) -> Placement:
    (placement,) = placements(Variant.parse(variant), dose, frame)
    return placement


def test_opposite_sites_are_where_the_projections_change_sign(frame: Frame):
    assert frame.places["opposite"] == (SITES[1],)


def test_every_variant_writes_at_its_place_and_keeps_the_shape(frame: Frame):
    for variant in parse_all(ALL):
        for dose in doses(variant, 8):
            edits = placements(variant, dose, frame)
            written = [site for edit in edits for site in edit.sites]
            assert tuple(written) == frame.places[variant.place]
            for edit in edits:
                edited = edit.intervention(states())
                assert edited.shape == states().shape
                assert torch.isfinite(edited).all()


def test_added_vectors_have_the_sites_own_class_distance(frame: Frame):
    edits = placements(Variant.parse("add@norms"), 0.5, frame)
    added = [edit.intervention(states()) - states() for edit in edits]
    expected = [0.5 * g * frame.plane.b1.expand(6, -1) for g in (1.0, 4.0, 1.0)]
    assert all(torch.allclose(a, e, atol=1e-5) for a, e in zip(added, expected, strict=True))


def test_scale_zero_ablates_and_minus_one_reflects(frame: Frame):
    along = states() @ frame.plane.b1
    for dose in (0.0, -1.0, 2.0):
        edited = only("scale@norms", dose, frame).intervention(states())
        assert torch.allclose(edited @ frame.plane.b1, dose * along, atol=1e-5)


def test_adaptive_edits_leave_states_without_the_feature_alone(frame: Frame):
    edited = only("adaptive_rotate_to@norms", 180.0, frame).intervention(states())
    carries = states() @ frame.plane.b1 > 0
    assert carries.any()
    assert not carries.all()
    assert torch.equal(edited[~carries], states()[~carries])
    assert (edited[carries] @ frame.plane.b1 < 0).all()


def test_interpolation_goes_to_the_mean_of_the_sign(frame: Frame):
    (site,) = frame.places["opposite"]
    for dose, mean in ((1.0, frame.positive[site]), (-1.0, frame.negative[site])):
        edited = only("interpolate@opposite", dose, frame).intervention(states())
        cosine = torch.nn.functional.cosine_similarity(edited, mean[None], dim=-1)
        assert torch.allclose(cosine, torch.ones(6), atol=1e-4)
        assert torch.allclose(edited.norm(dim=-1), states().norm(dim=-1), rtol=1e-4)


@pytest.mark.parametrize("n", [4, 8, 36])
def test_doses_are_as_many_and_as_different_as_asked(n: int):
    for variant in parse_all(ALL):
        assert len(set(doses(variant, n))) == n


@pytest.mark.parametrize("place", ["norms", "source"])
def test_scales_hold_ablation_and_both_signs_but_never_the_identity(place: str):
    found = doses(Variant.parse(f"scale@{place}"), 36)
    assert 0.0 in found
    assert min(found) < 0 < 1 < max(found)
    assert 1.0 not in found


def test_angles_go_once_around():
    assert doses(Variant.parse("rotate_to@norms"), 8) == [45.0 * i for i in range(8)]


def test_bad_variants_and_empty_places_are_named(frame: Frame):
    with pytest.raises(ExperimentError, match="'spin@norms' is not a steering variant"):
        Variant.parse("spin@norms")
    with pytest.raises(ExperimentError, match="once"):
        parse_all(["add@norms", "add@norms"])
    with pytest.raises(ExperimentError, match="even number"):
        doses(Variant.parse("add@norms"), 7)
    nowhere = Frame(frame.plane, {"opposite": ()}, frame.positive, frame.negative)
    with pytest.raises(ExperimentError, match="nowhere to be written"):
        placements(Variant.parse("scale@opposite"), 0.0, nowhere)


def test_families():
    families = {v: Variant.parse(v).family for v in ALL}
    assert families["add@norms"] == "adding"
    assert families["adaptive_scale@norms"] == "scaling"
    assert families["adaptive_rotate_by@norms"] == "rotation"
    assert families["interpolate@source"] == "interpolation"
