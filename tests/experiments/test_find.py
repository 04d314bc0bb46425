"""A direction for a behaviour: found where one is planted, and none where there is nothing."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.command.main import main
from experiments.lab.lab import Lab
from experiments.lab.planted_model import Design, planted_lab
from interp.data.prompt_sets import contrast, text_set
from interp.directions import load_directions

protocol = importlib.import_module("experiments.finding.protocol")
CONFIG = protocol.Config(
    n_sites=2, n_train=24, n_validation=6, n_test=6, n_nulls=3, n_reextractions=1, n_text=2
)
FIND = ("find", "--preset", "smoke")


def measured(lab: Lab):
    return importlib.import_module("experiments.finding.run").run(CONFIG, lab)


def halves(lab: Lab, seed: int) -> Lab:
    """The same model with two random halves of one class in place of the classes."""
    order = np.random.default_rng(seed).permutation(len(lab.contrast.positive))
    texts = [lab.contrast.positive[i] for i in order]
    half = len(texts) // 2
    return Lab(
        model=lab.model, contrast=contrast("halves", texts[:half], texts[half:], ""),
        harmful_test=lab.harmful_test, harmless_test=lab.harmless_test,
        text=text_set("text", lab.text, ""), seed=seed, style=lab.style,
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_direction_is_found_and_left_beside_the_result(seed) -> None:
    lab = planted_lab(Design(), seed)
    result = measured(lab)
    assert protocol.found(result.by_name())
    assert lab.directions["direction"].provenance["behaviour"] == "refusal"
    assert result["test.effect"].value > 5
    chosen = result.tables["candidates"].query("chosen")
    assert len(chosen) == 1
    assert chosen.effect.item() == pytest.approx((chosen.removed + chosen.brought).item() / 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_none_is_found_in_two_halves_of_one_set(seed) -> None:
    lab = halves(planted_lab(Design(), seed), seed)
    result = measured(lab)
    assert not protocol.found(result.by_name())
    assert not lab.directions
    assert result.observation.startswith("No direction for refusal was found")


def test_none_is_found_where_nothing_is_refused() -> None:
    assert not protocol.found(measured(planted_lab(Design(strength=0.0))).by_name())


def test_numbers_follow_from_the_prompts(capsys) -> None:
    result = measured(planted_lab(Design()))
    real = result.tables["prompts"].query("family == 'real' and draw == 0")
    by_edit = real.groupby("edit").value.mean()
    for edit in ("removed", "brought"):
        assert result[f"test.{edit}"].value == pytest.approx(by_edit[edit])
    assert result["test.effect"].value == pytest.approx(by_edit.mean())


@pytest.mark.parametrize(
    "change",
    [
        {"selection.p": {"p": 0.2}},
        {"test.effect": {"value": 0.1, "low": 0.05}},
        {"test.effect": {"low": 0.4}},
        {"test.removed": {"value": -0.1}},
        {"test.brought": {"value": -0.1}},
        {"text.kl": {"value": 1.5}},
    ],
)
def test_every_part_of_the_rule_is_needed(change) -> None:
    from dataclasses import replace

    e = dict(measured(planted_lab(Design())).by_name())
    assert protocol.found(e)
    assert not protocol.found(e | {k: replace(e[k], **v) for k, v in change.items()})


def test_the_command_writes_a_page_and_keeps_what_is_unchanged(tmp_path, capsys) -> None:
    out = tmp_path / "found"
    words = [*FIND, "--behaviour", "sentiment", "--out", str(out)]
    assert main(words) == 0
    page = (out / "report.md").read_text()
    said = page
    for name in ("candidates", "doses"):
        said = said.replace(f"![{name}]({name}.png)", f"Figure: {out / name}.png")
    assert capsys.readouterr().out == said != page
    assert page.startswith("# sentiment in tiny-random")
    names = set(json.loads((out / "result.json").read_text())["config"])
    assert "behaviour" in names
    assert {path.name for path in out.iterdir()} >= {"candidates.png", "doses.png", "prompts.csv"}
    has = "direction.safetensors" in {path.name for path in out.iterdir()}
    assert has == ("A direction for" in page)
    if has:
        assert load_directions(out / "direction.safetensors")
    before = (out / "result.json").stat().st_mtime_ns
    assert main(words) == 0
    assert (out / "result.json").stat().st_mtime_ns == before


def test_openings_of_ones_own_count(tmp_path, capsys) -> None:
    for name, verb in (("a", "likes"), ("b", "hates")):
        lines = [f"Person {i} {verb} thing {i * 7 % 50} of {i % 11}." for i in range(40)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    path = tmp_path / "mine.yaml"
    text = "positive: a.txt\nnegative: b.txt\nstyle: none\nshows: [' good']\n"
    path.write_text(text)
    words = [*FIND, "--behaviour", str(path), "--out", str(tmp_path / "found")]
    values = []
    for openings in ("", "others: [' bad']\n"):
        path.write_text(text + openings)
        assert main(words) == 0
        content = json.loads((tmp_path / "found" / "result.json").read_text())
        values.append(content["estimates"][2]["value"])
    assert values[0] != values[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--behaviour", "sentimant"], "did you mean 'sentiment'"),
        (["--behaviour", "none.yaml"], "no file none.yaml"),
        (["--n-sites", "-1"], "n_sites is -1"),
        (["--style", "chat"], "style"),
        (["--modell", "x"], "--model"),
    ],
)
def test_wrong_input_gives_one_error(words, message, capsys, tmp_path: Path) -> None:
    assert main([*FIND, "--out", str(tmp_path / "x"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("out", [".", "file.txt"])
def test_what_is_no_result_of_find_is_left_alone(out, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "file.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert main([*FIND, "--behaviour", "sentiment", "--out", out]) == 2
    assert f"{(tmp_path / out).resolve()} holds other things" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "mine"


def test_an_out_below_the_home_folder_is_expanded(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").touch()
    words = [*FIND, "--behaviour", "sentiment", "--out=~/x"]
    assert main(words) == 2
    (tmp_path / "x" / "a").unlink()
    assert main(words) == 0
    assert (tmp_path / "x" / "report.md").is_file()
