"""`interp export`: what it writes and says, and one clear line for each mistake."""

from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file

from experiments.command.main import main
from interp.assets.tiny import TINY_SHA256
from interp.directions import Direction, direction_from, save_directions
from interp.sites import Site


def made_up(site: str | None = "2.mid", width: int = 32, **provenance: str) -> Direction:
    vector = torch.randn(width, generator=torch.Generator().manual_seed(1))
    place = Site.parse(site) if site else None
    return direction_from(vector, "made_up", place, provenance=provenance)


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """A folder with a direction of the tiny model."""
    direction = made_up(model="tiny-random", sha256=TINY_SHA256)
    save_directions(tmp_path / "found" / "direction.safetensors", [direction])
    return tmp_path / "found"


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("safetensors", "load_file"),
        ("gguf", "--control-vector"),
        ("peft", "PeftModel.from_pretrained"),
        ("hf", "AutoModelForCausalLM.from_pretrained"),
    ],
)
def test_says_what_it_wrote_and_how_to_use_it(kind, use, found, tmp_path, capsys) -> None:
    out = tmp_path / "made" / kind
    assert main(["export", str(found), "--to", kind, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = [out] if out.is_file() else list(out.iterdir())
    size = sum(path.stat().st_size for path in files)
    assert lines[0] == f"Wrote: {out} ({size:,} bytes)"
    assert use in lines[-1] and str(out) in lines[-1]
    assert len(lines) == (3 if kind == "gguf" else 2)
    assert [path.name for path in out.parent.iterdir()] == [kind]


def test_a_mid_site_is_said_to_be_written_where_the_block_ends(found, tmp_path, capsys) -> None:
    out = tmp_path / "d.gguf"
    file = found / "direction.safetensors"
    assert main(["export", str(file), "--to", "gguf", "--out", str(out)]) == 0
    assert "2.mid, after attention" in (shown := capsys.readouterr().out)
    assert "written at 2.post, so the MLP of block 2 does not see it" in shown
    assert [tensor.name for tensor in gguf.GGUFReader(out).tensors] == ["direction.2"]


def test_a_pre_site_needs_no_note(tmp_path, capsys) -> None:
    save_directions(tmp_path / "d.safetensors", [made_up("2.pre", model="tiny-random")])
    words = ["export", str(tmp_path / "d.safetensors"), "--to", "gguf"]
    assert main([*words, "--out", str(tmp_path / "d.gguf")]) == 0
    assert "Note" not in capsys.readouterr().out


def test_the_first_of_several_directions_is_taken(tmp_path) -> None:
    several = [made_up(seed) for seed in ("2.mid", "3.mid")]
    save_directions(tmp_path / "d.safetensors", several)
    out = tmp_path / "one.safetensors"
    assert (
        main(["export", str(tmp_path / "d.safetensors"), "--to", "safetensors", "--out", str(out)])
        == 0
    )
    assert torch.equal(load_file(out)["direction"], several[0].unit)


def test_other_weights_are_noted(tmp_path, capsys) -> None:
    direction = made_up("2.post", model="tiny-random", sha256="ab" * 32)
    save_directions(tmp_path / "d.safetensors", [direction])
    words = ["export", str(tmp_path / "d.safetensors"), "--to", "gguf"]
    assert main([*words, "--out", str(tmp_path / "d.gguf")]) == 0
    shown = capsys.readouterr().out
    assert f"of weights abababababab, and tiny-random has {TINY_SHA256[:12]}" in shown


@pytest.mark.parametrize(
    ("direction", "words", "expected"),
    [
        (None, ["--to", "hf"], "There is no direction at"),
        (made_up(), ["--to", "hf"], "does not say of which model it is. Give --model NAME"),
        (made_up(model="mine"), ["--to", "gguf"], "of 'mine', which is not a registered model"),
        (
            made_up(),
            ["--to", "gguf", "--model", "tiny-rnadom"],
            "'tiny-rnadom' is not a registered",
        ),
        (
            made_up(width=8, model="tiny-random"),
            ["--to", "peft"],
            "8 numbers, but tiny-random is 32",
        ),
        (made_up("9.mid", model="tiny-random"), ["--to", "hf"], "tiny-random has layers 0 to 3"),
        (made_up("0.pre", model="tiny-random"), ["--to", "gguf"], "end of block -1"),
        (made_up(None, model="tiny-random"), ["--to", "gguf"], "no site of its own"),
        (made_up(model="tiny-random"), ["--to", "gguff"], "invalid choice 'gguff'"),
        (made_up(model="tiny-random"), ["--to", "gguf", "--modell", "x"], "did you mean '--model'"),
    ],
)
def test_each_mistake_is_one_clear_line(direction, words, expected, tmp_path, capsys) -> None:
    file = tmp_path / "d.safetensors"
    if direction is not None:
        save_directions(file, [direction])
    out = tmp_path / "out"
    assert main(["export", str(file), "--out", str(out), *words]) == 2
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.err.count("\n") == 1 and shown.out == ""
    assert not out.exists()


def test_what_is_there_is_replaced_with_force_alone(found, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    words = ["export", str(found), "--to", "hf", "--out", str(out)]
    assert main(words) == 0
    (out / "old.txt").write_text("")
    assert main(words) == 2
    assert "is there already. Give another --out, or --force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert not (out / "old.txt").exists()


def test_force_leaves_other_folders_and_the_model_alone(found, tmp_path, capsys) -> None:
    model = tmp_path / "model"
    assert main(["export", str(found), "--to", "hf", "--out", str(model)]) == 0
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    other = ["--model", str(model), "--force", "--out"]
    for kind, out, reason in (
        ("hf", model, "is the model itself"),
        ("hf", found, "is not a folder with config.json"),
        ("peft", model, "is not a folder with adapter_config.json"),
        ("gguf", model, "is not a file"),
    ):
        assert main(["export", str(found), "--to", kind, *other, str(out)]) == 2
        assert reason in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_a_place_that_cannot_be_written_comes_first(found, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    words = ["export", str(found), "--to", "hf", "--model", "absent"]
    assert main([*words, "--out", str(tmp_path / "file" / "x")]) == 2
    assert "cannot be written" in capsys.readouterr().err
