"""Directions at other sites and of other behaviours than the selected one, and planes of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.selection import Selection, Source, class_activations, directions_of
from interp.directions import Direction, mean_difference
from interp.interventions import ablate
from interp.planes import Plane, steering_plane
from interp.sites import Site, all_sites

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


def mean_norm(source: Source) -> float:
    """Mean length of the train states."""
    return float(torch.cat([source.positive, source.negative]).double().norm(dim=-1).mean())


def steering_planes(lab: Lab, selection: Selection, directions: Sequence[Direction]) -> list[Plane]:
    """The plane of each direction with the first component of the directions of all sites."""
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    positions = (selection.direction.position or -1,)
    found = directions_of(lab, sites, positions, selection.prompts).values()
    units, means = torch.stack([one.unit for one in found]), selection.negative.mean(0)[None]
    return [steering_plane(one.unit, units, means) for one in directions]


def other_vector(lab: Lab, name: str, refusal: Source) -> Float[Tensor, " d_model"]:
    """Difference of a registered set's means, orthogonal to the refusal direction at its site.

    As long as the mean state there.
    """
    found, site = lab.data(name), site_of(refusal)
    sides = [list(side)[:N_TEXTS] for side in (found.positive, found.negative)]
    states = [lab.activations(side, [site])[:, 0, 0] for side in sides]
    rest = ablate(refusal.direction.unit)(mean_difference(*states, site, -1).unit)
    return mean_norm(refusal) * rest / rest.norm()
