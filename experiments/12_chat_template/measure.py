"""Directions by style, and what they do to the refusal odds of prompts in each style.

A `Place` is where prompts are put: a style, or the base model or the tuned one in one style. Scores
are rows of: used (the place), taken (where the direction is from), family, draw, side, row and
prompt (id), value. Families: "base" (unedited odds), "real" (fall of the odds, the direction or
a re-extraction ablated), a family of random directions (the same), "rise" (of the odds, added) and
"state" (along the direction). All in nats, but for states.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.meter import Edit, Meter
from experiments.lab.reextraction import reextracted
from experiments.lab.scale import SIDES, Scale
from experiments.lab.selection import Source, candidate_sites
from interp.behaviours import Behaviour
from interp.data.splits import Split
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.generation import answers
from interp.interventions import Placement
from interp.models import LoadedModel
from interp.prompts import Style
from interp.scores import REFUSAL_OPENINGS
from interp.tuning import tuned

from .protocol import FINAL, LEADS, MAX_KL, REFUSALS, SHARES, TAUGHT_STYLE, Config

HARMFUL, HARMLESS = SIDES
Row = tuple[str, str, int, str, Float[np.ndarray, " sample"]]
"""taken, family, draw, side, values"""


@dataclass(frozen=True, eq=False)
class Place:
    """Prompts in one style to one model."""

    name: str
    lab: Lab
    behaviour: Behaviour
    splits: Mapping[str, Split]
    meter: Meter

    def scale(self, split: str) -> Scale:
        """Refusal odds of a split."""
        return Scale(self.lab, self.behaviour, split, self.splits[split])

    def kl(self, name: str, edit: Placement) -> float:
        """Mean KL of the next token on harmless validation prompts, in nats."""
        return float(self.meter.kl(f"validation/{HARMLESS}", Edit(name, [edit])).mean())

    def refused(self, split: str) -> list[list[bool]]:
        """Whether harmful and harmless prompts of a split are declined, by greedy answers."""
        found = [self.meter.answers(f"{split}/{side}") for side in SIDES]
        return [[answer == "refused" for answer in answers] for answers in found]


@dataclass(frozen=True, eq=False)
class Chosen:
    """A direction with the states it is from, and how much of it is taken away where it is used."""

    source: Source
    share: float

    def edit(self, one: Direction) -> Placement:
        """That much of a direction taken away, at every state."""
        return one.scale(1 - self.share)


def place_of(
    config: Config, lab: Lab, style: Style, name: str, *, model: LoadedModel | None = None,
    skip: int = 0,
) -> Place:  # fmt: skip
    """A style, with the lab's own prompts, but for the first `skip` train prompts per class."""
    model = model or lab.model
    shows = openings(model, style)
    behaviour = Behaviour(f"refusal {name}", lab.contrast, shows, style=style)
    bench = lab.on(behaviour)
    bench.model = model
    found, end = lab.splits, skip + config.n_train
    splits = {
        "train": prompts(found.train, slice(skip, end)),
        "validation": prompts(found.validation, slice(config.n_validation)),
        "test": prompts(found.test, slice(config.n_test)),
    }
    sets = {f"{split}/{side}": getattr(splits[split], side) for split in splits for side in SIDES}
    return Place(
        name, bench, behaviour, splits, Meter(bench, sets, None, config.answer_tokens, name)
    )


