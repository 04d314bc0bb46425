"""Loading: self-check, dtype and device choice, folders, and files that are not what they say."""

from pathlib import Path

import pytest
import torch

from interp.assets.folders import identity, short_name
from interp.assets.tiny import tiny_huggingface
from interp.engine.self_check import residual_identities
from interp.errors import ModelError
from interp.models import choose_device, choose_dtype, from_huggingface, load, tiny_random_model
from tests.conftest import FAMILIES


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.mark.parametrize("family", [*FAMILIES, "phi"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_family_passes_the_self_check(family: str, dtype: torch.dtype) -> None:
    model = tiny_random_model(family, n_layers=2, dtype=dtype)
    assert model.info.family.startswith(family[:5])
    assert model.info.has_mid == (family != "phi")
    assert model.info.dtype == str(dtype).removeprefix("torch.")


def test_the_identities_hold_to_rounding_on_the_tiny_model() -> None:
    model = tiny_random_model(n_layers=2)
    _, cache = model.bridge.run_with_cache(torch.arange(3, 9)[None])
    checked = list(residual_identities(model, cache))
    assert len(checked) == 5
    for _, expected, found in checked:
        assert torch.allclose(expected, found, atol=1e-5)


def test_a_model_with_scaled_residuals_is_refused_by_name() -> None:
    hf_model, tokenizer = tiny_huggingface(n_layers=2)
    hf_model.model.layers[1].register_forward_hook(lambda *args: args[2] * 0.5)
    with pytest.raises(ModelError, match=r"crooked .*fails the .*self-check.*mlp_out = post"):
        from_huggingface(hf_model, tokenizer, "crooked")


def test_half_precision_is_refused_by_name() -> None:
    hf_model, tokenizer = tiny_huggingface(n_layers=2, dtype=torch.float16)
    with pytest.raises(ModelError, match=r"halved is in float16; expected float32 or bfloat16"):
        from_huggingface(hf_model, tokenizer, "halved")


def test_weights_with_nan_are_refused() -> None:
    hf_model, tokenizer = tiny_huggingface(n_layers=2)
    hf_model.model.layers[0].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="self-check"):
        from_huggingface(hf_model, tokenizer, "damaged")


def test_a_saved_folder_loads_with_equal_logits(own_cache: Path) -> None:
    hf_model, tokenizer = tiny_huggingface(n_layers=2)
    hf_model.save_pretrained(own_cache / "saved")
    tokenizer.save_pretrained(own_cache / "saved")
    model = load(str(own_cache / "saved"), dtype="float32", device="cpu")
    ids = torch.arange(3, 12)[None]
    assert torch.allclose(model.bridge(ids), hf_model(ids).logits, atol=1e-5)
    assert model.info.name == "saved" and len(model.info.sha256) == 64
    assert identity(str(own_cache / "saved")) == model.info.sha256
    assert model.info.has_template and not model.info.random


def test_a_folder_of_pickles_is_refused(own_cache: Path) -> None:
    folder = own_cache / "pickled"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        identity(str(folder))
    with pytest.raises(ModelError, match="could not be loaded"):
        load(str(folder))


def test_files_that_are_not_gguf_are_named(own_cache: Path) -> None:
    fake = own_cache / "fake.gguf"
    fake.write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(ModelError, match=r"fake\.gguf is not a GGUF file"):
        load(str(fake))
    truncated = own_cache / "short.gguf"
    truncated.write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(ModelError, match=r"short\.gguf could not be read.*truncated"):
        load(str(truncated))
    assert not list((own_cache / "cache").rglob("config.json"))


def test_unknown_names_suggest_the_nearest(own_cache: Path) -> None:
    with pytest.raises(ModelError, match=r"did you mean 'smollm2-135m'"):
        load("smolm2-135")
    with pytest.raises(ModelError, match="float16' is not a dtype"):
        load("tiny-random", dtype="float16")
    with pytest.raises(ModelError, match="'gpu9' is not a device"):
        load("tiny-random", device="gpu9")


def test_the_tiny_model_is_as_asked_for() -> None:
    usual, small = load("tiny-random"), load("tiny-random", dtype="bfloat16", device="cpu")
    assert (usual.dtype, usual.device) == (torch.float32, torch.device("cpu"))
    assert small.dtype == torch.bfloat16
    assert usual.sha256 == small.sha256 == identity("tiny-random")
    assert usual.info.random and small.info.random
    pairs = zip(usual.hf.parameters(), small.hf.parameters(), strict=True)
    assert all(torch.equal(one.bfloat16(), other) for one, other in pairs)


def test_a_device_that_is_not_there_is_said_before_anything_is_read(own_cache: Path) -> None:
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ModelError, match=f"'{absent}' is not a device of this machine"):
        load(str(own_cache / "nowhere"), device=absent)


def test_choices_of_device_and_dtype() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    native = torch.cpu._is_avx512_bf16_supported()
    assert choose_dtype("auto", torch.device("cpu")) == (
        torch.bfloat16 if native else torch.float32
    )
    assert choose_dtype("auto", torch.device("mps")) == torch.float32


def test_results_folders_are_named_after_the_last_part() -> None:
    assert short_name("qwen2.5-coder-0.5b") == "qwen2.5-coder-0.5b"
    assert short_name("owner/Some-Model") == "some-model"
    assert short_name("folder/Model-Q4.gguf") == "model-q4"


def test_tied_heads_are_recorded() -> None:
    assert tiny_random_model(n_layers=1, tied=True).info.tied
    assert not tiny_random_model(n_layers=1, tied=False).info.tied
