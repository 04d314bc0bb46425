"""The one group on real weights: SmolLM2-135M-Instruct, fetched (93 MB) and verified once."""

import pytest
import torch

from interp.activations import capture
from interp.generation import generate
from interp.interventions import Add, Placement, ablate
from interp.models import LoadedModel, load
from interp.predict import readout
from interp.prompts import positions, tokenise
from interp.sites import Site, all_sites, everywhere
from interp.weights import orthogonalised

pytestmark = pytest.mark.real_model
PROMPTS = (
    "What is the capital of France?",
    "Explain shortly why the sea is salt.",
    "Sing.",
)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load("smollm2-135m", dtype="float32", device="cpu")


def test_it_is_the_registered_file(model: LoadedModel) -> None:
    assert model.info.quantisation == "Q4_1" and model.info.tied
    assert (model.n_layers, model.d_model) == (30, 576)
    assert model.info.has_template and not model.info.random


def test_it_answers(model: LoadedModel) -> None:
    answer = generate(model, tokenise(model, PROMPTS), max_new_tokens=12)[0]
    assert "Paris" in model.tokenizer.decode(answer)


def test_the_template_leaves_one_beginning_of_text(model: LoadedModel) -> None:
    tokens = tokenise(model, PROMPTS)
    start = model.tokenizer("<|im_start|>")["input_ids"][0]
    assert tokens.sequences()[0][:1] == [start]
    assert len(tokens.prefix) > 10
    assert positions(model)["last_instruction"] < -2


def test_padded_batches_equal_single_prompts(model: LoadedModel) -> None:
    sites = all_sites(model.n_layers, ("pre", "mid", "post"))[::9]
    together = capture(model, tokenise(model, PROMPTS), sites=sites)
    for row, prompt in enumerate(PROMPTS):
        alone = capture(model, tokenise(model, [prompt]), sites=sites)[0]
        scale = alone.abs().amax(dim=-1, keepdim=True)
        assert ((together[row] - alone).abs() / scale).max() < 1e-4


def test_ablation_equals_orthogonalised_weights(model: LoadedModel) -> None:
    tokens = tokenise(model, PROMPTS)
    generator = torch.Generator().manual_seed(0)
    remove = ablate(torch.randn(model.d_model, generator=generator))
    states = tuple(everywhere(model.n_layers))
    clean = readout(model, tokens).log_probs
    ablated = readout(model, tokens, [Placement(remove, states)]).log_probs
    with orthogonalised(model, remove.basis):
        from_weights = readout(model, tokens).log_probs
    assert (from_weights - ablated).abs().max() < 5e-3
    assert (ablated - clean).abs().max() > 1e-2
    assert torch.equal(readout(model, tokens).log_probs, clean)


def test_bf16_predicts_the_same_token_where_the_choice_is_clear(model: LoadedModel) -> None:
    half = load("smollm2-135m", dtype="bfloat16", device="cpu")
    tokens = tokenise(model, PROMPTS)
    push = [Placement(Add(torch.ones(model.d_model)), (Site(9, "mid"),))]
    for placements in ([], push):
        exact = readout(model, tokens, placements).log_probs
        rounded = readout(half, tokens, placements).log_probs
        top = exact.topk(2).values
        clear = (top[:, 0] - top[:, 1]) > 0.25
        assert clear.any()
        assert torch.equal(exact.argmax(1)[clear], rounded.argmax(1)[clear])
