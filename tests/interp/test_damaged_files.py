"""Files damaged at random, 1,100 in all: each is read, or refused with one error that names it."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp.assets.checkpoints import read_folder
from interp.assets.folders import identity
from interp.assets.gguf_conversion import convert_gguf
from interp.assets.gguf_header import GGUFHeader, read_header
from interp.assets.tiny import tiny_huggingface
from interp.data.prompt_files import read_prompts
from interp.errors import DataError, InterpError, ModelError, PromptError
from interp.models import load
from interp.prompts import tokenise
from tests.damage import flipped, outcome, spliced
from tests.toy_gguf import write_gguf

WHOLE = {
    ".txt": "how do ships float?\r\ntea\n\nwhat is rain?\n",
    ".jsonl": '"tea"\n{"text": "how do ships \\u00e9 float?", "id": 3}\r\n',
    ".json": '["tea",\n {"text": "how do ships float?", "id": 3.5, "tags": [null, {}]}]',
    ".csv": 'id,text\n1,tea\n2,"how do\nships ""float""?"\n',
}
PIECES = (
    b"\\ud800", b"\\ud83d\\ude00", b"\\u0000", b"\0", b"\xed\xa0\x80", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\r", b"\n", b"\r\n", b"\x1b", b"\x85", b'"', b"'", b"\\", b",", b"text,", b":", b"{", b"}",
    b"]", b"null", b"NaN", b"-1e999", b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b"x" * 140_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("toy") / "toy.gguf").read_bytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    hf_model, tokenizer = tiny_huggingface(n_layers=1)
    hf_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copied"))


def places(content: bytes) -> list[int]:
    """The bytes of a GGUF header, but for the many of its tokens."""
    tokens = content.index(b"tokenizer.ggml.tokens")
    behind = content.index(b"tokenizer.ggml.token_type", tokens)
    return [*range(tokens + 50), *range(behind - 8, content.rindex(b".weight") + 40)]


def replaced(content: bytes, before: bytes, after: bytes) -> bytes:
    assert content.count(before) == 1 and len(before) == len(after)
    return content.replace(before, after)


def with_number(content: bytes, name: str, number: int, skip: int = 4, width: int = 4) -> bytes:
    """The file with another number `skip` bytes behind a name: 4 bytes behind, a field's value."""
    place = content.index(name.encode()) + len(name) + skip
    return content[:place] + number.to_bytes(width, "little") + content[place + width :]


@pytest.mark.parametrize("suffix", WHOLE)
def test_prompt_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    refused = 0
    for seed in range(150):
        content = spliced(random.Random(f"{suffix} {seed}"), WHOLE[suffix].encode(), PIECES)
        path.write_bytes(content)
        case = f"seed {seed}: {content[:500]!r} ({len(content):,} bytes)"
        found = outcome(case, read_prompts, path, "text")
        if isinstance(found, InterpError):
            assert isinstance(found, DataError) and str(path) in str(found), case
            refused += 1
        else:
            assert found and all(text.strip() and "\0" not in text for text in found), case
            "".join(found).encode()
    assert 20 < refused < 145


def test_gguf_headers(tmp_path: Path, toy: bytes) -> None:
    path = tmp_path / "toy.gguf"
    refused = 0
    for seed in range(400):
        path.write_bytes(flipped(random.Random(seed), toy, places(toy)))
        found = outcome(f"seed {seed}", read_header, path)
        assert isinstance(found, ModelError) or 0 < found.n_weights < len(toy), f"seed {seed}"
        assert isinstance(found, GGUFHeader) or str(path) in str(found), f"seed {seed}"
        refused += isinstance(found, ModelError)
    assert 100 < refused < 350


def test_gguf_files_with_a_header_that_can_be_walked(tmp_path: Path, toy: bytes) -> None:
    path, cache = tmp_path / "toy.gguf", tmp_path / "cache"
    for seed in walkable(path, toy, 50):
        folder = cache / str(seed)
        found = outcome(f"seed {seed}", converted, path, folder)
        left = [item.name for item in cache.glob("*")]
        assert left == ([] if isinstance(found, InterpError) else [folder.name]), f"seed {seed}"
        shutil.rmtree(cache, ignore_errors=True)


def walkable(path: Path, whole: bytes, n: int) -> Any:
    """Seeds of damage that `read_header` lets through, each with its file written."""
    for seed in range(10_000):
        path.write_bytes(flipped(random.Random(f"whole {seed}"), whole, places(whole)))
        if not isinstance(outcome(f"seed {seed}", read_header, path), InterpError):
            yield seed
            n -= 1
        if not n:
            return


def converted(path: Path, folder: Path) -> Any:
    convert_gguf(path, folder, "0" * 64)
    return read_folder(folder, path.name, torch.float32)


def test_model_folders(saved: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in saved.iterdir())
    refused = 0
    for seed in range(50):
        rng = random.Random(seed)
        folder = Path(shutil.copytree(saved, tmp_path / "damaged", dirs_exist_ok=True))
        file = folder / rng.choice(names)
        content = file.read_bytes()
        header = int.from_bytes(content[:8], "little") + 8
        header = header if file.suffix == ".safetensors" else len(content)
        file.write_bytes(flipped(rng, content, range(header)))
        found = outcome(f"seed {seed}, {file.name}", asked, folder)
        refused += isinstance(found, InterpError)
    assert 10 < refused < 48


def asked(folder: Path) -> Any:
    """What an experiment does with a model first."""
    identity(str(folder))
    return tokenise(load(str(folder), device="cpu", dtype="float32"), ["what is tea?"])


