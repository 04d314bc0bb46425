"""Refusal odds and KL under every way to steer and to undo; of a prompt its hash is kept."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.scale import mean_differences
from experiments.lab.selection import Source, candidate_sites
from interp.directions import Direction, mean_difference
from interp.models import LoadedModel
from interp.scores import kl_divergence

from .protocol import LENGTHS, Config
from .sentences import COUNTERS, NEUTRAL, STEERING

BASELINE = "neutral"  # name of the sentence that does not steer
TEXT_TOKENS = 48
Name = tuple[str, str, str]  # split, first sentence, what stands between it and the question


@dataclass(frozen=True, eq=False)
class Halves:
    """The difference of the class means at one site, from either half of the train prompts."""

    vector: Source
    counter: Source

    @property
    def site(self) -> str:
        """Where both are from, and are added."""
        return str(self.vector.direction.site)

    def drawn(self, n: int, lab: Lab) -> list[tuple[Direction, Direction]]:
        """Vector and counter-vector, and `n` such pairs from resampled train prompts."""
        rng = lab.rng(f"13.again.{self.site}")
        again = [reextracted(half, n, rng) for half in (self.vector, self.counter)]
        return [(self.vector.direction, self.counter.direction), *zip(*again, strict=True)]


def halves_of(lab: Lab, config: Config) -> list[Halves]:
    """Both differences at every candidate site."""
    sites = candidate_sites(lab, config.n_sites or None)
    return [Halves(half(s, 0), half(s, 1)) for s in mean_differences(lab, sites, config.n_train)]


def half(source: Source, first: int) -> Source:
    """The difference from every second prompt of each class."""
    classes = source.positive[first::2], source.negative[first::2]
    where = source.direction.site, source.direction.position
    return Source(mean_difference(*classes, *where), *classes)


def fillers(model: LoadedModel, texts: Sequence[str], n: int) -> list[list[str]]:
    """`n` stretches of ordinary text, each cut to every one of LENGTHS (tokens)."""
    starts = [i * len(texts) // n for i in range(n)]
    return [[cut(model, [*texts[s:], *texts[:s]], m) for m in LENGTHS] for s in starts]


def cut(model: LoadedModel, texts: Sequence[str], n_tokens: int) -> str:
    """The first tokens of some texts in a row, begun again where they do not last."""
    found = ""
    while True:
        for text in texts:
            found = f"{found} {text}".strip()
            ends = model.tokenizer(found, add_special_tokens=False, return_offsets_mapping=True)
            if len(ends["offset_mapping"]) >= n_tokens:
                return found[: ends["offset_mapping"][n_tokens - 1][1]]


def between(lab: Lab, config: Config) -> dict[str, str]:
    """What may stand between the first sentence and the question, by name."""
    text = lab.text
    some = [text[int(i)] for i in lab.rng("13.text").permutation(len(text))[:200]]
    found = {"none": ""}
    found |= {f"counter_prompt {i}": text for i, text in enumerate(COUNTERS[: config.n_counters])}
    for i, lengths in enumerate(fillers(lab.model, some, config.n_fillers)):
        found |= {f"filler {m} {i}": text for m, text in zip(LENGTHS, lengths, strict=True)}
    return found


def meter_for(lab: Lab, config: Config) -> Meter:
    """Harmless validation and test questions, behind every first sentence and what may follow."""
    test = lab.harmless_test.texts
    rows = lab.rng("13.test").permutation(len(test))[: config.n_test]
    splits = {
        "validation": lab.splits.validation.negative[: config.n_validation],
        "test": tuple(test[int(row)] for row in rows),
    }
    first = {BASELINE: NEUTRAL} | {f"steering {i}": text for i, text in enumerate(STEERING)}
    prompts = {
        key((split, lead, name)): tuple(
            "\n\n".join(filter(None, (sentence, text, q))) for q in asked
        )
        for split, asked in splits.items()
        for lead, sentence in first.items()
        for name, text in between(lab, config).items()
    }
    text = [lab.text[int(i)] for i in lab.rng("13.damage").permutation(len(lab.text))]
    return Meter(lab, prompts, Passages(lab.model, tuple(text[: config.n_text]), TEXT_TOKENS))


def key(name: Name) -> str:
    """Of a set of prompts, as the meter knows it."""
    return "/".join(name)


@dataclass(frozen=True)
class Reading:
    """Refusal odds, and KL(base || steered) of the next token, per question, in nats."""

    odds: np.ndarray
    kl: np.ndarray


def with_edit(meter: Meter, name: Name, edit: Edit = BASE) -> Reading:
    """Questions under an edit; the KL is from the same prompts without it."""
    found = meter.scores(key(name), edit, kl=edit is not BASE)
    return Reading(found.odds, found.kl)


def with_sentence(meter: Meter, split: str, lead: str) -> Reading:
    """Questions behind a steering sentence; the KL is from those behind the neutral one."""
    base, steered = key((split, BASELINE, "none")), key((split, lead, "none"))

    def compute() -> list[float]:
        return kl_divergence(meter.base(base).log_probs, meter.base(steered).log_probs).tolist()

    return Reading(meter.scores(steered).odds, np.array(meter.lab.cell(f"kl/{steered}", compute)))


def pushing(pair: tuple[Direction, Direction], dose: float, counter: float, name: str) -> Edit:
    """So much of the vector added and of the counter-vector subtracted, at every token."""
    parts = [one.add(c) for one, c in zip(pair, (dose, -counter), strict=True) if c]
    return Edit(f"{name}/{dose!r}/{counter!r}", parts) if parts else BASE


@dataclass(frozen=True, eq=False)
class Match:
    """A steering sentence, and the vector that does as much on validation prompts."""

    lead: str
    halves: Halves
    dose: float  # times the raw difference
    counter_dose: float
    pairs: Sequence[tuple[Direction, Direction]]  # vector and counter-vector, by draw
    nulls: Sequence[Direction]  # random ones as long

    def edit(self, vector: bool, undone: bool, draw: int = 0) -> Edit:
        """The vector, the counter-vector, both or neither."""
        doses = self.dose * vector, self.counter_dose * undone
        return pushing(self.pairs[draw], *doses, f"{self.halves.site}/{draw}")


def tested(meter: Meter, matches: Sequence[Match], names: Sequence[str]) -> pd.DataFrame:
    """Every test question, in nats. Columns: sentence, way, undoer, draw, prompt (id), odds, kl.

    The base is behind the neutral sentence. The KL is from it, of what steers without an undoer.
    """
    plan = [*base_plan(names), *(job for match in matches for job in plan_of(match, names))]
    asked = meter.prompts[key(("test", BASELINE, "none"))]
    ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in asked]
    parts = []
    for (lead, way, undoer, draw), name, edit in meter.lab.progress(plan, "undoing"):
        plain = way == "prompt" and undoer == "none"
        found = with_sentence(meter, "test", lead) if plain else with_edit(meter, name, edit)
        kl = found.kl if undoer == "none" and way in ("prompt", "vector") else np.nan
        rows = {"sentence": lead, "way": way, "undoer": undoer, "draw": draw, "prompt": ids}
        parts.append(pd.DataFrame({**rows, "odds": found.odds, "kl": kl}))
    return pd.concat(parts, ignore_index=True)


Job = tuple[tuple[str, str, str, int], Name, Edit]  # columns of the table, prompts, edit


def base_plan(names: Sequence[str]) -> Iterator[Job]:
    """Nothing steers; with filler, and without."""
    for name in names:
        if not name.startswith("counter"):
            yield (BASELINE, "base", name, 0), ("test", BASELINE, name), BASE


def plan_of(match: Match, names: Sequence[str]) -> Iterator[Job]:
    """One sentence and its vector, undone in every way."""
    lead = match.lead
    for name in names:
        yield (lead, "prompt", name, 0), ("test", lead, name), BASE
    for draw in range(len(match.pairs)):
        for name in names:
            edit = match.edit(True, False, draw)
            yield (lead, "vector", name, draw), ("test", BASELINE, name), edit
        for way, first in {"prompt": lead, "vector": BASELINE}.items():
            edit = match.edit(way == "vector", True, draw)
            yield (lead, way, "counter_vector", draw), ("test", first, "none"), edit
    for draw, null in enumerate(match.nulls):
        edit = pushing((null, null), match.dose, 0.0, f"{match.halves.site}/random {draw}")
        yield (lead, "random", "none", draw), ("test", BASELINE, "none"), edit


def mean(values: Mapping[float, Reading]) -> tuple[list[float], list[float], list[float]]:
    """Doses in order, with mean odds and mean KL."""
    doses = sorted(values)
    return doses, *([float(getattr(values[d], w).mean()) for d in doses] for w in ("odds", "kl"))
