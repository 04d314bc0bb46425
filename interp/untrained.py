"""A model's architecture with random weights: what geometry looks like where nothing was learnt."""

import copy

import torch
from transformers import AutoModelForCausalLM

from interp.models import LoadedModel, from_huggingface


def untrained(model: LoadedModel, seed: int = 0) -> LoadedModel:
    """The same architecture and tokenizer, weights drawn anew as before training; float32.

    The draw is that of the architecture's own initialisation (`_init_weights` of transformers).
    """
    config = type(model.hf.config).from_dict(model.hf.config.to_dict())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh = fresh.to(model.device).eval().requires_grad_(False)
    tokenizer = copy.deepcopy(model.tokenizer)
    if tokenizer.init_kwargs.get("bos_token") is None:
        tokenizer.bos_token = None  # transformer-lens put it there, and would now prepend it
    return from_huggingface(fresh, tokenizer, f"{model.info.name} untrained", random=True)
