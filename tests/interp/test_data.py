"""Contrast sets, readers of users' files, near-duplicates, and splits that nothing crosses."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from interp import data
from interp.errors import DataError

WORDS = [f"{a}{b}{c}" for a in "bdfglm" for b in "aeiou" for c in "nrstx"]


def sentences(n: int, seed: int, n_words: int = 6) -> list[str]:
    """Distinct sentences of random words: hardly any two are near-duplicates."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, n_words)) + f" number{seed}x{i}" for i in range(n)]


def with_twins(texts: list[str], copies: int) -> list[str]:
    """Each text, followed by variants that differ in the last word."""
    return [f"{text} variant{k}" for text in texts for k in range(copies)]


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------ users' files


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
            data.read_prompts(write(tmp_path, name, content.replace("prompt", "question")))
    path = write(tmp_path, name, content)
    field = "prompt" if content.startswith('"first') else None
    assert data.read_prompts(path, field) == ("first one", "second, \u2028 one", "third")


def test_the_field_can_be_named(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,goal\nno,yes\n")
    assert data.read_prompts(path, "goal") == ("yes",)


def test_a_quoted_cell_may_span_lines(tmp_path):
    path = write(tmp_path, "a.csv", 'prompt\n"two\nlines"\nshort\n')
    assert data.read_prompts(path) == ("two\nlines", "short")


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
        ("a.jsonl", '{"text": "a"}\n{"txt": "b"}', "line 2: no field 'text'. Its fields are: txt"),
        ("a.jsonl", '{"q": "a", "id": 1}', "line 1: no field 'instruction' or .* are: q, id"),
        ("a.jsonl", '{"text": null}', "line 1: expected a text, found null"),
        ("a.jsonl", '{"text": " "}', "line 1: the prompt is empty"),
        ("a.csv", "id,goal\n1,x\n", "line 2: no field 'instruction' or .* are: id, goal"),
        ("a.csv", "id,text\n1,x\n2,y,z\n", "line 3: expected 2 columns"),
        ("a.csv", "id,text\n1\n", "line 2: expected 2 columns"),
        ("a.csv", 'text\n"never closed\n', "malformed CSV"),
        ("a.parquet", "x", "unknown kind of file; give one of .txt"),
    ],
)
def test_bad_files_are_named_with_the_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        data.read_prompts(write(tmp_path, name, content))


def test_missing_and_undecodable_files(tmp_path):
    with pytest.raises(DataError, match=r"no file .*absent\.txt"):
        data.read_prompts(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="not UTF-8 text: byte 3"):
        data.read_prompts(tmp_path / "latin.txt")


def test_contrast_from_files(tmp_path):
    positive = write(tmp_path, "rude.txt", "a\nb")
    negative = write(tmp_path, "kind.json", '["c"]')
    contrast = data.contrast_from_files(positive, negative)
    assert (contrast.name, contrast.positive, contrast.negative) == (
        "rude-kind",
        ("a", "b"),
        ("c",),
    )
    assert contrast.sha256 != data.contrast("x", ("a",), ("b", "c"), "").sha256


def test_contrast_needs_two_disjoint_classes(tmp_path):
    positive = write(tmp_path, "p.txt", "one\ntwo\nthree")
    same = write(tmp_path, "same.txt", "Three\n one\nTWO ")
    some = write(tmp_path, "some.txt", "four\n two \nfive")
    with pytest.raises(DataError, match="are the same 3 prompts"):
        data.contrast_from_files(positive, same)
    with pytest.raises(DataError, match=r"1 prompts are in both .* 'two'"):
        data.contrast_from_files(positive, some)
    with pytest.raises(DataError, match="Only one class: give a file of negative prompts"):
        data.contrast_from_files(positive, None)
    with pytest.raises(DataError, match="only one class: there are no positive"):
        data.contrast("x", (), ("a",), "")
    with pytest.raises(DataError, match="2 positive and 1 negative in pairs"):
        data.contrast("x", ("a", "b"), ("c",), "", paired=True)


