"""What other programs read back from an export, without this library, is what the model does here.

Fresh processes import transformers and peft alone; they fail if this library comes with them.
"""

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp.assets.tiny import tiny_huggingface
from interp.directions import Direction, direction_from
from interp.errors import ActivationError, ModelError
from interp.exports.adapters import write_adapter
from interp.exports.formats import (
    control_vector_site,
    llama_cpp_name,
    plain_model,
    write_control_vector,
    write_huggingface,
    write_vector,
)
from interp.generation import generate
from interp.models import LoadedModel, load, tiny_random_model
from interp.predict import readout
from interp.prompts import tokenise
from interp.sites import Site
from interp.weights import orthogonalised, published_tensors
from tests.interp.test_weights import with_random_vectors

PROMPTS = ["Name a colour", "Explain how tides work in a small bay"]


def made_up(d_model: int = 32, site: str | None = "1.pre", seed: int = 1) -> Direction:
    vector = torch.randn(d_model, generator=torch.Generator().manual_seed(seed))
    place = Site.parse(site) if site else None
    return direction_from(vector, "made_up", place, provenance={"model": "tiny-random"})


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_vector_is_one_tensor_that_anybody_reads(tmp_path: Path) -> None:
    direction = made_up()
    write_vector(tmp_path / "d.safetensors", direction)
    with safe_open(tmp_path / "d.safetensors", "pt") as file:
        assert list(file.keys()) == ["direction"]
        assert torch.equal(file.get_tensor("direction"), direction.unit)
        facts = file.metadata()
    assert (facts["site"], facts["model"]) == ("1.pre", "tiny-random")
    assert float(facts["norm"]) == direction.norm


@pytest.mark.parametrize(
    ("site", "layer"), [("2.pre", 1), ("1.post", 1), ("3.post", 3), ("1.mid", 1), ("3.mid", 3)]
)
def test_a_control_vector_holds_the_raw_vector_under_its_block(tmp_path, site, layer) -> None:
    direction = made_up(site=site)
    written = write_control_vector(tmp_path / "d.gguf", direction, n_layers=4, family="qwen2")
    assert str(written) == f"{layer}.post"
    reader = gguf.GGUFReader(tmp_path / "d.gguf")
    facts = {name: field.contents() for name, field in reader.fields.items()}
    assert facts["general.architecture"] == "controlvector"
    assert facts["controlvector.model_hint"] == "qwen2"
    assert facts["controlvector.layer_count"] == 3
    (tensor,) = reader.tensors
    assert tensor.name == f"direction.{layer}"
    assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
    assert tensor.shape.tolist() == [32]
    assert np.array_equal(tensor.data, direction.vector.numpy())


@pytest.mark.parametrize("site", ["2.pre", "1.post", "3.post"])
def test_added_to_what_leaves_the_block_it_is_our_add(tmp_path, site) -> None:
    direction = made_up(site=site)
    write_control_vector(tmp_path / "d.gguf", direction, n_layers=4, family="llama")
    (tensor,) = gguf.GGUFReader(tmp_path / "d.gguf").tensors
    vector = torch.tensor(np.array(tensor.data))
    plain, _ = tiny_huggingface()
    block = plain.model.layers[int(tensor.name.removeprefix("direction."))]
    block.register_forward_hook(lambda module, inputs, output: output + vector)
    model = tiny_random_model()
    tokens = tokenise(model, PROMPTS)
    ours = readout(model, tokens, [direction.add()]).log_probs
    for row, ids in zip(ours, tokens.sequences(), strict=True):
        theirs = plain(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert (row - theirs).abs().max() < 1e-4
    assert (ours - readout(model, tokens).log_probs).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        ("0.pre", "end of block -1"),
        ("1.pre", "end of block 0"),
        ("0.mid", "end of block 0"),
        ("0.post", "end of block 0"),
        ("4.mid", "end of block 4"),
        (None, "no site of its own"),
    ],
)
def test_a_site_that_llama_cpp_does_not_read_is_refused(site, reason) -> None:
    with pytest.raises(ActivationError, match=reason):
        control_vector_site(made_up(site=site), n_layers=4)


def test_families_have_the_names_of_llama_cpp() -> None:
    names = {"llama": "llama", "mistral": "llama", "gemma3_text": "gemma3", "phi": "phi2"}
    names |= {"qwen2": "qwen2", "qwen3": "qwen3", "qwen2_moe": "qwen2moe", "gpt2": "gpt2"}
    assert {family: llama_cpp_name(family) for family in names} == names
    with pytest.raises(ModelError, match="no architecture for the family 'martian'"):
        llama_cpp_name("martian")


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma3", "phi"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_plain_model_has_the_weights_and_nothing_of_the_bridge(family, tied) -> None:
    model = tiny_random_model(family, n_layers=2, tied=tied)
    plain, _ = tiny_huggingface(family, 2, tied=tied)
    found, expected = plain_model(model).state_dict(), plain.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert plain_model(model).config.tie_word_embeddings == tied
    assert set(expected) <= set(published_tensors(model))


GENERATE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
source, adapter, prompts = json.loads(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(source)

def answers(model):
    for prompt in prompts:
        message = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0, -1].tolist()
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids),
                                 max_new_tokens=12, do_sample=False)
        yield out[0, ids.shape[1]:].tolist(), logits

model = AutoModelForCausalLM.from_pretrained(source)
if adapter:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, adapter)
found = [list(answers(model))]
if adapter:
    found.append(list(answers(model.merge_and_unload())))
