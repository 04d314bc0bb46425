"""States of both classes and of the controls, and their profiles over layers."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from interp import geometry
from interp.class_profiles import ClassProfiles, class_profiles
from interp.sites import Site, all_sites

from .protocol import N_LARGEST, POSITIONS, Config

FORMS = ("without_largest", "all")  # choices of dimensions; the first decides
N_SPLITS = 4  # random halvings over which the cosine without the common mean is averaged
ENOUGH = 2 / 3  # of both classes must end alike for the others to be left out

Texts = tuple[Sequence[str], Sequence[str]]  # positive, negative
States = tuple[
    Float[Tensor, "positive site pos d_model"], Float[Tensor, "negative site pos d_model"]
]
Source = tuple[str, str, str]
"""What the states are of ("harmful", "topics 0", ..., "untrained"), position, form."""


def measure(config: Config, lab: Lab) -> dict[Source, ClassProfiles]:
    """Profiles of every source, at both positions, with and without the largest dimensions."""
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    own = drawn(config, lab, ending_alike((lab.contrast.positive, lab.contrast.negative)))
    states = {"harmful": states_of(lab, own, sites)}
    for i, topics in enumerate(topic_pairs(lab)):
        states[f"topics {i}"] = states_of(lab, topics, sites)
    states["untrained"] = states_of(lab.untrained(), own, sites)
    given = {
        (name, position, form): of_form([part[:, :, i] for part in both], form)
        for name, both in states.items()
        for i, position in enumerate(POSITIONS)
        for form in FORMS
    }
    counts = config.n_permutations, config.n_resamples
    return {
        source: class_profiles(
            sites, *both, *counts, lab.rng("profiles"), N_SPLITS if source[0] == "harmful" else 0
        )
        for source, both in lab.progress(given.items(), "resampling", len(given))
    }


def strongest(
    found: Mapping[Source, ClassProfiles], control: str, position: str, form: str
) -> ClassProfiles:
    """The source of a control whose cosine falls most."""
    those = [
        own
        for (name, *where), own in found.items()
        if name.split()[0] == control and where == [position, form]
    ]
    return max(those, key=lambda own: float(own.fall(own.true["excess"])))


def ending_alike(texts: Texts) -> Texts:
    """Those that end in the commonest character, where enough of both classes do."""
    (commonest, _), *_ = Counter(text.strip()[-1:] for half in texts for text in half).most_common()
    alike = [[text for text in half if text.strip().endswith(commonest)] for half in texts]
    if min(len(a) / len(t) for a, t in zip(alike, texts, strict=True)) < ENOUGH:
        return texts
    return alike[0], alike[1]


def drawn(config: Config, lab: Lab, texts: Texts) -> Texts:
    """As many prompts of each class as the settings say, or all; in order."""
    found = []
    for i, half in enumerate(texts):
        size = min(config.n_prompts or len(half), len(half))
        chosen = np.sort(lab.rng(f"prompts {i}").choice(len(half), size, replace=False))
        found.append([half[row] for row in chosen])
    return found[0], found[1]


def topic_pairs(lab: Lab) -> list[Texts]:
    """Two harmless topics each, neighbours in the set `topics`."""
    by_topic: dict[str, list[str]] = {}
    for topic, sentence in lab.data("topics").examples:
        by_topic.setdefault(topic, []).append(sentence)
    each = list(by_topic.values())
    return list(zip(each[::2], each[1::2], strict=True))


def states_of(lab: Lab, texts: Texts, sites: Sequence[Site]) -> States:
    """States of both classes at both positions."""
    positions = [lab.position(name) for name in POSITIONS]
    first, second = (lab.activations(half, sites, positions) for half in texts)
    return first, second


def of_form(
    both: Sequence[Float[Tensor, "sample site d_model"]], form: str
) -> Sequence[Float[Tensor, "sample site kept"]]:
    """Both classes, without the dimensions that hold most of the norm of their pooled mean."""
    if form == "all":
        return both
    largest = geometry.largest_dimensions(torch.cat(list(both)), N_LARGEST)
    return [geometry.without_dimensions(part, largest) for part in both]
