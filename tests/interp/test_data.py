"""The registered data sets, read from files that stand in for the cache."""

import json
from pathlib import Path

import pytest

from interp.data import sets as data
from interp.data.prompt_sets import TextSet
from interp.errors import DataError
from tests.made_up_texts import write


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """Stands in for the cache: a member is the file of that name in the folder."""
    fetch = lambda name, member, offline=False: tmp_path / Path(member).name  # noqa: E731
    monkeypatch.setattr(data, "fetch_data_file", fetch)
    return tmp_path


def test_refusal_set_is_harmful_against_harmless(files):
    write(files, "harmful_probes.txt", "bad\nworse\n")
    write(files, "harmless_probes.txt", "good\n")
    contrast = data.contrast_set()
    assert (contrast.positive, contrast.negative) == (("bad", "worse"), ("good",))
    assert contrast.licence == "MIT"
    assert not contrast.paired


def test_twins_are_violating_against_following(files):
    write(files, "request_twins.py", "REQUEST_TWINS = [('f', 'nice 1', 'nasty 1')]")
    write(files, "request_twins_w4.py", "REQUEST_TWINS_W4 = [('f', 'so ', 'nice 2', 'nasty 2')]")
    write(files, "boundary_twins.py", "BOUNDARY_TWINS = [('f', 'a', 'nice 3', 'nasty 3')]")
    write(files, "severity_twins.py", "SEVERITY_TWINS = [('f', 1, 'nice 4', 'nasty 4')]")
    contrast = data.contrast_set("twins")
    assert contrast.positive == ("nasty 1", "so nasty 2", "nasty 3", "nasty 4")
    assert contrast.negative == ("nice 1", "so nice 2", "nice 3", "nice 4")
    assert contrast.paired


def test_choice_pairs_are_read_once_each(files):
    rows = [{"positive": "q (A)", "negative": "q (B)"}] * 2
    write(files, "survival-instinct.json", json.dumps(rows))
    contrast = data.contrast_set("survival_instinct")
    assert (contrast.positive, contrast.negative) == (("q (A)",), ("q (B)",))


def test_unknown_contrast_set_lists_the_known():
    with pytest.raises(DataError, match=r"No contrast set 'x'.*refusal, twins"):
        data.contrast_set("x")


def test_responses_keep_hash_lines_inside_cells(files):
    header = "objective,assistant_response,human_score,data_type\n"
    write(files, "refusal.csv", f'# dataset_version=1\n{header}p,"a\n# b",1,text\n')
    write(files, "refusal_extra.csv", f"# one\n# two\n{header}q,c,0,text\n")
    assert data.refusal_responses() == (("p", "a\n# b", True), ("q", "c", False))


def test_text_sets_are_read(files):
    write(files, "adv_bench.prompt", "seeds:\n- value: 'do: it'\n- value: do that\n")
    write(files, "summaries_en-us.json", json.dumps({"T": {"title": "T", "extract": "Lead."}}))
    write(files, "tasks.json", '["write", "tell"]')
    write(files, "refusal_markers.txt", "i cannot\ni can't\n")
    assert data.advbench().texts == ("do: it", "do that")
    assert data.wikipedia().texts == ("Lead.",)
    assert data.tasks().texts == ("write", "tell")
    assert data.refusal_markers() == ("i cannot", "i can't")


def test_any_set_is_loaded_by_its_name(files):
    write(files, "adv_bench.prompt", "seeds:\n- value: 'do: it'\n- value: do that\n")
    found = data.load_set("advbench")
    assert isinstance(found, TextSet) and found.texts == ("do: it", "do that")
    with pytest.raises(DataError, match="did you mean 'advbench'"):
        data.load_set("advbenhc")
    assert set(data.CONTRAST_SETS) < set(data.SETS)
