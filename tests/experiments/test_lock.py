"""`interp lock` and `unlock`: what they write and say, and one clear line for each mistake."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from experiments.command.main import main
from interp.assets.tiny import tiny_huggingface
from interp.directions import direction_from, save_directions


@pytest.fixture
def found(tmp_path: Path) -> str:
    """A folder with a direction as wide as the tiny model."""
    vector = torch.randn(32, generator=torch.Generator().manual_seed(1))
    save_directions(tmp_path / "D" / "direction.safetensors", [direction_from(vector, "made_up")])
    return str(tmp_path / "D")


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """Flags that say where a lock goes."""
    return ["--out", str(tmp_path / "L"), "--key", str(tmp_path / "K.safetensors")]


def own_model(folder: Path, dtype: torch.dtype) -> Path:
    hf_model, tokenizer = tiny_huggingface("qwen2", n_layers=2, tied=True, dtype=dtype)
    hf_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_is_locked_and_unlocked(dtype, found, places, tmp_path, capsys) -> None:
    source = own_model(tmp_path / "M", dtype)
    assert main(["lock", str(source), "--direction", found, *places]) == 0
    wrote, key, use = capsys.readouterr().out.splitlines()
    assert wrote.startswith(f"Wrote: {tmp_path / 'L'} (") and "without the direction" in wrote
    assert "% of the model)" in key and str(tmp_path / "K.safetensors") in key
    assert main([*use.split()[2:6], "--out", str(tmp_path / "U")]) == 0
    assert "every weight as it was" in capsys.readouterr().out
    weights = [tmp_path / name / "model.safetensors" for name in ("M", "U", "L")]
    original, unlocked, locked = (path.read_bytes() for path in weights)
    assert unlocked == original
    assert locked != original
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "L").dtype == dtype


def test_two_keys_open_two_locks_apart(found, tmp_path, capsys) -> None:
    other = direction_from(torch.arange(32.0), "made_up")
    save_directions(tmp_path / "second.safetensors", [other])
    source, keys = own_model(tmp_path / "M", torch.float32), [str(tmp_path / k) for k in "AB"]
    second = str(tmp_path / "second.safetensors")
    told = ["--direction", found, "--key", keys[0], "--direction", second, "--key", keys[1]]
    assert main(["lock", str(source), *told, "--out", str(tmp_path / "L")]) == 0
    assert "without the directions" in capsys.readouterr().out
    for key, before, after in ((keys[1], "L", "half"), (keys[0], "half", "U")):
        folders = str(tmp_path / before), "--out", str(tmp_path / after)
        assert main(["unlock", *folders, "--key", key]) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("M", "U")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tiny-random", "--key", "A", "--key", "B"], "1 directions and 2 keys"),
        (["tiny-random", "--direction", "absent"], "/absent. Expected a .safetensors"),
        (["tiny-rnadom"], "'tiny-rnadom' is not a registered model"),
        (["tiny-random", "--key", "OUT/key"], "would lie in the locked folder"),
        (["tiny-random", "--out", "THERE"], "is there already, and is left alone"),
        (["tiny-random", "--key", "THERE"], "is there already, and is left alone"),
        (["tiny-random", "--kye", "x"], "did you mean '--key'"),
        ([], "MODEL"),
        (["gemma3-270m"], "The direction has 32 numbers, but gemma3-270m is 640 wide"),
    ],
)
def test_each_mistake_is_one_clear_line(words, expected, found, places, tmp_path, capsys) -> None:
    told = {"OUT/key": str(tmp_path / "L" / "key"), "THERE": found}
    words = [told.get(word, word) for word in words]
    usual = {"--direction": found} | dict(zip(places[::2], places[1::2], strict=True))
    usual = [part for flag, value in usual.items() if flag not in words for part in (flag, value)]
    assert main(["lock", *usual, *words]) == 2
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.err.count("\n") == 1 and shown.out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"D"}


def test_one_file_for_two_keys_is_refused(found, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ["--key", "K", "--key", str(tmp_path / "K")]
    words = ["tiny-random", "--direction", found, "--direction", found, "--out", "L", *keys]
    assert main(["lock", *words]) == 2
    assert "are not all different files" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"D"}


def test_a_folder_where_none_was_found_says_so(places, tmp_path, capsys) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "report.md").write_text("none found")
    words = ["tiny-random", "--direction", str(tmp_path / "none"), *places]
    assert main(["lock", *words]) == 2
    assert "No direction was found for this behaviour: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dtypes", "shown"),
    [((torch.float16,) * 2, "F16"), ((torch.float32, torch.bfloat16), "BF16, F32")],
)
def test_weights_that_loading_converts_are_refused(
    dtypes, shown, found, places, tmp_path, capsys
) -> None:
    source = own_model(tmp_path / "M", torch.float32)
    tensors = {f"{i}": torch.zeros(2, dtype=dtype) for i, dtype in enumerate(dtypes)}
    save_file(tensors, source / "model.safetensors")
    assert main(["lock", str(source), "--direction", found, *places]) == 2
    assert f"holds weights in {shown}. A lock gives back" in capsys.readouterr().err
    assert not (tmp_path / "L").exists()


def test_an_unlock_that_cannot_be_done_writes_nothing(found, places, tmp_path, capsys) -> None:
    assert main(["lock", "tiny-random", "--direction", found, *places]) == 0
    capsys.readouterr()
    out = ["--out", str(tmp_path / "U")]
    file = str(tmp_path / "D" / "direction.safetensors")
    for folder, key, reason in (
        ("L", file, "is no key"),
        ("L", "absent", "cannot be read as a key"),
        ("D", str(tmp_path / "K.safetensors"), "cannot be read"),
        ("absent", str(tmp_path / "K.safetensors"), "cannot be read"),
    ):
        assert main(["unlock", str(tmp_path / folder), "--key", key, *out]) == 2
        assert reason in (error := capsys.readouterr().err)
        assert error.count("\n") == 1
    assert not (tmp_path / "U").exists()
