"""`interp try`: two answers of a tiny model, a session on stdin, and one line for each mistake."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.text import Text

from experiments.command import try_edit
from experiments.command.main import main
from experiments.command.try_edit import Edit, edit_from, placement, show
from interp.directions import Direction, direction_from, save_directions
from interp.errors import ExperimentError
from interp.generation import answers
from interp.models import LoadedModel
from interp.prompts import tokenise
from interp.sites import Site

PROMPT = "Name a colour"


def made_up(site: str | None = "2.mid", seed: int = 1, model: str = "tiny-random") -> Direction:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    place = Site.parse(site) if site else None
    return direction_from(vector, "made_up", place, provenance={"model": model})


@pytest.fixture
def one(tmp_path: Path) -> str:
    """A file with one direction of the tiny model."""
    save_directions(tmp_path / "one.safetensors", [made_up()])
    return str(tmp_path / "one.safetensors")


@pytest.fixture
def two(tmp_path: Path) -> str:
    """A file with two directions of the tiny model."""
    save_directions(tmp_path / "two.safetensors", [made_up(), made_up(seed=2)])
    return str(tmp_path / "two.safetensors")


def expected_text(model: LoadedModel, edit: Edit) -> str:
    directions = [made_up(), made_up(seed=2)]
    plain, edited = (
        answers(model, [PROMPT], edits, max_new_tokens=8)[0]
        for edits in ([], [placement(edit, directions)])
    )
    assert plain != edited
    return f"--- model\n{plain}\n--- {edit.label}\n{edited}\n"


def plainly(text: str) -> str:
    """Text as a console without a terminal prints it: control characters are left out."""
    console = Console(file=(out := io.StringIO()), width=140)
    console.print(Text(text), soft_wrap=True, end="")
    return out.getvalue()


@pytest.mark.parametrize(
    ("flags", "edit"),
    [
        ([], Edit()),
        (["--ablate"], Edit()),
        (["--scale", "1.5"], Edit("scale", 1.5)),
        (["--scale", "-2"], Edit("scale", -2)),
        (["--scale=-0.5"], Edit("scale", -0.5)),
        (["--rotate", "120"], Edit("rotate", 120)),
    ],
)
def test_both_answers_are_shown(flags, edit, two, tiny_model, capsys) -> None:
    assert main(["try", two, "--prompt", PROMPT, "--tokens", "8", *flags]) == 0
    assert capsys.readouterr().out == plainly(expected_text(tiny_model, edit))


@pytest.mark.parametrize("given", [[], ["--style", "newline"]])
def test_prompts_are_in_the_style_of_the_direction_or_another(
    given, tmp_path, tiny_model, capsys
) -> None:
    direction = replace(made_up(), provenance={"model": "tiny-random", "style": "none"})
    save_directions(tmp_path / "d.safetensors", [direction])
    words = ["try", str(tmp_path / "d.safetensors"), "--prompt", PROMPT, "--tokens", "8", *given]
    assert main(words) == 0
    tokens = tokenise(tiny_model, [PROMPT], "newline" if given else "none")
    plain = answers(tiny_model, tokens, max_new_tokens=8)[0]
    assert capsys.readouterr().out.startswith(plainly(f"--- model\n{plain}\n"))


def test_edits_are_those_of_the_direction() -> None:
    first, second = made_up(), made_up(seed=2)
    h = torch.randn(3, 32)
    turned = placement(Edit("rotate", 90), [first, second])
    assert turned.sites is None
    assert (turned.intervention(h) @ first.unit).abs().max() < 1e-4
    added = placement(Edit("scale", -2), [first])
    assert added.sites == (Site(2, "mid"),)
    assert torch.allclose(added.intervention(h), h - 2 * first.vector)
    assert (placement(Edit(), [first]).intervention(h) @ first.unit).abs().max() < 1e-4


def test_a_terminal_shows_two_columns() -> None:
    console = Console(file=(out := io.StringIO()), force_terminal=True, width=60)
    show("one [red]word", "another word", Edit("scale", 2), console)
    rows = [line for line in out.getvalue().splitlines() if "another word" in line]
    assert len(rows) == 1 and "one [red]word" in rows[0]
    assert "scale 2" in out.getvalue()


def session(lines: list[str], file: str, monkeypatch, capsys) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert main(["try", file, "--tokens", "8"]) == 0
    return capsys.readouterr().out


def test_a_session_answers_changes_the_edit_and_ends(two, tiny_model, monkeypatch, capsys) -> None:
    lines = [PROMPT, "/scale 2", PROMPT, "/rotate 120", PROMPT, "/ablate", PROMPT, "", "not read"]
    shown = session(lines, two, monkeypatch, capsys)
    for edit in (Edit(), Edit("scale", 2), Edit("rotate", 120)):
        assert plainly(expected_text(tiny_model, edit)) in shown
    assert shown.count("--- model") == 4
    assert "not read" not in shown
    assert "scale 2 > " in shown


def test_mistakes_do_not_end_a_session(one, monkeypatch, capsys) -> None:
    lines = ["/scale x", "/scael 2", "/scale", "/rotate 700", "/rotate 120", "a\udcff", PROMPT]
    shown = session(lines, one, monkeypatch, capsys)  # ends with the file, as by Ctrl-D
    reasons = (
        "scale is 'x'; expected a number, at least -100, at most 100.",
        "'/scael 2' is no edit; did you mean '/scale'?",
        "scale is ''; expected",
        "rotate is 700.0; expected a number, at least -360, at most 360",
        "A turn needs a plane",
        "Prompt 0 ('a\\udcff') holds",
    )
    found = [line for line in shown.splitlines() if "error: " in line]
    assert len(found) == len(reasons)
    assert all(reason in line for reason, line in zip(reasons, found, strict=True))
    assert shown.count("--- ablate") == 1


def test_ctrl_c_ends_a_session(one, monkeypatch, capsys) -> None:
    def interrupt(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    assert main(["try", one]) == 0
    assert "What was measured" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--ablate", "--scale", "2"], "--ablate and --scale are different edits"),
        (["--scale", "1", "--rotate", "9"], "--scale and --rotate are different edits"),
        (["--rotate", "120"], "A turn needs a plane: this file holds one direction"),
        (["--scale", "x"], "scale is 'x'; expected None or a number, at least -100"),
        (["--scale", "nan"], "scale is nan; expected"),
        (["--scale", "101"], "at most 100"),
        (["--rotate", "361"], "at most 360"),
        (["--tokens", "0"], "tokens is 0; expected a whole number, at least 1"),
        (["--model", "tiny-rnadom"], "'tiny-rnadom' is not a registered model"),
        (["--scael", "2"], "did you mean '--scale'"),
        (["--prompt", " "], "The prompt is empty. Give --prompt a text"),
    ],
)
def test_each_mistake_is_one_clear_line_before_a_model_is_loaded(
    words, expected, one, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("interp.models.load", lambda *_, **__: pytest.fail("loaded"))
    assert main(["try", one, "--prompt", PROMPT, *words]) == 2
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.err.count("\n") == 1 and shown.out == ""


def test_a_direction_without_a_site_cannot_be_added(tmp_path, capsys) -> None:
    save_directions(tmp_path / "d.safetensors", [made_up(site=None)])
    assert main(["try", str(tmp_path / "d.safetensors"), "--prompt", "x", "--scale", "1"]) == 2
    assert "no site of its own" in capsys.readouterr().err


def test_lines_that_are_edits() -> None:
    assert edit_from("/scale  -2") == Edit("scale", -2.0)
    assert edit_from("/ablate") == Edit()
    with pytest.raises(ExperimentError, match="'/ablate 3' is no edit"):
        edit_from("/ablate 3")
    with pytest.raises(ExperimentError, match="is no edit"):
        edit_from("/")
    assert try_edit.Edit("rotate", 120.0).label == "rotate 120"
