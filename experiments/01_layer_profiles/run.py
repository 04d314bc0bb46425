"""The method of 01_layer_profiles; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import numpy as np
import torch

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp import geometry
from interp.sites import all_sites

from .estimates import estimates
from .measure import profiles
from .protocol import CLASSES, N_LARGEST, Config
from .tables import tables


def run(config: Config, lab: Lab) -> Result:
    """Capture both classes; resample at every site, with and without the largest dimensions."""
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    states = []
    for name, side in CLASSES.items():
        texts = getattr(lab.contrast, side)
        size = min(config.n_prompts or len(texts), len(texts))
        chosen = np.sort(lab.rng(f"prompts {name}").choice(len(texts), size, replace=False))
        states.append(lab.activations([texts[i] for i in chosen], sites)[:, :, 0])
    pooled = torch.cat(states)
    largest = geometry.largest_dimensions(pooled, N_LARGEST)
    kept = [geometry.without_dimensions(of_class, largest) for of_class in states]
    forms = {
        "all": profiles(config, lab, sites, *states),
        "without_largest": profiles(config, lab, sites, *kept),
    }
    found = tuple(estimates(forms, float(geometry.largest_share(pooled).max())))
    return Result(found, tables(forms), observation({one.name: one for one in found}))


def observation(estimates: Mapping[str, Estimate]) -> str:
    """What was found, in numbers."""
    excess = estimates["cosine.excess.maximum"]
    slopes = [f"{estimates[f'variance_slope.{name}']} ({name})" for name in CLASSES]
    return (
        f"The cosine of the class means falls to {estimates['cosine.minimum']}; without the "
        f"{N_LARGEST} largest dimensions, to {estimates['cosine.minimum.without_largest']}. The "
        f"largest excess of 1 - cosine over permuted labels is {excess} (p = {excess.p:.3g}, "
        "corrected over sites); it is larger in the deeper half of the sites by "
        f"{estimates['cosine.fall']}. The logarithm of the share of the squared norm that varies "
        f"over prompts changes by {' and '.join(slopes)}."
    )
