"""Tiny random models, built once per session; nothing here touches the network."""

import pytest
import torch
from hypothesis import settings

from interp.models import LoadedModel, tiny_random_model

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3", "phi3", "gpt2")

settings.register_profile("repository", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("repository")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model() -> LoadedModel:
    """A 4-layer random Llama with a chat template and an untied head."""
    return tiny_random_model()


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, LoadedModel]:
    """Two-layer random models of every family, one of them (llama-tied) with a tied head."""
    models = {family: tiny_random_model(family, n_layers=2) for family in FAMILIES}
    return models | {"llama-tied": tiny_random_model("llama", n_layers=2, tied=True)}
