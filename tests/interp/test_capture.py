"""Captured activations equal a forward pass by hand; streaming statistics equal stacked ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.activations import capture, capture_moments, check_finite
from interp.assets.tiny import tiny_huggingface
from interp.engine.batching import TOKENS_ON_CPU, batches
from interp.errors import ActivationError
from interp.interventions import Add, Placement, ablate
from interp.models import LoadedModel, tiny_random_model
from interp.prompts import tokenise
from interp.sites import Site, all_sites
from tests.conftest import FAMILIES
from tests.reference import plain_forward

PROMPTS = ("Why is the sky blue?", "Tea", "Name three large rivers and where they end.", "Sing.")


@pytest.mark.parametrize("family", FAMILIES)
def test_left_padded_batches_equal_single_prompts(family: str) -> None:
    model = tiny_random_model(family, n_layers=3)
    hf_model, _ = tiny_huggingface(family, n_layers=3)
    tokens = tokenise(model, PROMPTS)
    sites, positions = all_sites(3, ("pre", "mid", "post")), (-1, -4)
    found = capture(model, tokens, sites=sites, positions=positions)
    for row, ids in enumerate(tokens.sequences()):
        states = plain_forward(hf_model, ids)[1]
        wanted = torch.stack([states[site][list(positions)] for site in sites])
        assert torch.allclose(found[row], wanted, atol=1e-4)


def test_capture_sees_the_stream_after_a_write(tiny_model: LoadedModel) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    vector = torch.arange(32.0)
    push = Placement(Add(vector), (Site(1, "mid"),))
    before = capture(tiny_model, tokens, sites=[Site(1, "pre"), Site(1, "mid")])
    after = capture(tiny_model, tokens, [push], sites=[Site(1, "pre"), Site(1, "mid")])
    assert torch.allclose(after[:, 0], before[:, 0], atol=1e-5)
    assert torch.allclose(after[:, 1], before[:, 1] + vector, atol=1e-4)


@given(st.lists(st.text("abcdef ?", min_size=1, max_size=30), min_size=2, max_size=12))
def test_streaming_statistics_equal_stacked_ones(
    tiny_model: LoadedModel, prompts: list[str]
) -> None:
    tokens = tokenise(tiny_model, prompts)
    sites = all_sites(4)
    stacked = capture(tiny_model, tokens, sites=sites, positions=(-1, -2)).double()
    moments = capture_moments(tiny_model, tokens, sites=sites, positions=(-1, -2))
    assert moments.n == len(prompts)
    assert torch.allclose(moments.mean, stacked.mean(0), atol=1e-5)
    assert torch.allclose(moments.variance, stacked.var(0), atol=1e-5)
    assert torch.allclose(moments.maximum_variance, stacked.var(0).amax(-1), atol=1e-5)
    squares = stacked.square().sum(-1).mean(0)
    assert torch.allclose(moments.squared_norm, squares, rtol=1e-5)


def test_streaming_over_many_batches(tiny_model: LoadedModel) -> None:
    prompts = [f"Number {n} in words" + "!" * (n % 7) for n in range(300)]
    tokens = tokenise(tiny_model, prompts)
    assert len(list(batches(tokens, TOKENS_ON_CPU))) > 3
    stacked = capture(tiny_model, tokens, sites=[Site(3, "post")]).double()
    moments = capture_moments(tiny_model, tokens, sites=[Site(3, "post")])
    assert torch.allclose(moments.variance, stacked.var(0), atol=1e-6)


def test_ablated_directions_are_gone_from_the_capture(tiny_model: LoadedModel) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    unit = torch.nn.functional.normalize(torch.ones(32), dim=0)
    sites = (Site(2, "pre"), Site(2, "mid"))
    states = capture(tiny_model, tokens, [Placement(ablate(unit), sites)], sites=sites)
    assert (states @ unit).abs().max() < 1e-5


def test_nan_is_an_error_that_names_the_site(tiny_model: LoadedModel) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    spoil = Placement(Add(torch.full((32,), float("nan"))), (Site(2, "mid"),))
    with pytest.raises(ActivationError, match=r"tiny-random at 2\.mid"):
        capture(tiny_model, tokens, [spoil], sites=all_sites(4))
    check_finite(torch.zeros(2, 1, 1, 3), [Site(0, "pre")], "x")


def test_a_single_site_or_position_is_a_list_of_one(tiny_model: LoadedModel) -> None:
    wanted = capture(tiny_model, PROMPTS, sites=[Site(2, "pre")], positions=[-1])
    for sites in ("2.pre", Site(2, "pre"), ["2.pre"]):
        assert torch.equal(capture(tiny_model, PROMPTS, sites=sites, positions=-1), wanted)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"sites": []}, "at no site or position"),
        ({"sites": "2.pre", "positions": ()}, "at no site or position"),
        ({"sites": "2.pre", "positions": "all"}, "Positions are whole numbers.*got 'all'"),
        ({"sites": "2.pre", "positions": 1.5}, r"Positions are whole numbers.*got 1\.5"),
        ({"sites": [(2, "pre")]}, "is not a site"),
        ({"sites": 2}, "'2' is not a site"),
    ],
)
def test_what_is_no_site_or_position_is_named(tiny_model: LoadedModel, asked, reason) -> None:
    for read in (capture, capture_moments):
        with pytest.raises(ActivationError, match=reason):
            read(tiny_model, PROMPTS, **asked)


def test_positions_outside_the_shortest_prompt_are_refused(tiny_model: LoadedModel) -> None:
    with pytest.raises(ActivationError, match="shortest prompt"):
        capture(tiny_model, tokenise(tiny_model, PROMPTS), sites=[Site(0, "pre")], positions=(-99,))
