"""Weight orthogonalisation equals ablation at every state, and leaves the model as it was."""

import pytest
import torch

from interp.errors import ModelError
from interp.interventions import Placement, ablate
from interp.models import LoadedModel, tiny_random_model
from interp.predict import readout
from interp.prompts import tokenise
from interp.sites import everywhere
from interp.weights import (
    adding,
    orthogonalised,
    orthogonalised_state,
    residual_writers,
    written_along,
)

PROMPTS = ["Name a colour", "Explain how tides work in a small bay"]
FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "phi3", "phi", "gpt2"]


def random_basis(model: LoadedModel, k: int = 2) -> torch.Tensor:
    draws = torch.randn(k, model.d_model, generator=torch.Generator().manual_seed(5))
    return ablate(*draws).basis


def with_random_vectors(model: LoadedModel) -> LoadedModel:
    """Biases are 0 and gains 1 at initialisation, where a forgotten one would not show."""
    generator = torch.Generator().manual_seed(6)
    for name, parameter in model.hf.named_parameters():
        if parameter.ndim == 1:
            centre = 0.0 if name.endswith("bias") else 1.0
            parameter.data = centre + 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def fail_if_equal(first: torch.Tensor, second: torch.Tensor) -> None:
    assert not torch.equal(first, second)
    raise ZeroDivisionError


def logits_ablated(model: LoadedModel, basis: torch.Tensor) -> torch.Tensor:
    sites = tuple(everywhere(model.n_layers, model.info.has_mid))
    placement = Placement(ablate(*basis), sites)
    return readout(model, tokenise(model, PROMPTS), [placement]).log_probs


def logits_of(model: LoadedModel) -> torch.Tensor:
    return readout(model, tokenise(model, PROMPTS)).log_probs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [False, True])
def test_orthogonalised_model_equals_ablation_at_every_state(family: str, tied: bool) -> None:
    model = with_random_vectors(tiny_random_model(family, tied=tied))
    basis = random_basis(model)
    expected = logits_ablated(model, basis)
    with orthogonalised(model, basis) as changed:
        found = logits_of(changed)
    assert (found - expected).abs().max() < 1e-4
    assert (logits_of(model) - expected).abs().max() > 1e-2


def test_bfloat16_model_is_close_to_ablation() -> None:
    model = tiny_random_model(dtype=torch.bfloat16)
    basis = random_basis(model, 1)
    expected = logits_ablated(model, basis)
    with orthogonalised(model, basis) as changed:
        found = logits_of(changed)
    assert (found - expected).abs().mean() < 0.3 * (logits_of(model) - expected).abs().mean()


def test_tied_head_breaks_the_equality_until_it_is_untied() -> None:
    model = with_random_vectors(tiny_random_model("llama", tied=True))
    basis = random_basis(model)
    expected = logits_ablated(model, basis)
    state = orthogonalised_state(model, basis)
    head = state.pop("lm_head.weight")
    for writer in residual_writers(model):  # the embedding's matrix is the head's as well
        writer.parameter.data = state[writer.name]
    assert (logits_of(model) - expected).abs().max() > 1e-2
    untied = with_random_vectors(tiny_random_model("llama", tied=False))
    for writer in residual_writers(untied):
        writer.parameter.data = state[writer.name]
    untied.hf.get_output_embeddings().weight.data = head
    assert (logits_of(untied) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [False, True])
def test_restores_the_very_same_parameters(family: str, tied: bool) -> None:
    model = tiny_random_model(family, tied=tied)
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    objects = [id(parameter) for parameter in model.hf.parameters()]
    reference = logits_of(model)
    with pytest.raises(ZeroDivisionError), orthogonalised(model, random_basis(model)):
        fail_if_equal(reference, logits_of(model))
    after = model.hf.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert objects == [id(parameter) for parameter in model.hf.parameters()]
    shares = model.head.data_ptr() == model.hf.get_input_embeddings().weight.data_ptr()
    assert shares == tied
    assert torch.equal(reference, logits_of(model))


@pytest.mark.parametrize("tied", [False, True])
def test_state_is_pure_and_has_the_published_names(tied: bool) -> None:
    model = tiny_random_model("qwen2", n_layers=2, tied=tied)
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    state = orthogonalised_state(model, random_basis(model))
    assert all(torch.equal(before[name], model.hf.state_dict()[name]) for name in before)
    expected = {"model.embed_tokens.weight"} | ({"lm_head.weight"} if tied else set())
    for layer in range(2):
        block = f"model.layers.{layer}"
        expected |= {f"{block}.self_attn.o_proj.weight", f"{block}.mlp.down_proj.weight"}
    assert set(state) == expected


def test_every_written_row_is_orthogonal_to_the_basis() -> None:
    model = with_random_vectors(tiny_random_model("gpt2"))  # untied
    basis = random_basis(model)
    state = orthogonalised_state(model, basis)
    writers = residual_writers(model)
    assert {writer.name for writer in writers} == set(state)
    assert len(writers) == 2 + 4 * model.n_layers
    for writer in writers:
        rows = state[writer.name].movedim(writer.axis, -1)
        assert (rows @ basis.T).abs().max() < 1e-5
        assert (writer.parameter.movedim(writer.axis, -1) @ basis.T).abs().max() > 1e-2


def test_gemma_is_refused_by_name() -> None:
    model = tiny_random_model("gemma3")
    with pytest.raises(ModelError, match=r"gemma3.*ln1_post"):
        orthogonalised_state(model, random_basis(model))


def test_a_hidden_write_to_the_stream_is_found() -> None:
    model = tiny_random_model("llama")
    basis = random_basis(model, 1)
    hook = model.hf.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: output + basis[0]
    )
    with pytest.raises(ModelError, match="still in the subspace"), orthogonalised(model, basis):
        pass
    hook.remove()
    with orthogonalised(model, basis):
        pass


def test_a_basis_that_is_not_orthonormal_is_refused() -> None:
    model = tiny_random_model("llama")
    with pytest.raises(ModelError, match="orthonormal"):
        orthogonalised_state(model, 2 * random_basis(model))
    with pytest.raises(ModelError, match="orthonormal"):
        orthogonalised_state(model, random_basis(model)[:, :16])


@pytest.mark.parametrize(("family", "tied"), [("llama", True), ("gpt2", True), ("qwen2", False)])
def test_what_was_taken_out_is_added_again_inside_the_block_only(family: str, tied: bool) -> None:
    model = with_random_vectors(tiny_random_model(family, n_layers=2, tied=tied))
    unit, before = random_basis(model, 1)[0], logits_of(model)
    along = {writer.name: written_along(writer, unit) for writer in residual_writers(model)}
    with orthogonalised(model, unit[None]):
        locked = logits_of(model)
        with adding(model, unit, along):
            torch.testing.assert_close(logits_of(model), before, atol=1e-4, rtol=1e-4)
        assert torch.equal(logits_of(model), locked)
    assert torch.equal(logits_of(model), before)
