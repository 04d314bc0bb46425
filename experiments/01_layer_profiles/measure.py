"""States of both classes and of the controls, and their profiles over layers."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from interp import geometry
from interp.class_profiles import ClassProfiles, class_profiles
from interp.sites import Site, all_sites

from .protocol import CLASSES, N_LARGEST, POSITIONS, Config

FORMS = ("all", "without_largest")  # choices of dimensions

States = Float[Tensor, "sample site pos d_model"]
Source = tuple[str, str, str]
"""What the states are of ("harmful", "topics", "untrained"), position, form."""


def measure(config: Config, lab: Lab) -> dict[Source, ClassProfiles]:
    """Profiles of every source at both positions; the form without the largest of the first."""
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    topics = lab.data("topics")
    states = {
        "harmful": classes(config, lab, sites),
        "topics": classes(config, lab, sites, topics.positive, topics.negative),
        "untrained": classes(config, lab.untrained(), sites),
    }
    given = {}
    for i, position in enumerate(POSITIONS):
        here = {name: [part[:, :, i] for part in both] for name, both in states.items()}
        given |= {(name, position, "all"): both for name, both in here.items()}
        largest = geometry.largest_dimensions(torch.cat(here["harmful"]), N_LARGEST)
        kept = [geometry.without_dimensions(part, largest) for part in here["harmful"]]
        given["harmful", position, "without_largest"] = kept
    counts = config.n_permutations, config.n_resamples
    return {
        source: class_profiles(sites, *both, *counts, lab.rng("profiles"))
        for source, both in lab.progress(given.items(), "resampling", len(given))
    }


def classes(
    config: Config, lab: Lab, sites: Sequence[Site], *given: Sequence[str]
) -> tuple[States, States]:
    """States of both classes at both positions: of the contrast set, or of the given prompts."""
    positions = [lab.position(name) for name in POSITIONS]
    found = []
    sides = given or (lab.contrast.positive, lab.contrast.negative)
    for name, texts in zip(CLASSES, sides, strict=True):
        size = min(config.n_prompts or len(texts), len(texts))
        chosen = np.sort(lab.rng(f"prompts {name}").choice(len(texts), size, replace=False))
        found.append(lab.activations([texts[i] for i in chosen], sites, positions))
    return found[0], found[1]
