"""Readers of users' files, and the contrast sets made of them."""

import os
from pathlib import Path

import pytest

from interp.data import prompt_sets
from interp.data.prompt_files import contrast_from_files, read_prompts
from interp.errors import DataError
from tests.made_up_texts import write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "first one\n\n  second, \u2028 one \r\nthird"),
        ("a.txt", "\ufefffirst one\nsecond, \u2028 one\nthird"),
        ("a.json", '["first one", "second, \u2028 one", "third"]'),
        ("a.json", '[{"text": "first one"}, {"text": "second, \u2028 one"}, {"text": "third"}]'),
        ("a.jsonl", '"first one"\n\n{"prompt": "second, \u2028 one"}\n"third"\n'),
        ("a.jsonl", '{"instruction": "first one", "text": "no"}\n"second, \u2028 one"\n"third"'),
        ("a.CSV", 'id,prompt\n1,first one\n2,"second, \u2028 one"\n3,third\n'),
    ],
)
def test_each_kind_of_file_is_read(tmp_path, name, content):
    if name == "a.jsonl" and content.startswith('"'):
        with pytest.raises(DataError, match=r"line 3: no field 'instruction' or"):
            read_prompts(write(tmp_path, name, content.replace("prompt", "question")))
    path = write(tmp_path, name, content)
    field = "prompt" if content.startswith('"first') else None
    assert read_prompts(path, field) == ("first one", "second, \u2028 one", "third")


def test_the_field_can_be_named(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,goal\nno,yes\n")
    assert read_prompts(path, "goal") == ("yes",)


def test_a_quoted_cell_may_span_lines(tmp_path):
    path = write(tmp_path, "a.csv", 'prompt\n"two\nlines"\nshort\n')
    assert read_prompts(path) == ("two\nlines", "short")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "a.txt is empty"),
        ("a.txt", " \n\n", "a.txt is empty"),
        ("a.json", "", "a.json is empty"),
        ("a.json", "[]", "a.json is empty"),
        ("a.csv", "prompt\n", "a.csv is empty"),
        ("a.json", '["a",\n "b"', "line 2: not valid JSON"),
        ("a.json", '{"prompts": []}', "expected a list of strings or of objects, found an object"),
        ("a.json", '["a", 3]', "entry 2: expected a text, found int"),
        ("a.jsonl", '"a"\n\n{"text": \n', "line 3: not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n{"txt": "b"}', "line 2: no field 'text'.* are: 'txt'"),
        ("a.jsonl", '{"q": "a", "id": 1}', "line 1: no field 'instruction' or .* are: 'q', 'id'"),
        ("a.jsonl", '{"text": null}', "line 1: expected a text, found null"),
        ("a.jsonl", '{"text": " "}', "line 1: the prompt is empty"),
        ("a.csv", "id,goal\n1,x\n", "line 2: no field 'instruction' or .* are: 'id', 'goal'"),
        ("a.csv", "id,text\n1,x\n2,y,z\n", "line 3: expected 2 columns"),
        ("a.csv", "id,text\n1\n", "line 2: expected 2 columns"),
        ("a.csv", 'text\n"never closed\n', "malformed CSV"),
        ("a.csv", "\nid,text\n1,x\n", "line 1: it is blank; expected the names of the columns"),
        ("a.csv", "text,,text,\na,,b,\n", "line 1: 2 columns are named 'text'; rename"),
        ("a.csv", "text\n" + "x" * 200_000, "line 2: malformed CSV: field larger .* as .jsonl"),
        ("a.csv", "t\0ext\na\n", "line 1: a NUL, so it is not UTF-8 text. Save it"),
        ("a.txt", "a\rb\rc\0", "line 3: a NUL"),
        ("a.json", '["a",\r\r 3 "b"]', "line 3: not valid JSON"),
        ("a.json", '["a", "b \\ud800"]', r"entry 2: the prompt holds U\+D800 .* Remove it"),
        ("a.jsonl", '"a"\n"\\u0000"', r"line 2: the prompt holds U\+0000 \(a NUL\)"),
        ("a.jsonl", '"a"\n' + "[" * 100_000, "line 2 on: lists or objects are nested too deeply"),
        ("a.json", '["a", ' + '{"a":' * 100_000, "nested too deeply; expected strings, or"),
        ("a.json", f'["a", {"9" * 5000}]', "entry 2: expected a text, found int"),
        ("a.json", '[{"' + "x" * 5000 + '": "a"}]', "Its fields are: 'x{100,199}\\."),
        ("a.parquet", "x", "unknown kind of file; give one of .txt"),
    ],
)
def test_bad_files_are_named_with_the_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_prompts(write(tmp_path, name, content))


def test_missing_and_undecodable_files(tmp_path):
    with pytest.raises(DataError, match=r"no file .*absent\.txt"):
        read_prompts(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="not UTF-8 text: byte 3"):
        read_prompts(tmp_path / "latin.txt")


def test_a_number_that_is_no_prompt_may_have_any_size(tmp_path):
    path = write(tmp_path, "a.json", f'[{{"text": "a", "id": {"9" * 5000}}}]')
    assert read_prompts(path) == ("a",)


def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.csv").symlink_to("nowhere")
    for name in ("folder.json", "pipe.txt", "link.csv"):
        with pytest.raises(DataError, match=f"{name} is a folder, a device or a broken link"):
            read_prompts(tmp_path / name)
    for name in ("x" * 300 + ".txt", "~nobody_of_that_name/a.txt"):
        with pytest.raises(DataError, match="There is no file"):
            read_prompts(name)
    with pytest.raises(DataError, match=r"caf\\udce9.txt' holds U\+DCE9 .*Rename"):
        read_prompts("caf\udce9.txt")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="more than 1,073,741,824 bytes"):
        read_prompts(tmp_path / "large.txt")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(DataError, match=r"a\.txt cannot be read: Permission denied"):
        read_prompts(write(tmp_path, "a.txt", "a"))


def test_contrast_from_files(tmp_path):
    positive = write(tmp_path, "rude.txt", "a\nb")
    negative = write(tmp_path, "kind.json", '["c"]')
    contrast = contrast_from_files(positive, negative)
    assert (contrast.name, contrast.positive, contrast.negative) == (
        "rude-kind",
        ("a", "b"),
        ("c",),
    )
    assert contrast.sha256 != prompt_sets.contrast("x", ("a",), ("b", "c"), "").sha256


def test_contrast_needs_two_disjoint_classes(tmp_path):
    positive = write(tmp_path, "p.txt", "one\ntwo\nthree")
    same = write(tmp_path, "same.txt", "Three\n one\nTWO ")
    some = write(tmp_path, "some.txt", "four\n two \nfive")
    with pytest.raises(DataError, match="are the same 3 prompts"):
        contrast_from_files(positive, same)
    with pytest.raises(DataError, match=r"1 prompts are in both .* 'two'"):
        contrast_from_files(positive, some)
    with pytest.raises(DataError, match="Only one class: give a file of negative prompts"):
        contrast_from_files(positive, None)
    with pytest.raises(DataError, match="only one class: there are no positive"):
        prompt_sets.contrast("x", (), ("a",), "")
    with pytest.raises(DataError, match="2 positive and 1 negative in pairs"):
        prompt_sets.contrast("x", ("a", "b"), ("c",), "", paired=True)