@pytest.mark.parametrize(
    ("name", "number", "skip", "width", "message"),
    [
        ("tokenizer.ggml.token_type", 1 << 40, 8, 8, "items, expected at most"),
        ("tokenizer.ggml.token_type", 1 << 21, 8, 8, "it should have 8,388,608 bytes"),
        ("tokenizer.ggml.model", 1 << 62, 4, 8, "it should have"),
        ("tokenizer.ggml.model", 9, 0, 4, "ValueError"),
        ("llama.block_count", 1 << 31, 4, 4, r"announces \[2147483648\] blocks, .* of 2"),
        ("llama.block_count", 1, 4, 4, r"announces \[1\] blocks, but has tensors of 2"),
        ("llama.feed_forward_length", 1 << 30, 4, 4, "its configuration asks for .* weights, but"),
        ("llama.attention.head_count", 0, 4, 4, "ZeroDivisionError"),
        ("tokenizer.ggml.eos_token_id", 9999, 4, 4, "IndexError"),
        ("general.file_type", 999, 4, 4, "999 is not a valid"),
        ("output_norm.weight", 1 << 40, 4, 8, "its tensors are larger than the file"),
        ("output_norm.weight", 77, 12, 4, "77 is not a valid"),
        ("output_norm.weight", 9, 0, 4, "a tensor has 9 dimensions"),
    ],
)
def test_numbers_of_a_gguf_header(
    tmp_path: Path, name: str, number: int, skip: int, width: int, message: str
) -> None:
    path, cache = write_gguf(tmp_path / "toy.gguf", n_layers=2), tmp_path / "cache"
    path.write_bytes(with_number(path.read_bytes(), name, number, skip, width))
    with pytest.raises(ModelError, match=rf"toy\.gguf could not .*{message}.* Download it again"):
        raise_outcome(convert_gguf, path, cache / "toy", "0" * 64)
    assert not list(cache.glob("*"))


def raise_outcome(read: Any, *arguments: Any) -> None:
    found = outcome("the one case", read, *arguments)
    assert isinstance(found, InterpError)
    raise found


def test_weights_that_are_missing_are_not_filled_at_random(
    tmp_path: Path, toy: bytes, copied: Path
) -> None:
    path = tmp_path / "toy.gguf"
    path.write_bytes(replaced(toy, b"blk.0.ffn_up.weight", b"blk.0.ffn_uq.weight"))
    with pytest.raises(ModelError, match=r"toy\.gguf could not.* it has no .*up_proj\.weight"):
        convert_gguf(path, tmp_path / "cache" / "toy", "0" * 64)
    assert not list((tmp_path / "cache").glob("*"))
    weights = load_file(copied / "model.safetensors")
    weights["model.norm.waight"] = weights.pop("model.norm.weight")
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"copied' could not be loaded.* it has no model\.norm"):
        load(str(copied))


def test_names_twice_and_unknown_versions(tmp_path: Path, toy: bytes) -> None:
    path = tmp_path / "toy.gguf"
    path.write_bytes(replaced(toy, b"blk.0.ffn_up.weight", b"blk.0.attn_q.weight"))
    with pytest.raises(ModelError, match=r"'blk\.0\.attn_q\.weight' is there twice"):
        read_header(path)
    path.write_bytes(toy[:4] + b"\7" + toy[5:])
    with pytest.raises(ModelError, match="its GGUF version is 7"):
        read_header(path)


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        ("config.json", '"num_hidden_layers": 1', '"num_hidden_layers": 99', "asks for"),
        ("config.json", "}", "", "could not be loaded"),
        ("tokenizer.json", "{", "[" * 5000, "could not be loaded"),
        ("tokenizer_config.json", '"model_max_length": ', '"model_max_length": "', "could not"),
        ("tokenizer_config.json", ": 1000000000000000019884624838656", ': "x"', "cannot be run"),
    ],
)
def test_files_of_a_folder(copied: Path, file: str, before: str, after: str, message: str) -> None:
    text = (copied / file).read_text()
    assert before in text
    (copied / file).write_text(text.replace(before, after))
    with pytest.raises(ModelError, match=rf"copied' .*{message}"):
        raise_outcome(load, str(copied))


def test_a_folder_without_its_tokenizer_or_header(copied: Path) -> None:
    weights = copied / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(b"\xff" * 8 + content[8:])
    with pytest.raises(ModelError, match=r"copied' could not be loaded.*SafetensorError"):
        raise_outcome(load, str(copied))
    weights.write_bytes(content)
    for path in copied.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"copied' could not be loaded.* tokenizer files"):
        raise_outcome(load, str(copied))


def test_an_identity_that_is_damaged_is_named(copied: Path) -> None:
    for content in ("{", "[]", '{"sha256": "a"}', "[" * 5000):
        (copied / "identity.json").write_text(content)
        with pytest.raises(ModelError, match=r"identity\.json is damaged.*Remove the file"):
            identity(str(copied))


def test_a_template_that_fails_is_a_prompt_error(copied: Path) -> None:
    (copied / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}")
    model = load(str(copied), device="cpu")
    with pytest.raises(PromptError, match=r"template of copied cannot be filled in.*--style none"):
        tokenise(model, ["what is tea?"])
    assert len(tokenise(model, ["what is tea?"], "none")) == 1


def test_names_of_models_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("x" * 300, "~nobody_of_that_name/m.gguf"):
        with pytest.raises(ModelError, match="is not a registered model, a file or a folder"):
            load(name)
    with pytest.raises(ModelError, match=r"holds U\+DCE9 .*Rename"):
        load(str(tmp_path / "caf\udce9.gguf"))


def test_a_model_that_may_not_be_read(
    tmp_path: Path, toy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "toy.gguf"
    path.write_bytes(toy)
    monkeypatch.setattr(Path, "open", refuse)
    for read in (load, identity):
        with pytest.raises(ModelError, match=r"toy\.gguf cannot be read: Permission denied"):
            read(str(path))
