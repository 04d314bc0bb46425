"""How much a direction depends on the prompts that it happened to be extracted from."""

import numpy as np

from experiments.lab.selection import Source
from interp.directions import Direction, mean_difference


def reextracted(source: Source, n: int, rng: np.random.Generator) -> list[Direction]:
    """The direction from `n` resamples of its train prompts, with replacement in each class."""
    where = source.direction.site, source.direction.position
    classes = source.positive, source.negative
    resampled = ([p[rng.integers(len(p), size=len(p))] for p in classes] for _ in range(n))
    return [mean_difference(*parts, *where) for parts in resampled]
