"""Refusal odds and KL under every way to steer and to undo; of a prompt its hash is kept."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.scale import mean_differences
from experiments.lab.selection import Source
from interp.directions import Direction, mean_difference
from interp.models import LoadedModel
from interp.sites import Site

from .protocol import DEPTHS, LENGTHS, Config
from .sentences import COUNTERS, NEUTRAL, STEERING

TEXT_TOKENS = 48
Values = Float[np.ndarray, " question"]


def between(lab: Lab, config: Config) -> dict[str, str]:
    """What may stand between the first sentence and the question, by name; "none" is nothing."""
    rows = lab.rng("13.text").permutation(len(lab.text))[:200]
    some = [lab.text[int(row)] for row in rows]
    found = {"none": ""}
    found |= {f"counter_prompt {i}": text for i, text in enumerate(COUNTERS[: config.n_counters])}
    for i in range(config.n_fillers):
        start = i * len(some) // config.n_fillers
        texts = [*some[start:], *some[:start]]
        found |= {f"filler_{m} {i}": cut(lab.model, texts, m) for m in LENGTHS}
    return found


def cut(model: LoadedModel, texts: Sequence[str], n_tokens: int) -> str:
    """The first tokens of texts in a row, begun again where they do not last."""
    found = ""
    while True:
        for text in texts:
            found = f"{found} {text}".strip()
            ids = model.tokenizer(found, add_special_tokens=False, return_offsets_mapping=True)
            if len(ids["offset_mapping"]) >= n_tokens:
                return found[: ids["offset_mapping"][n_tokens - 1][1]]


def meter_for(lab: Lab, config: Config) -> Meter:
    """Harmless questions behind every first sentence and what may follow it.

    Sets are named "test/steering 0/counter_prompt 3": split, first sentence, what is between.
    """
    rows = lab.rng("13.test").permutation(len(lab.harmless_test.texts))[: config.n_test]
    asked = {
        "validation": lab.splits.validation.negative[: config.n_validation],
        "test": [lab.harmless_test.texts[int(row)] for row in rows],
    }
    first = {"neutral": NEUTRAL} | {f"steering {i}": text for i, text in enumerate(STEERING)}
    prompts = {
        f"{split}/{lead}/{name}": tuple("\n\n".join(filter(None, (one, two, q))) for q in questions)
        for split, questions in asked.items()
        for lead, one in first.items()
        for name, two in between(lab, config).items()
    }
    drawn = lab.rng("13.damage").permutation(len(lab.text))[: config.n_text]
    text = tuple(lab.text[int(row)] for row in drawn)
    return Meter(lab, prompts, Passages(lab.model, text, TEXT_TOKENS))


@dataclass(frozen=True, eq=False)
class Vectors:
    """Of one site: what steers, from one half of the train prompts, and what undoes it."""

    site: str
    source: Source
    pairs: Sequence[tuple[Direction, Direction]]  # first the halves' own, then from resamples

    def edit(self, dose: float, undoing: float = 0.0, draw: int = 0) -> Edit:
        """So much of the vector added, of the counter-vector subtracted, at every token."""
        doses = zip(self.pairs[draw], (dose, -undoing), strict=True)
        name = f"{self.site}/{draw}/{dose!r}/{undoing!r}"
        return Edit(name, [one.add(c) for one, c in doses if c]) if dose or undoing else BASE


def vectors_of(lab: Lab, config: Config) -> list[Vectors]:
    """Both vectors at every site of DEPTHS."""
    layers = dict.fromkeys(int(depth * lab.model.n_layers) for depth in DEPTHS)
    found = []
    for whole in mean_differences(lab, [Site(i, "pre") for i in layers], config.n_train):
        site, halves = str(whole.direction.site), (half(whole, 0), half(whole, 1))
        rng = lab.rng(f"13.again.{site}")
        again = zip(*(reextracted(h, config.n_reextractions, rng) for h in halves), strict=True)
        own = (halves[0].direction, halves[1].direction)
        found.append(Vectors(site, halves[0], [own, *again]))
    return found


def half(source: Source, first: int) -> Source:
    """The difference from every second prompt of each class."""
    classes = source.positive[first::2], source.negative[first::2]
    direction = mean_difference(*classes, source.direction.site, source.direction.position)
    return Source(direction, *classes)


def read(meter: Meter, on: str, edit: Edit = BASE) -> tuple[Values, Values]:
    """Refusal odds, and KL of the next token from the plain base, per question in nats."""
    return meter.scores_and_kl(on, edit, f"{on.split('/')[0]}/neutral/none")


@dataclass(frozen=True, eq=False)
class Match:
    """A steering sentence, the dose of the vector that does as much, and that of the undoer."""

    lead: str
    vectors: Vectors
    dose: float  # times the raw difference, as the other
    undoing: float
    nulls: Sequence[Direction]  # as long as the vector

    def jobs(self, names: Sequence[str]) -> Iterator[tuple[str, str, int, str, Edit]]:
        """Way, undoer, draw, set of prompts and edit of all that is measured."""
        for name in names:
            yield "prompt", name, 0, f"test/{self.lead}/{name}", BASE
            if not name.startswith("counter"):
                yield "base", name, 0, f"test/neutral/{name}", BASE
        for draw in range(len(self.vectors.pairs)):
            added, *undone = (self.vectors.edit(*x, draw) for x in (
                (self.dose, 0.0), (0.0, self.undoing), (self.dose, self.undoing)))  # fmt: skip
            for name in names:
                yield "vector", name, draw, f"test/neutral/{name}", added
            yield "prompt", "counter_vector", draw, f"test/{self.lead}/none", undone[0]
            yield "vector", "counter_vector", draw, "test/neutral/none", undone[1]
        for i, one in enumerate(self.nulls):
            edit = Edit(f"random/{self.vectors.site}/{i}/{self.dose!r}", [one.add(self.dose)])
            yield "vector", f"random {i}", 0, "test/neutral/none", edit


def tested(meter: Meter, matches: Sequence[Match], names: Sequence[str]) -> pd.DataFrame:
    """Every test question, in nats. Columns: sentence, way, undoer, draw, prompt (id), odds, kl."""
    texts = meter.prompts["test/neutral/none"]
    ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]
    plan = [(match.lead, *job) for match in matches for job in match.jobs(names)]
    parts = []
    for lead, way, undoer, draw, on, edit in meter.lab.progress(plan, "undoing"):
        plain = undoer == "none"
        odds, kl = read(meter, on, edit) if plain else (meter.scores(on, edit), np.nan)
        row = {"sentence": lead, "way": way, "undoer": undoer, "draw": draw, "prompt": ids}
        parts.append(pd.DataFrame({**row, "odds": odds, "kl": kl}))
    return pd.concat(parts, ignore_index=True)
