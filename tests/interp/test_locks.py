"""A locked model comes back bit for bit, with its own key alone, and holds nothing of that key."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from interp.directions import Direction, direction_from
from interp.errors import ActivationError, ModelError
from interp.exports import locks
from interp.exports.formats import plain_model, save_plain, write_huggingface
from interp.exports.keys import put_back, read_key, removed_from, tensors_sha256
from interp.exports.locks import lock, unlock
from interp.models import LoadedModel, load, tiny_random_model
from tests.interp.test_weights import with_random_vectors

DTYPES = [torch.float32, torch.bfloat16]


def made_up(d_model: int = 32, seed: int = 1) -> Direction:
    return direction_from(
        torch.randn(d_model, generator=torch.Generator().manual_seed(seed)), "made_up"
    )


def tiny(family: str = "llama", tied: bool = True, dtype=torch.float32, seed=0) -> LoadedModel:
    model = tiny_random_model(family, n_layers=2, tied=tied, dtype=dtype, seed=seed)
    with_random_vectors(model).hf.to(dtype)
    return model


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def saved(model: LoadedModel, folder: Path) -> dict[str, bytes]:
    """The files of the model as it is."""
    folder.mkdir()
    save_plain(folder, plain_model(model), model.tokenizer)
    return contents(folder)


@pytest.fixture(scope="module")
def locked(tmp_path_factory) -> Path:
    """A folder with a locked model L and its key K.safetensors."""
    place = tmp_path_factory.mktemp("locked")
    lock(tiny(), place / "L", {place / "K.safetensors": made_up()})
    return place


@pytest.mark.parametrize(
    ("family", "tied"), [("llama", True), ("llama", False), ("qwen2", False), ("gpt2", True)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_file_comes_back_bit_for_bit(family, tied, dtype, tmp_path) -> None:
    model = tiny(family, tied, dtype)
    lock(model, tmp_path / "L", {tmp_path / "K.safetensors": made_up()})
    unlock(tmp_path / "L", tmp_path / "K.safetensors", tmp_path / "U")
    assert contents(tmp_path / "U") == saved(model, tmp_path / "M")
    assert {path.name for path in tmp_path.iterdir()} == {"L", "K.safetensors", "U", "M"}
    head: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "U").get_output_embeddings()
    assert torch.equal(head.weight, model.head)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_two_locks_open_apart_in_either_order(dtype, tied, first, tmp_path) -> None:
    model, directions = tiny(tied=tied, dtype=dtype), [made_up(seed=seed) for seed in (1, 2)]
    keys = {tmp_path / f"{i}.safetensors": one for i, one in enumerate(directions)}
    lock(model, tmp_path / "L", keys)
    one, other = (list(keys)[i] for i in (first, 1 - first))
    unlock(tmp_path / "L", one, tmp_path / "half")
    write_huggingface(tmp_path / "E", model, keys[other])
    assert contents(tmp_path / "half") == contents(tmp_path / "E")
    with pytest.raises(ModelError, match="does not open"):
        unlock(tmp_path / "half", one, tmp_path / "U")
    unlock(tmp_path / "half", other, tmp_path / "U")
    assert contents(tmp_path / "U") == saved(model, tmp_path / "M")


def test_of_two_locks_neither_direction_is_written(tmp_path) -> None:
    directions = [made_up(seed=seed) for seed in (1, 2)]
    keys = {tmp_path / f"{i}.safetensors": one for i, one in enumerate(directions)}
    lock(tiny(), tmp_path / "L", keys)
    written = load_file(tmp_path / "L" / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    for one in directions:
        assert (one.unit @ written).norm() < 1e-5 * written.norm()


def test_a_direction_is_locked_once(tmp_path) -> None:
    keys = {tmp_path / name: made_up() for name in ("A", "B")}
    with pytest.raises(ActivationError, match="linearly dependent"):
        lock(tiny(), tmp_path / "L", keys)
    many = {tmp_path / f"{i}": made_up(seed=i) for i in range(5)}
    with pytest.raises(ModelError, match="5 locks at once; expected 1 to 4"):
        lock(tiny(), tmp_path / "L", many)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_locked_folder_is_the_plain_export(dtype, tmp_path) -> None:
    model = tiny(dtype=dtype)
    lock(model, tmp_path / "L", {tmp_path / "K.safetensors": made_up()})
    write_huggingface(tmp_path / "E", model, made_up())
    assert contents(tmp_path / "L") == contents(tmp_path / "E")


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_that_rounding_hides_come_back(dtype) -> None:
    weight = torch.tensor([[0.0, -0.0, 1.0, 3e-39], [1e30, -1.0, 0.5, 1e-8]]).to(dtype)
    unit = torch.full((4,), 0.5)
    along = weight.float() @ unit
    lost = torch.zeros_like(weight)
    removed = removed_from(weight, lost, unit, along, axis=1)
    found = put_back(lost, unit, removed)
    assert torch.equal(found.view(torch.uint8), weight.view(torch.uint8))
    assert 0 < len(removed.positions) <= weight.numel()


@pytest.mark.parametrize("places", [[], [0], [254], [255], [3, 258, 259], [0, 5000, 9999], [9999]])
def test_places_far_apart_come_back(places) -> None:
    weight, lost = torch.zeros(100, 100), torch.zeros(100, 100)
    weight.view(-1)[places] = 2.0
    unit, along = torch.zeros(100), torch.zeros(100)
    removed = removed_from(weight, lost, unit, along, axis=0)
    assert set(places) <= set(removed.positions.tolist())
    assert len(removed.positions) < len(places) + 10_000 / 255
    assert torch.equal(put_back(lost, unit, removed), weight)


def test_other_dtypes_are_refused() -> None:
    weight = torch.zeros(2, 4).half()
    with pytest.raises(ModelError, match="Weights in float16 cannot be locked"):
        removed_from(weight, weight, torch.zeros(4), torch.zeros(2), axis=1)


def forms(vector: torch.Tensor) -> list[bytes]:
    """The vector as it might lie in a file: both signs, in every dtype of weights."""
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    return [
        (sign * vector).to(dtype).view(torch.uint8).numpy().tobytes()
        for dtype in dtypes
        for sign in (1, -1)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_of_the_key_is_in_the_locked_folder(dtype, tmp_path) -> None:
    direction = made_up()
    lock(tiny(dtype=dtype), tmp_path / "L", {tmp_path / "K.safetensors": direction})
    (key,) = read_key(tmp_path / "K.safetensors")
    secrets = [*forms(direction.unit), *forms(direction.vector)]
    secrets += [form for removed in key.removed.values() for form in forms(removed.along[:16])]
    secrets = [secret for secret in secrets if len(secret) >= 16]
    for sha256 in (key.locked, key.original):
        secrets += [sha256.encode(), sha256[:12].encode(), bytes.fromhex(sha256)]
    for name, data in contents(tmp_path / "L").items():
        assert not [secret for secret in secrets if secret in data], name
    tensors = load_file(tmp_path / "L" / "model.safetensors")
    assert not [name for name, tensor in tensors.items() if near(tensor, direction.unit)]
    with safe_open(tmp_path / "L" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def near(tensor: torch.Tensor, unit: torch.Tensor) -> bool:
    """Whether a row or a column of a tensor is parallel to the direction."""
    flat = tensor.float().reshape(tensor.shape[0], -1)
    lines = [part for part in (flat, flat.T) if part.shape[1] == len(unit)]
    return any(((part @ unit).abs() > 0.999 * part.norm(dim=1)).any() for part in lines)


def test_a_key_written_without_a_list_of_parts_still_opens(locked, tmp_path) -> None:
    with safe_open(locked / "K.safetensors", "pt") as file:
        (facts,) = json.loads(file.metadata()["key"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = file.metadata() | {"key": (text := json.dumps(facts))}
    save_file(tensors, tmp_path / "K", found | {"sha256": tensors_sha256(tensors, text)})
    unlock(locked / "L", tmp_path / "K", tmp_path / "U")
    assert contents(tmp_path / "U") == saved(tiny(), tmp_path / "M")


Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def reword(path: Path) -> None:
    data = path.read_bytes()
    place = data.index(b"original") + 14
    path.write_bytes(
        data[:place] + (b"0" if data[place : place + 1] != b"0" else b"1") + data[place + 1 :]
    )


def plain_file(path: Path) -> None:
    save_file({"direction": torch.ones(3)}, path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "cannot be read as a key"),
        (flip, "is not as `interp lock` wrote it"),
        (reword, "is not as `interp lock` wrote it"),
        (plain_file, "is no key"),
        (Path.unlink, "cannot be read as a key"),
        (lambda path: path.write_text("x"), "cannot be read as a key"),
    ],
)
def test_a_damaged_key_is_refused(damage: Damage, reason, locked, tmp_path) -> None:
    key = tmp_path / "K.safetensors"
    key.write_bytes((locked / "K.safetensors").read_bytes())
    damage(key)
    with pytest.raises(ModelError, match=reason):
        unlock(locked / "L", key, tmp_path / "U")
    assert not (tmp_path / "U").exists()


@pytest.mark.parametrize(("model_seed", "direction_seed"), [(3, 1), (0, 2)])
def test_the_key_of_another_model_or_direction_is_refused(
    model_seed, direction_seed, locked, tmp_path
) -> None:
    model, direction = tiny(seed=model_seed), made_up(seed=direction_seed)
    lock(model, tmp_path / "L", {tmp_path / "K.safetensors": direction})
    for folder, key in ((locked / "L", tmp_path), (tmp_path / "L", locked)):
        with pytest.raises(ModelError, match=r"does not open .* another model or direction"):
            unlock(folder, key / "K.safetensors", tmp_path / "U")
    assert {path.name for path in tmp_path.iterdir()} == {"L", "K.safetensors"}


def edited_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] += 1e-3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edited_config(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"rope_theta": 10000.0', '"rope_theta": 9.0'))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (edited_weight, "the folder was changed"),
        (edited_config, "the folder was changed"),
        (lambda folder: cut(folder / "model.safetensors"), "cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "the folder was changed"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be read"),
    ],
)
def test_an_edited_folder_is_refused(damage: Damage, reason, locked, tmp_path) -> None:
    folder = tmp_path / "L"
    folder.mkdir()
    for name, data in contents(locked / "L").items():
        (folder / name).write_bytes(data)
    damage(folder)
    with pytest.raises(ModelError, match=reason):
        unlock(folder, locked / "K.safetensors", tmp_path / "U")
    assert not (tmp_path / "U").exists()


def test_what_is_there_is_left_alone(locked, tmp_path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "K").write_text("mine")
    with pytest.raises(ModelError, match="is there already"):
        lock(tiny(), tmp_path / "there", {tmp_path / "new": made_up()})
    with pytest.raises(ModelError, match="is there already"):
        lock(tiny(), tmp_path / "new", {tmp_path / "K": made_up()})
    with pytest.raises(ModelError, match="is there already"):
        unlock(locked / "L", locked / "K.safetensors", tmp_path / "there")
    assert (tmp_path / "K").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"there", "K"}


def test_a_key_that_would_be_lost_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    twice = {Path("K"): made_up(), tmp_path / "K": made_up(seed=2)}
    with pytest.raises(ModelError, match="not all different files"):
        lock(tiny(), tmp_path / "L", twice)
    (tmp_path / "link").symlink_to("L")
    for inside in ("L", "L/K", "link/K"):
        with pytest.raises(ModelError, match="would lie in the locked folder"):
            lock(tiny(), tmp_path / "L", {Path(inside): made_up()})
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize("step", ["save_plain", "write_key", "_restored"])
def test_a_lock_that_fails_leaves_nothing(step, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(locks, step, fail)
    with pytest.raises(OSError, match="no"):
        lock(tiny(), tmp_path / "L", {tmp_path / "K.safetensors": made_up()})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_put_in_place_takes_the_key_with_it(tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    rename = Path.rename
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        lock(tiny(), tmp_path / "L", {tmp_path / "K.safetensors": made_up()})
    monkeypatch.setattr(Path, "rename", rename)
    assert not list(tmp_path.iterdir())


def test_the_model_itself_is_as_before(tmp_path) -> None:
    model = tiny()
    before = {name: value.clone() for name, value in plain_model(model).state_dict().items()}
    lock(model, tmp_path / "L", {tmp_path / "K.safetensors": made_up()})
    after = plain_model(model).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_key_is_for_its_owner_alone_and_the_folder_for_others_too(tmp_path) -> None:
    mask = os.umask(0o022)
    try:
        lock(tiny(), tmp_path / "L", {tmp_path / "K.safetensors": made_up()})
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"L": 0o755, "K.safetensors": 0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "L").iterdir()} == {0o644}


def test_gemma_is_refused_and_leaves_nothing(tmp_path) -> None:
    model = tiny_random_model("gemma3", n_layers=2)
    with pytest.raises(ModelError, match=r"gemma3.*ln1_post"):
        lock(model, tmp_path / "L", {tmp_path / "K.safetensors": made_up()})
    assert not list(tmp_path.iterdir())


@pytest.mark.real_model
def test_the_real_model_comes_back_bit_for_bit(tmp_path) -> None:
    model = load("smollm2-135m", dtype="bfloat16", device="cpu")
    key = tmp_path / "K.safetensors"
    lock(model, tmp_path / "L", {key: made_up(model.d_model)})
    unlock(tmp_path / "L", key, tmp_path / "U")
    original, found = saved(model, tmp_path / "M"), contents(tmp_path / "U")
    assert {name for name in original if original[name] != found.get(name)} == set()
    assert key.stat().st_size < 0.03 * len(original["model.safetensors"])
