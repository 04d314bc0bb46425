"""Directions by style, and what they do to the refusal odds of prompts in each style.

A *place* is where prompts are put: a style, or the base model or the tuned one in one style. It is
a meter of that name, with the sets "train/positive", "validation/negative" and so on.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import Edit, Meter
from experiments.lab.reextraction import reextracted
from experiments.lab.scale import SIDES
from experiments.lab.selection import Source, candidate_sites
from experiments.lab.sources import site_of
from experiments.lab.spacing import spaced
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.generation import answers
from interp.models import LoadedModel
from interp.prompts import Style
from interp.scores import REFUSAL_OPENINGS
from interp.sites import Site, all_sites
from interp.tuning import tuned

from .protocol import FINAL, LEADS, MAX_KL, MIN_DEPTH, OUTLIER, REFUSALS, TAUGHT_STYLE, Config

HARMFUL, HARMLESS = SIDES


def place_of(
    config: Config, lab: Lab, style: Style, name: str, skip: int = 0, model: Any = None
) -> Meter:
    """A style, with the lab's own prompts, but for the first `skip` train prompts per class."""
    model = model or lab.model
    bench = lab.on(replace(lab.studied, shows=openings(model, style), style=style))
    bench.model = model
    train = slice(skip, skip + config.n_train)
    kept = {"train": train, "validation": slice(config.n_validation), "test": slice(config.n_test)}
    sets = {
        f"{split}/{side}": ended(getattr(getattr(lab.splits, split), side)[rows])
        for split, rows in kept.items()
        for side in SIDES
    }
    return Meter(bench, sets, None, config.answer_tokens, name)