# --------------------------------------------------------------------------------- near-duplicates


def test_clusters_are_connected_components():
    texts = ["red green blue", "grey", "red green blue gold", "green blue gold pink", "grey"]
    labels = data.near_duplicate_clusters(texts)
    cosine = TfidfVectorizer().fit_transform(texts)
    cosine = (cosine @ cosine.T).toarray()
    assert cosine[0, 3] < 0.6 < min(cosine[0, 2], cosine[2, 3])  # joined by a chain only
    assert labels[0] == labels[2] == labels[3] != labels[1] == labels[4]


def test_clusters_do_not_depend_on_order_or_blocks(monkeypatch):
    texts = with_twins(sentences(20, 0), 3)
    labels = data.near_duplicate_clusters(texts)
    assert len(set(labels)) == 20
    monkeypatch.setattr(data, "_SIMILARITY_ROWS", 7)
    order = np.random.default_rng(0).permutation(len(texts))
    permuted = data.near_duplicate_clusters([texts[i] for i in order])
    same = labels[:, None] == labels[None, :]
    assert (same[np.ix_(order, order)] == (permuted[:, None] == permuted[None, :])).all()


def test_clusters_of_texts_without_words():
    assert data.near_duplicate_clusters([]).shape == (0,)
    labels = data.near_duplicate_clusters(["!!", "??", "!!"])
    assert labels[0] == labels[2] != labels[1]


def test_one_per_cluster_is_drawn_with_the_seed():
    texts = with_twins(sentences(15, 1), 4)
    twins = data.text_set("x", texts, "", data.near_duplicate_clusters(texts))
    drawn = [data.one_per_cluster(twins, seed) for seed in (0, 0, 1)]
    assert len(drawn[0]) == 15
    assert len(set(drawn[0].clusters.tolist())) == 15
    assert drawn[0] == drawn[1] != drawn[2]
    positions = [texts.index(text) for text in drawn[0].texts]
    assert positions == sorted(positions)


def test_test_texts_close_to_training_texts_can_be_left_out():
    base = sentences(10, 2)
    texts = data.text_set("x", base, "")
    kept = data.without_near_duplicates(texts, with_twins(base[:3], 1))
    assert kept.texts == tuple(base[3:])
    assert data.without_near_duplicates(texts, ()) == texts


# ------------------------------------------------------------------------------------------ splits


def parts(splits: data.Splits) -> list[data.Split]:
    return [splits.train, splits.validation, splits.test]


def make_contrast(n: int, copies: int = 1, seed: int = 0) -> data.ContrastSet:
    positive = with_twins(sentences(n, 2 * seed), copies)
    negative = with_twins(sentences(n, 2 * seed + 1), copies)
    return data.contrast("made", positive, negative, "")


def test_split_is_a_partition_with_the_asked_fractions():
    contrast = make_contrast(100)
    splits = data.split(contrast, seed=0)
    assert [len(part.positive) for part in parts(splits)] == [50, 20, 30]
    assert [len(part.negative) for part in parts(splits)] == [50, 20, 30]
    assert sorted(t for part in parts(splits) for t in part.positive) == sorted(contrast.positive)
    assert sorted(t for part in parts(splits) for t in part.negative) == sorted(contrast.negative)


def test_split_is_drawn_with_the_seed():
    contrast = make_contrast(40)
    assert data.split(contrast, seed=1) == data.split(contrast, seed=1)
    assert data.split(contrast, seed=1).test != data.split(contrast, seed=2).test


