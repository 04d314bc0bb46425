"""Directions at other sites and of other behaviours than the selected one, and planes of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.selection import Selection, Source, class_activations, directions_of
from experiments.lab.steps import at
from interp.directions import Direction, mean_difference
from interp.interventions import Intervention, Placement, ablate
from interp.planes import Plane, steering_plane
from interp.sites import Site, all_sites
from interp.turns import Sparing

N_TEXTS = 12  # per side that another behaviour's direction is from


def site_of(source: Source) -> Site:
    """Where the direction is from."""
    site = source.direction.site
    assert site is not None  # it was taken somewhere
    return site


def source_at(lab: Lab, site: Site, selection: Selection) -> Source:
    """The train states of the classes at another site, and their mean difference."""
    position = selection.direction.position or -1
    states = [p[:, 0, 0] for p in class_activations(lab, [site], [position], selection.prompts)]
    return Source(mean_difference(*states, site, position), *states)


def no_deeper(lab: Lab, selection: Selection, share: float) -> Source:
    """The selection; where it is from deeper than a share of the depth, the one there."""
    deepest = Site(int(share * lab.model.n_layers), "pre")
    late = site_of(selection).depth > deepest.depth
    return source_at(lab, deepest, selection) if late else selection


def sparing(source: Source, edit: Intervention, sink: float) -> tuple[Placement]:
    """An edit at the source's site, of all states but those of more than `sink` median lengths."""
    return at(site_of(source), Sparing(edit, sink * median_norm(source)))


def states_of(source: Source) -> Float[Tensor, "sample d_model"]:
    """The train states of both classes."""
    return torch.cat([source.positive, source.negative])


def median_norm(source: Source) -> float:
    """Median length of the train states."""
    return float(states_of(source).double().norm(dim=-1).median())


def steering_planes(
    lab: Lab, selection: Selection, source: Source, directions: Sequence[Direction]
) -> list[Plane]:
    """The plane of each direction with the first component of the directions of all sites.

    The source's states have a positive mean along the second axis.
    """
    positions = (selection.direction.position or -1,)
    found = directions_of(lab, stream_sites(lab), positions, selection.prompts).values()
    units, mean = torch.stack([one.unit for one in found]), states_of(source).mean(0)
    return [steering_plane(one.unit, units, mean[None]) for one in directions]


def stream_sites(lab: Lab) -> list[Site]:
    """All sites before a layer's attention, and before its MLP where the model has such a site."""
    return all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))


def other_vector(lab: Lab, name: str, refusal: Source) -> Float[Tensor, " d_model"]:
    """Unit difference of a registered set's means, orthogonal to the refusal direction."""
    found, site = lab.data(name), site_of(refusal)
    sides = [list(side)[:N_TEXTS] for side in (found.positive, found.negative)]
    states = [lab.activations(side, [site])[:, 0, 0] for side in sides]
    rest = ablate(refusal.direction.unit)(mean_difference(*states, site, -1).unit)
    return rest / rest.norm()