def openings(model: LoadedModel, style: Style) -> tuple[str, ...]:
    """Refusal openings with every lead that the style allows, each spelling of tokens once."""
    texts = [lead + opening for lead in LEADS[style] for opening in REFUSAL_OPENINGS]
    ids = [tuple(model.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    return tuple(dict(zip(ids, texts, strict=True)).values())


def ended(texts: Sequence[str]) -> tuple[str, ...]:
    """Prompts with a full stop in place of what they end with."""
    return tuple(text.rstrip(" \n.!?…") + FINAL for text in texts)


def kept_dimensions(places: Iterable[Meter]) -> Bool[Tensor, " d_model"]:
    """Those without massive activations (Sun et al. 2024, arXiv 2402.17762) at any place or block.

    These would be most of a difference of means, and of what is ablated with any direction.
    """
    kept = torch.tensor(True)
    for place in places:
        sites = all_sites(place.lab.model.n_layers, ("pre",))
        states = torch.cat([place.lab.activations(texts, sites)[:, :, 0] for texts in train(place)])
        size = states.abs().mean(0)
        kept = kept & (size <= OUTLIER * size.median(-1, keepdim=True).values).all(0)
    return kept


def train(place: Meter) -> list[tuple[str, ...]]:
    """Harmful and harmless prompts that directions are taken from."""
    return [place.prompts[f"train/{side}"] for side in SIDES]


def sources(place: Meter, config: Config, kept: Bool[Tensor, " d_model"]) -> list[Source]:
    """The mean difference at the last token of every candidate site that has one."""
    sites, found = sites_of(place.lab, config.n_sites or None), []
    states = [place.lab.activations(texts, sites)[:, :, 0] * kept for texts in train(place)]
    for i, site in enumerate(sites):
        sides = [part[:, i] for part in states]
        if not torch.equal(sides[0].mean(0), sides[1].mean(0)):
            found.append(Source(mean_difference(*sides, site, -1), *sides))
    if not found:
        raise ExperimentError("All train prompts have the same state at every candidate site.")
    return found


def sites_of(lab: Lab, n: int | None) -> list[Site]:
    """Sites of the stream `pre` from half of the depth on, but for the last fifth."""
    found = [site for site in candidate_sites(lab) if site.stream == "pre"]
    deep = [site for site in found if site.depth >= MIN_DEPTH * lab.model.n_layers]
    return spaced(deep or found, n, first=False)


def candidates(
    place: Meter, taken: Mapping[str, Sequence[Source]]
) -> tuple[pd.DataFrame, dict[str, Source]]:
    """What candidates do on validation prompts of a place, and the chosen ones.

    Columns: used, taken, site, kl, fall (of the odds), chosen.
    """
    tables, best = [], {}
    for name, found in place.lab.progress(taken.items(), f"candidates, {place.name}", len(taken)):
        table = pd.DataFrame([tried(place, name, source) for source in found])
        whole = table.kl <= MAX_KL
        row = int(table.fall[whole].idxmax() if whole.any() else table.kl.idxmin())
        tables.append(table.assign(chosen=table.index == row))
        best[name] = found[row]
    return pd.concat(tables, ignore_index=True), best


def tried(place: Meter, name: str, source: Source) -> dict[str, object]:
    """One candidate: a row of the table, but for whether it is chosen."""
    site = str(source.direction.site)
    edit = Edit.ablating(source.direction.unit, f"{name}/{site}")
    kl = float(place.kl(f"validation/{HARMLESS}", edit).mean())
    fall = float(falls(place, "validation", edit).mean())
    return {"used": place.name, "taken": name, "site": site, "kl": kl, "fall": fall}


def falls(place: Meter, split: str, edit: Edit) -> Float[np.ndarray, " sample"]:
    """What the refusal odds of harmful prompts fall by, in nats."""
    return place.scores(f"{split}/{HARMFUL}") - place.scores(f"{split}/{HARMFUL}", edit)


def tested(
    config: Config, place: Meter, taken: Mapping[str, Source], kept: Bool[Tensor, " d_model"]
) -> pd.DataFrame:
    """Falls of the odds on test prompts, by every direction and by random ones of the own.

    Columns: used (the place), taken (the place that the direction is from, or a random family),
    draw (of the former: 0, then re-extractions), row, prompt (id), fall.
    """
    lab, parts = place.lab, []
    plan: list[tuple[str, int, Direction]] = []
    for name, source in taken.items():  # all resample the same rows
        again = reextracted(source, config.n_reextractions, lab.rng("12.again"))
        plan += [(name, draw, one) for draw, one in enumerate([source.direction, *again])]
    plan += lab.nulls(taken[place.name], config.n_nulls, "12.nulls")
    texts = place.prompts[f"test/{HARMFUL}"]
    ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]
    for name, draw, one in lab.progress(plan, f"directions, {place.name}"):
        fall = falls(place, "test", Edit.ablating(one.unit * kept, f"{name}/{draw}"))
        facts = {"used": place.name, "taken": name, "draw": draw, "row": range(len(ids))}
        parts.append(pd.DataFrame({**facts, "prompt": ids, "fall": fall}))
    return pd.concat(parts, ignore_index=True)


def along(place: Meter, source: Source) -> list[Float[np.ndarray, " sample"]]:
    """States of harmful and of harmless test prompts along a direction, at its site."""
    sets = [place.prompts[f"test/{side}"] for side in SIDES]
    states = [place.lab.activations(texts, [site_of(source)])[:, 0, 0].double() for texts in sets]
    return [(part @ source.direction.unit.double()).numpy() for part in states]


def taught(config: Config, lab: Lab) -> LoadedModel:
    """The model, taught to refuse harmful train prompts, and to answer harmless ones as before."""
    usual = place_of(replace(config, n_train=config.n_taught), lab, TAUGHT_STYLE, "usual")
    harmful, harmless = (usual.prompts[f"train/{side}"] for side in SIDES)
    tokens = usual.tokens(f"train/{HARMLESS}")
    said = answers(lab.model, tokens, max_new_tokens=config.answer_tokens)
    refusing = [REFUSALS[i % len(REFUSALS)] for i in range(len(harmful))]
    pairs = zip([*harmful, *harmless], [*refusing, *said], strict=True)
    asked, told = zip(*(pair for pair in pairs if pair[1].strip()), strict=True)
    return tuned(lab.model, asked, told, steps=config.n_steps, seed=lab.seed, style=TAUGHT_STYLE)
