"""Sites: order, names, and the list of every state of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import ActivationError
from interp.models import LoadedModel
from interp.sites import Site, all_sites, everywhere

sites = st.builds(Site, st.integers(0, 200), st.sampled_from(["pre", "mid", "post"]))


@given(sites)
def test_a_site_reads_back_from_its_text(site: Site) -> None:
    assert Site.parse(str(site)) == site


@pytest.mark.parametrize("text", ["12", "12.", "mid.12", "-1.pre", "3.resid", ""])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ActivationError, match="is not a site"):
        Site.parse(text)


def test_sites_are_ordered_by_depth() -> None:
    assert [str(site) for site in all_sites(2)] == ["0.pre", "0.mid", "1.pre", "1.mid"]
    assert max(Site(3, "pre"), Site(2, "mid"), Site(2, "post")).layer == 3


def test_everywhere_names_each_state_once() -> None:
    assert [site.depth for site in everywhere(3)] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert [site.depth for site in everywhere(3, has_mid=False)] == [0, 1, 2, 3]


def test_hook_names_exist_in_every_family(tiny_models: dict[str, LoadedModel]) -> None:
    for model in tiny_models.values():
        for site in all_sites(model.n_layers, ("pre", "mid", "post")):
            assert site.hook_name in model.bridge.hook_dict
