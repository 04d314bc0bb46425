"""What the README shows works: its example runs, its paths exist, its markers stand."""

import json
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


def test_headline_numbers_follow_from_the_tables_beside_them(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(shown, names)
    found = {
        estimate["name"]: estimate["value"]
        for path in Path(names["full"]).glob("*/result.json")
        for estimate in json.loads(path.read_text())["estimates"]
    }
    assert len(names["check"]) >= 5
    for name, value in names["check"].items():
        assert value == pytest.approx(found[name.split()[1]], abs=1e-5), name


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
