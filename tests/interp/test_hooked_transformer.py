"""Reads and writes at `pre`, `mid` and `post` mean what they meant in `HookedTransformer`.

The fixture was recorded with transformer-lens 3.9; `tests/make_hooked_fixture.py` says how.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from interp.activations import capture
from interp.assets.tiny import tiny_tokenizer
from interp.interventions import Add, Placement
from interp.models import LoadedModel, from_huggingface
from interp.predict import readout
from interp.prompts import Tokens
from interp.sites import Site, all_sites

FIXTURE = Path(__file__).parents[1] / "fixtures" / "hooked_transformer.safetensors"
STREAMS = ("pre", "mid", "post")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return load_file(FIXTURE)


@pytest.fixture(scope="module")
def model(recorded: dict[str, Tensor]) -> LoadedModel:
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=False,
    )
    llama = LlamaForCausalLM(config)
    weights = {k.removeprefix("weight."): v for k, v in recorded.items() if "weight." in k[:7]}
    llama.load_state_dict(weights)
    return from_huggingface(llama, tiny_tokenizer(), "recorded", random=True)


@pytest.fixture(scope="module")
def tokens(recorded: dict[str, Tensor]) -> Tokens:
    ids = recorded["prompt"]
    return Tokens(torch.zeros(0, dtype=torch.long), ids, torch.ones_like(ids))


def test_reads_at_every_site_and_position_agree(model, tokens, recorded) -> None:
    positions = range(-tokens.ids.shape[1], 0)
    sites = all_sites(3, STREAMS)
    found = capture(model, tokens, sites=sites, positions=positions)[0]
    for site, state in zip(sites, found, strict=True):
        wanted = recorded[f"read.{site.layer}.{site.stream}"][0]
        assert torch.allclose(state, wanted, atol=1e-5), site


@pytest.mark.parametrize("stream", STREAMS)
def test_a_vector_added_at_each_stream_gives_the_same_logits(
    stream, model, tokens, recorded
) -> None:
    added = Placement(Add(recorded["vector"]), (Site(1, stream),))
    found = readout(model, tokens, [added]).log_probs[0]
    wanted = recorded[f"written.1.{stream}"][0, -1].log_softmax(-1)
    unchanged = recorded["logits"][0, -1].log_softmax(-1)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert (wanted - unchanged).abs().max() > 0.1