def openings(model: LoadedModel, style: Style) -> tuple[str, ...]:
    """Refusal openings with every lead that the style allows, each spelling of tokens once."""
    texts = [lead + opening for lead in LEADS[style] for opening in REFUSAL_OPENINGS]
    ids = [tuple(model.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    return tuple(dict(zip(ids, texts, strict=True)).values())


def prompts(split: Split, which: slice) -> Split:
    """Some prompts of both classes, each with a full stop in place of what it ends with."""
    harmful, harmless = (
        tuple(text.rstrip(" \n.!?…") + FINAL for text in getattr(split, side)[which])
        for side in SIDES
    )
    return Split(harmful, harmless)


def sources(place: Place, config: Config) -> list[Source]:
    """The mean difference at the last token of every candidate site that has one."""
    sites = candidate_sites(place.lab, config.n_sites or None)
    train = place.splits["train"]
    classes = [place.lab.activations(getattr(train, side), sites)[:, :, 0] for side in SIDES]
    found = []
    for i, site in enumerate(sites):
        positive, negative = (states[:, i] for states in classes)
        if not torch.equal(positive.mean(0), negative.mean(0)):
            found.append(Source(mean_difference(positive, negative, site, -1), positive, negative))
    if not found:
        raise ExperimentError("All train prompts have the same state at every candidate site.")
    return found


def candidates(place: Place, taken: Mapping[str, Sequence[Source]]) -> pd.DataFrame:
    """What candidates do on validation prompts of a place.

    Columns: used, taken, site, share (that is taken away), kl, fall (of the odds), chosen.
    """
    parts = []
    for name, found in place.lab.progress(taken.items(), f"candidates, {place.name}", len(taken)):
        rows = [(place.name, name, str(x.direction.site), *trial(place, name, x)) for x in found]
        table = pd.DataFrame(rows, columns=["used", "taken", "site", "share", "kl", "fall"])
        parts.append(table.assign(chosen=table.index == table.fall.idxmax()))
    return pd.concat(parts, ignore_index=True)


def trial(place: Place, name: str, source: Source) -> tuple[float, float, float]:
    """The largest share that leaves the model whole (0: none), its KL, and the fall of the odds."""
    scale = place.scale("validation")
    for share in SHARES:
        edit = Chosen(source, share).edit(source.direction)
        key = f"{name}/{source.direction.site}/{share:g}"
        if (kl := place.kl(key, edit)) <= MAX_KL:
            fall = scale.scores(HARMFUL, "base") - scale.scores(HARMFUL, key, [edit])
            return share, kl, float(fall.mean())
    return 0.0, 0.0, 0.0


def chosen(table: pd.DataFrame, taken: Mapping[str, Sequence[Source]]) -> dict[str, Chosen]:
    """Of each place what candidates of it have been chosen."""
    rows = {name: table[table.taken == name].reset_index() for name in taken}
    picked = {name: int(np.flatnonzero(part.chosen)[0]) for name, part in rows.items()}
    return {
        name: Chosen(taken[name][at], float(rows[name].share[at])) for name, at in picked.items()
    }


def unedited(place: Place) -> Iterator[Row]:
    """Odds of the unedited model."""
    for side in SIDES:
        yield "", "base", 0, side, place.scale("test").scores(side, "base")


def effects(config: Config, place: Place, taken: Mapping[str, Chosen]) -> Iterator[Row]:
    """Falls of the odds at a place by every direction, and by random ones of its own."""
    scale, own = place.scale("test"), taken[place.name]
    plan = [
        (name, "real", draw, one, which)
        for name, which in taken.items()
        for draw, one in enumerate(directions(config, place.lab, which.source))
    ]
    drawn = place.lab.nulls(own.source, config.n_nulls, "12.nulls")
    plan += [("", *null, own) for null in drawn]
    base = scale.scores(HARMFUL, "base")
    for name, family, draw, one, which in place.lab.progress(plan, f"directions, {place.name}"):
        edited = scale.scores(HARMFUL, f"{name}/{family}/{draw}", [which.edit(one)])
        yield name, family, draw, HARMFUL, base - edited


def directions(config: Config, lab: Lab, source: Source) -> list[Direction]:
    """The direction and its re-extractions, which resample the same rows wherever it is taken."""
    rng = lab.rng("12.again")
    return [source.direction, *reextracted(source, config.n_reextractions, rng)]


def rises(place: Place, taken: Mapping[str, Chosen]) -> Iterator[Row]:
    """What adding directions at their own sites brings to the odds of harmless prompts."""
    for name, which in taken.items():
        rise = place.scale("test").brought(name, which.source.direction)
        yield name, "rise", 0, HARMLESS, rise


def along(config: Config, place: Place, name: str, source: Source) -> Iterator[Row]:
    """States of test prompts along a direction and its re-extractions, at its site."""
    site = source.direction.site
    assert site is not None  # sources have one
    for side in SIDES:
        texts = getattr(place.splits["test"], side)
        states = place.lab.activations(texts, [site])[:, 0, 0].double()
        for draw, one in enumerate(directions(config, place.lab, source)):
            yield name, "state", draw, side, (states @ one.unit.double()).numpy()


def as_table(place: Place, rows: Iterable[Row]) -> pd.DataFrame:
    """The scores of a place; see the top of this file."""
    parts = []
    for taken, family, draw, side, values in rows:
        texts = getattr(place.splits["test"], side)
        ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]
        facts = {"used": place.name, "taken": taken, "family": family, "draw": draw}
        facts |= {"side": side, "row": range(len(ids)), "prompt": ids}
        parts.append(pd.DataFrame({**facts, "value": values}))
    return pd.concat(parts, ignore_index=True)


def taught(config: Config, lab: Lab) -> LoadedModel:
    """The model, taught to refuse harmful train prompts, and to answer harmless ones as before."""
    train = prompts(lab.splits.train, slice(config.n_taught))
    usual = place_of(config, lab, TAUGHT_STYLE, "usual").lab.tokens(train.negative)
    said = answers(lab.model, usual, max_new_tokens=config.answer_tokens)
    refusing = [REFUSALS[i % len(REFUSALS)] for i in range(len(train.positive))]
    pairs = zip([*train.positive, *train.negative], [*refusing, *said], strict=True)
    asked, told = zip(*(pair for pair in pairs if pair[1].strip()), strict=True)
    return tuned(lab.model, asked, told, steps=config.n_steps, seed=lab.seed, style=TAUGHT_STYLE)
