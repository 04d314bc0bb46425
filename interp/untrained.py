"""A model's architecture with random weights: what geometry looks like where nothing was learnt."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from interp.models import LoadedModel


@contextmanager
def untrained(model: LoadedModel, seed: int = 0) -> Iterator[None]:
    """Every matrix drawn anew inside a `with` block: normal, of the spread that it had.

    So norms grow over depth about as they do in the trained model, which an architecture's own
    initialisation would not give. Norms' gains, biases and an untied head stay. Costs the memory of
    what is drawn.
    """
    head, embedding = model.hf.get_output_embeddings(), model.hf.get_input_embeddings()
    unused = None if head.weight is embedding.weight else head.weight
    parameters = [one for one in model.hf.parameters() if one.dim() > 1 and one is not unused]
    kept = [parameter.data for parameter in parameters]
    generator = torch.Generator().manual_seed(seed)
    try:
        for parameter, data in zip(parameters, kept, strict=True):
            drawn = torch.empty(data.shape).normal_(0, float(data.std()), generator=generator)
            parameter.data = drawn.to(data)
        yield
    finally:
        for parameter, data in zip(parameters, kept, strict=True):
            parameter.data = data