@given(
    n=st.integers(10, 40),
    copies=st.integers(1, 4),
    seed=st.integers(0, 1000),
    fractions=st.sampled_from([(0.5, 0.2, 0.3), (0.6, 0.2, 0.2), (0.34, 0.33, 0.33)]),
)
def test_no_near_duplicate_crosses_the_splits(n, copies, seed, fractions):
    contrast = make_contrast(n, copies, seed)
    splits = parts(data.split(contrast, seed, fractions))
    texts = [t for part in splits for t in (*part.positive, *part.negative)]
    split_of = np.repeat(range(3), [len(p.positive) + len(p.negative) for p in splits])
    vectors = TfidfVectorizer().fit_transform(texts)
    close = (vectors @ vectors.T).toarray() > 0.6
    assert not close[split_of[:, None] != split_of[None, :]].any()
    for part, fraction in zip(splits, fractions, strict=True):
        assert abs(len(part.positive) - fraction * n * copies) <= copies
        assert abs(len(part.negative) - fraction * n * copies) <= copies


def test_near_duplicates_across_the_classes_stay_together():
    base = sentences(30, 5)
    contrast = data.contrast("x", [f"{t} kindly" for t in base], [f"{t} rudely" for t in base], "")
    for part in parts(data.split(contrast, seed=0)):
        stems = [{text.rsplit(" ", 1)[0] for text in c} for c in (part.positive, part.negative)]
        assert stems[0] == stems[1]


def test_pairs_stay_together_and_aligned():
    positive, negative = sentences(30, 6), sentences(30, 7)
    partner = dict(zip(positive, negative, strict=True))
    contrast = data.contrast("x", positive, negative, "", paired=True)
    for part in parts(data.split(contrast, seed=3)):
        assert [partner[text] for text in part.positive] == list(part.negative)


def test_unequal_classes_are_split_each_by_the_fractions():
    contrast = data.contrast("x", sentences(100, 8), sentences(10, 9), "")
    splits = parts(data.split(contrast, seed=0))
    assert [len(part.positive) for part in splits] == [50, 20, 30]
    assert [len(part.negative) for part in splits] == [5, 2, 3]


def test_split_refuses_what_cannot_be_split():
    with pytest.raises(DataError, match=r"9 negative prompts are too few.* at least 10"):
        data.split(data.contrast("x", sentences(20, 0), sentences(9, 1), ""), seed=0)
    alike = data.contrast("x", sentences(1, 0) * 20, sentences(10, 1), "")
    with pytest.raises(DataError, match=r"near-duplicates of each other.*\(11 clusters\)"):
        data.split(alike, seed=0)
    for fractions in [(0.5, 0.2, 0.2), (1.0, 0.0, 0.0)]:
        with pytest.raises(DataError, match="must be positive and sum to 1"):
            data.split(make_contrast(20), 0, fractions)


# --------------------------------------------------------------------------------- registered sets


def test_literals_are_read_and_never_run():
    source = (
        "import nothing.of.the.kind\n"
        "raise SystemExit\n"
        "ROWS: list[tuple[str, str]] = [('a' 'b', 'c')]\n"
        "TABLE = {Kind.CARE: [('x', 'y')]}\n"
        "CALL = print('run')\n"
    )
    assert data.read_literal(source, "ROWS") == [("ab", "c")]
    assert data.read_literal(source, "TABLE") == {"CARE": [("x", "y")]}
    with pytest.raises(DataError, match="cannot be read as a literal"):
        data.read_literal(source, "CALL")
    with pytest.raises(DataError, match="no variable OTHER"):
        data.read_literal(source, "OTHER")
    with pytest.raises(DataError, match="cannot be read as a literal"):
        data.read_literal("ROWS = [", "ROWS")


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


def test_list_of_data_says_what_is_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    rows = {row.name: row for row in data.list_data()}
    assert not any(row.cached for row in rows.values())
    assert rows["refusal"].licence == "MIT"
    assert rows["boolq"].bytes == 85_644_377
    for member in data.data_asset("refusal").members:
        path = tmp_path / "data" / "refusal" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert {row.name for row in data.list_data() if row.cached} == {"refusal"}
