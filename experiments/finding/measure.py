"""What candidate, chosen and random directions do to the score of a behaviour, in nats."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from experiments.lab.selection import Source, candidate_sites
from interp.behaviours import Behaviour
from interp.data.splits import Split
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.interventions import Placement
from interp.sites import Site

from .protocol import BREAKING, COEFFICIENTS, NEAR_BEST, Config

TEXT_TOKENS = 32
SIDES = ("positive", "negative")
Scores = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Scale:
    """Measures the score of a behaviour on one split, and damage on text; every value is a cell."""

    lab: Lab
    behaviour: Behaviour
    name: str
    prompts: Split
    passages: Passages

    def scores(self, side: str, name: str, edits: Sequence[Placement] = ()) -> Scores:
        """Scores of the prompts of one side under an edit."""
        texts = getattr(self.prompts, side)
        key = f"{self.name}/{side}/{name}"
        found = self.lab.cell(
            key, lambda: self.behaviour.scores(self.lab.model, texts, edits).tolist()
        )
        return np.array(found, np.float64)

    def removed(self, name: str, direction: Direction) -> Scores:
        """What the score of prompts that show the behaviour falls by, ablated everywhere."""
        edited = self.scores("positive", f"ablated/{name}", [direction.ablate()])
        return self.scores("positive", "base") - edited

    def brought(self, name: str, direction: Direction, coefficient: float = 1.0) -> Scores:
        """What the score of prompts that do not show it rises by, added at its own site."""
        edit = f"added/{name}/{coefficient:g}"
        edited = self.scores("negative", edit, [direction.add(coefficient)])
        return edited - self.scores("negative", "base")

    def damage(self, name: str, edit: Placement) -> float:
        """KL(base || edited) on ordinary text, in nats per token."""
        kl = self.lab.cell(f"text/{name}", lambda: self.passages.damage([edit]).kl.tolist())
        return float(np.mean(kl))


def scale_of(lab: Lab, behaviour: Behaviour, config: Config, name: str) -> Scale:
    """The first prompts of a split ("validation" or "test"), and passages of text."""
    n = {"validation": config.n_validation, "test": config.n_test}[name]
    split: Split = getattr(lab.splits, name)
    texts = lab.text
    drawn = lab.rng("finding.text").permutation(len(texts))[: config.n_text]
    passages = Passages(lab.model, tuple(texts[int(i)] for i in drawn), TEXT_TOKENS)
    part = Split(split.positive[:n], split.negative[:n])
    return Scale(lab, behaviour, name, part, passages)


def sources(lab: Lab, config: Config) -> list[Source]:
    """The mean difference at the last token of every candidate site that has one."""
    sites = candidate_sites(lab, config.n_sites or None)
    train = lab.splits.train
    classes = [lab.activations(getattr(train, s)[: config.n_train], sites, (-1,)) for s in SIDES]
    found = []
    for i, site in enumerate(sites):
        positive, negative = (states[:, i, 0] for states in classes)
        if not torch.equal(positive.mean(0), negative.mean(0)):
            found.append(Source(mean_difference(positive, negative, site, -1), positive, negative))
    if not found:
        raise ExperimentError("All train prompts have the same state at every candidate site.")
    return found


def candidates(scale: Scale, found: Sequence[Source]) -> pd.DataFrame:
    """Scores of every candidate. Columns: site, depth, removed, brought, effect, kl, chosen."""
    rows = []
    for source in scale.lab.progress(found, "scoring candidate directions"):
        direction, site = source.direction, str(source.direction.site)
        removed = float(scale.removed(site, direction).mean())
        brought = float(scale.brought(site, direction).mean())
        kl = scale.damage(f"ablated/{site}", direction.ablate())
        rows.append((site, Site.parse(site).depth, removed, brought, (removed + brought) / 2, kl))
    columns = ["site", "depth", "removed", "brought", "effect", "kl"]
    table = pd.DataFrame(rows, columns=columns)
    whole = table[table.kl <= BREAKING] if (table.kl <= BREAKING).any() else table
    best = whole.effect.max()
    strong = whole[whole.effect >= min(NEAR_BEST * best, best)]
    return table.assign(chosen=table.index == strong.kl.idxmin())


def effects(
    scale: Scale, directions: Sequence[tuple[str, int, Direction]], what: str
) -> pd.DataFrame:
    """Effect of directions, per prompt. Columns: family, draw, edit, prompt (id), value."""
    parts = []
    for family, draw, one in scale.lab.progress(directions, what):
        for edit, side, values in _both(scale, f"{family}/{draw}", one):
            ids = [_id(text) for text in getattr(scale.prompts, side)]
            parts.append(
                pd.DataFrame(
                    {"family": family, "draw": draw, "edit": edit, "prompt": ids, "value": values}
                )
            )
    return pd.concat(parts, ignore_index=True)


def _both(scale: Scale, name: str, one: Direction) -> Iterator[tuple[str, str, Scores]]:
    yield "removed", "positive", scale.removed(name, one)
    yield "brought", "negative", scale.brought(name, one)


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def doses(scale: Scale, direction: Direction) -> pd.DataFrame:
    """The score where the behaviour does not show while the direction is added, and the damage.

    Columns: coefficient, score (mean, nats), kl (nats per token of text).
    """
    base = float(scale.scores("negative", "base").mean())
    rows = [(0.0, base, 0.0)]
    for c in scale.lab.progress(COEFFICIENTS, "doses"):
        rise = float(scale.brought("real/0", direction, c).mean())
        rows.append((c, base + rise, scale.damage(f"added/{c:g}", direction.add(c))))
    return pd.DataFrame(sorted(rows), columns=["coefficient", "score", "kl"])