assert "interp" not in sys.modules and "transformer_lens" not in sys.modules
print(json.dumps(found))
"""


def by_themselves(source: Path, adapter: Path | None = None) -> list:
    """New tokens and last logits of every prompt, by transformers alone in a fresh process.

    With an adapter as it is loaded, then merged.
    """
    asked = json.dumps([str(source), str(adapter) if adapter else None, PROMPTS])
    command = [sys.executable, "-c", GENERATE, asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check_same(model: LoadedModel, direction: Direction, found: list, tolerance: float) -> None:
    """Fresh-process answers against the orthogonalised model's, and not against the model's own."""
    tokens = tokenise(model, PROMPTS)
    with orthogonalised(model, direction.unit[None]):
        expected = readout(model, tokens).log_probs
        answers = generate(model, tokens, max_new_tokens=12)
    clean = readout(model, tokens).log_probs
    for row, (ids, logits) in enumerate(found):
        theirs = torch.tensor(logits).log_softmax(-1)
        assert (theirs - expected[row]).abs().max() < tolerance
        assert [i for i in ids if i not in model.end_tokens] == answers[row]
    assert (clean - expected).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("tied", [False, True])
def test_transformers_alone_generates_what_the_orthogonalised_model_does(
    family, tied, tmp_path
) -> None:
    model = with_random_vectors(tiny_random_model(family, n_layers=2, tied=tied))
    direction = made_up()
    write_huggingface(tmp_path / "out", model, direction)
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert saved["tie_word_embeddings"] is False
    assert saved["architectures"] == [type(model.hf).__name__]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files_in(tmp_path / "out")
    assert "interp" not in " ".join(saved)
    (found,) = by_themselves(tmp_path / "out")
    check_same(model, direction, found, 1e-4)


def test_bfloat16_stays_bfloat16(tmp_path) -> None:
    model, direction = tiny_random_model(dtype=torch.bfloat16, n_layers=2), made_up()
    write_huggingface(tmp_path / "out", model, direction)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with orthogonalised(model, direction.unit[None]):
        expected = plain_model(model).state_dict()
    assert loaded.dtype == torch.bfloat16
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("write", [write_huggingface, write_adapter])
def test_gemma_is_refused_and_leaves_nothing(write, tmp_path) -> None:
    model = tiny_random_model("gemma3", n_layers=2)
    with pytest.raises(ModelError, match=r"gemma3.*ln1_post"):
        write(tmp_path / "out", model, made_up())
    assert not files_in(tmp_path)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_lora_gives_the_orthogonalised_model(family, tied, tmp_path) -> None:
    model = with_random_vectors(tiny_random_model(family, n_layers=2, tied=tied))
    direction = made_up()
    plain_model(model).save_pretrained(tmp_path / "base")
    model.tokenizer.save_pretrained(tmp_path / "base")
    write_adapter(tmp_path / "lora", model, direction)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files_in(tmp_path / "lora")
    loaded, merged = by_themselves(tmp_path / "base", tmp_path / "lora")
    check_same(model, direction, loaded, 1e-3)
    if tied:  # merging changes the head as well: the command says so
        with pytest.raises(AssertionError):
            check_same(model, direction, merged, 1e-2)
    else:
        check_same(model, direction, merged, 1e-3)


def test_the_lora_holds_its_matrices_and_no_embedding(tmp_path) -> None:
    model, direction = tiny_random_model("qwen3", n_layers=2, tied=True), made_up()
    write_adapter(tmp_path / "lora", model, direction)
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (1, 1)
    assert config["base_model_name_or_path"] == "tiny-random"
    with safe_open(tmp_path / "lora" / "adapter_model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert len(tensors) == 2 * (1 + 2 * 2)
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32
        assert 1 in tensor.shape
        if "lora_B" in name or "embedding_B" in name:
            assert torch.equal(tensor[:, 0], -direction.unit)


@pytest.mark.parametrize("family", ["gpt2", "phi"])
def test_biases_are_refused_by_name(family, tmp_path) -> None:
    model = tiny_random_model(family, n_layers=2)
    with pytest.raises(ModelError, match=r"writers have a bias \(.*bias"):
        write_adapter(tmp_path / "lora", model, made_up())
    assert not files_in(tmp_path)


def test_a_hidden_write_to_the_stream_is_found(tmp_path) -> None:
    model, direction = tiny_random_model(n_layers=2), made_up()
    model.hf.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: output + direction.unit
    )
    for write in (write_huggingface, write_adapter):
        with pytest.raises(ModelError, match="still in the subspace"):
            write(tmp_path / "out", model, direction)
    assert not files_in(tmp_path)


@pytest.mark.real_model
def test_the_real_model_without_a_direction_is_loaded_by_transformers_alone(tmp_path) -> None:
    model = load("smollm2-135m", dtype="float32", device="cpu")
    direction = made_up(model.d_model)
    write_huggingface(tmp_path / "out", model, direction)
    (found,) = by_themselves(tmp_path / "out")
    check_same(model, direction, found, 5e-3)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert "/" not in (tmp_path / "out" / "config.json").read_text()


@pytest.mark.real_model
def test_the_real_model_with_the_lora(tmp_path) -> None:
    model = load("smollm2-135m", dtype="float32", device="cpu")
    direction = made_up(model.d_model)
    write_adapter(tmp_path / "lora", model, direction)
    plain_model(model).save_pretrained(tmp_path / "base")
    model.tokenizer.save_pretrained(tmp_path / "base")
    loaded, _ = by_themselves(tmp_path / "base", tmp_path / "lora")
    check_same(model, direction, loaded, 5e-3)
    assert sum(path.stat().st_size for path in (tmp_path / "lora").iterdir()) < 1_000_000
