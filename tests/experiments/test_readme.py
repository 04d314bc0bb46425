"""What the README shows works: its example runs, its paths exist, its markers stand."""

import re
from pathlib import Path
from typing import Any

import pytest

from experiments.command.report import BEGIN, END, refresh_readme
from interp.sites import Site

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_of_the_library_works(tiny_model, monkeypatch, capsys) -> None:
    (shown,) = code_blocks()
    monkeypatch.setattr("interp.models.load", lambda name: tiny_model)
    names: dict[str, Any] = {}
    exec(shown.replace("17.mid", "2.mid"), names)
    assert names["refusal"].site == Site(2, "mid")
    assert names["logits"].shape[-1] == len(tiny_model.tokenizer)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert links
    assert not missing


@pytest.mark.parametrize("text", ["no markers", f"a {BEGIN} old {END} b"])
def test_verdicts_replace_only_what_stands_between_the_markers(text: str, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    changed = refresh_readme(readme, tmp_path / "results")
    assert changed == (BEGIN in text)
    found = readme.read_text()
    assert found == text if not changed else found.startswith("a ") and found.endswith(" b")
    assert "old" not in found
