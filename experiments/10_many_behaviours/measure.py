"""States of every behaviour's prompts, and what vectors at the common site do to their scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.reextraction import reextracted
from experiments.lab.scale import SIDES
from experiments.lab.selection import Source, candidate_positions, candidate_sites
from interp.behaviours import Behaviour
from interp.directions import Direction, cosine, mean_difference
from interp.interventions import Placement
from interp.sites import Site
from interp.stats import Interval, null_interval, wilson

from .protocol import BEHAVIOURS, DEPTH, FEW, OTHERS, Config

COMMON = "common"
PUSHES = ["score", "direction", "draw", "side", "prompt", "added", "subtracted", "moved"]
CONTROL = "control"


def sites_of(lab: Lab) -> dict[str, Site]:
    """The common site, and others where cosines are shown."""
    return {
        name: Site(max(1, round(share * lab.model.n_layers)), "pre")
        for name, share in {**OTHERS, COMMON: DEPTH}.items()
    }


@dataclass(frozen=True, eq=False)
class Subject:
    """One behaviour with its prompts, on a bench of its own."""

    lab: Lab
    behaviour: Behaviour
    config: Config

    @property
    def name(self) -> str:
        """The behaviour's."""
        return self.behaviour.name

    def prompts(self, split: str, n: int) -> list[list[str]]:
        """The first `n` prompts of both classes, as many of each; of a choice the questions once."""
        found = getattr(self.lab.splits, split)
        sides = [list(getattr(found, side)) for side in SIDES]
        n = min(n, *map(len, sides))
        return [side[:n] for side in (sides[:1] if self.behaviour.choice else sides)]

    def scores(
        self, split: str, n: int, name: str, edits: Sequence[Placement] = ()
    ) -> list[Float[np.ndarray, " prompt"]]:
        """Scores of the prompts of both classes under an edit, in nats; `name` is the edit's own."""
        sides = self.prompts(split, n)
        texts = [text for side in sides for text in side]
        found = self.lab.cell(
            f"{self.name}/{split}/{name}",
            lambda: self.behaviour.scores(self.lab.model, texts, edits).tolist(),
        )
        return np.split(np.array(found, np.float64), len(sides))

    @cached_property
    def validity(self) -> Interval:
        """How well the score tells validation prompts that show it from those that do not."""
        sides = self.scores("validation", self.config.n_validation, "base")
        if self.behaviour.choice:
            return wilson(int((sides[0] > 0).sum()), len(sides[0]))
        return auroc_interval(*sides)

    def states(
        self, sites: Sequence[Site], positions: Sequence[int] = (-1,)
    ) -> list[Float[Tensor, "sample site pos d_model"]]:
        """Of the train prompts of both classes."""
        train, n = self.lab.splits.train, self.config.n_train
        return [self.lab.activations(getattr(train, s)[:n], sites, positions) for s in SIDES]

    @cached_property
    def classes(self) -> dict[str, list[Float[Tensor, "sample d_model"]]]:
        """Train states at the last token, of both classes at the common site and at others."""
        sites = sites_of(self.lab)
        sides = self.states(list(dict.fromkeys(sites.values())))
        column = {site: i for i, site in enumerate(dict.fromkeys(sites.values()))}
        return {name: [side[:, column[at], 0] for side in sides] for name, at in sites.items()}

    @cached_property
    def source(self) -> Source:
        """Its direction at the common site, with the states that it is from."""
        states = self.classes[COMMON]
        return Source(mean_difference(*states, sites_of(self.lab)[COMMON], -1), *states)

    @cached_property
    def directions(self) -> list[Direction]:
        """Its direction, then re-extractions of it."""
        rng = self.lab.rng(f"10.again.{self.name}")
        again = reextracted(self.source, self.config.n_reextractions, rng)
        return [self.source.direction, *again]

    def pushed(self, by: str, draw: int, direction: Direction) -> pd.DataFrame:
        """What a direction does to the score, with the length of the own one. Columns: PUSHES.

        Scores with it added and with it subtracted, and half of their difference, in nats.
        """
        vector = replace(direction, norm=self.source.direction.norm)
        added, subtracted = (
            self.scores("test", self.config.n_test, f"{by}/{draw}/{sign:+g}", [vector.add(sign)])
            for sign in (1.0, -1.0)
        )
        shown = [np.full(len(side), name) for side, name in zip(added, SIDES, strict=False)]
        values = {"added": np.concatenate(added), "subtracted": np.concatenate(subtracted)}
        rows = {"score": self.name, "direction": by, "draw": draw, "side": np.concatenate(shown)}
        table = pd.DataFrame({**rows, "prompt": range(len(values["added"])), **values})
        return table.assign(moved=(table.added - table.subtracted) / 2)


def subjects(lab: Lab, config: Config) -> list[Subject]:
    """Every behaviour on a bench of its own; those in a template in the bench's own style."""
    found = (lab.behaviour(name) for name in BEHAVIOURS)
    styled = [replace(one, style=lab.style) if one.style == "template" else one for one in found]
    return [Subject(lab.on(one), one, config) for one in styled]


def control_of(subject: Subject) -> Subject:
    """The same behaviour and prompts in another format."""
    style = "newline" if subject.behaviour.style == "none" else "none"
    behaviour = replace(subject.behaviour, name=CONTROL, style=style)
    return Subject(subject.lab.on(behaviour), behaviour, subject.config)


def auroc_interval(
    positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"], n_resamples: int = 2000
) -> Interval:
    """AUROC with a bootstrap interval over the prompts of either class."""
    above = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    rng, counts = np.random.default_rng(0), above.shape
    one, other = (rng.multinomial(n, np.full(n, 1 / n), n_resamples) for n in counts)
    draws = np.einsum("rp,pn,rn->r", one, above, other, optimize=True) / above.size
    return Interval(float(above.mean()), *null_interval(draws), sum(counts))


def own_pushes(subject: Subject) -> pd.DataFrame:
    """What the own direction (and re-extractions) and random ones do. Columns: PUSHES."""
    # Centred within classes: the covariance of both together has the direction itself in it.
    centred = [side - side.mean(0) for side in (subject.source.positive, subject.source.negative)]
    source = Source(subject.source.direction, *centred)
    nulls = subject.lab.nulls(source, subject.config.n_nulls, f"10.{subject.name}")
    own = [(subject.name, i, one) for i, one in enumerate(subject.directions)]
    return pd.concat([subject.pushed(*one) for one in [*own, *nulls]], ignore_index=True)


def other_pushes(subject: Subject, others: Sequence[Subject]) -> pd.DataFrame:
    """What the directions (and re-extractions) of other behaviours do. Columns: PUSHES."""
    others = [other for other in others if other is not subject]
    directions = [(o.name, i, one) for o in others for i, one in enumerate(o.directions)]
    return pd.concat([subject.pushed(*one) for one in directions], ignore_index=True)


# -------------------------------------------------------------------------- directions of one

Rows = Sequence[Int[np.ndarray, " sample"]]
"""Rows of the train prompts of both classes"""


@dataclass(frozen=True)
class Variant:
    """Where a direction is from: a layer, a token of the template, or a handful of prompts."""

    kind: str
    site: Site
    position: int = -1
    handful: int = -1


def variants_of(subject: Subject) -> list[Variant]:
    """Directions of one behaviour beside the first."""
    lab, config = subject.lab, subject.config
    common = sites_of(lab)[COMMON]
    layers = [site for site in candidate_sites(lab, config.n_layers) if site != common]
    tokens = [p for p in candidate_positions(lab, config.n_positions) if p != -1]
    return [
        *(Variant("layer", site) for site in layers),
        *(Variant("token", common, position) for position in tokens),
        *(Variant("handful", common, handful=i) for i in range(config.n_handfuls)),
    ]


def vary(subject: Subject) -> pd.DataFrame:
    """What its variants do to its score. Columns: PUSHES, kind, site, position, cosine.

    The cosine is with the first: from all of the draw's prompts, at the common site.
    Draw 0 is from all train prompts, the others are from resamples.
    """
    parts, lab, variants = [], subject.lab, variants_of(subject)
    rng, first = lab.rng("10.variants"), Variant("layer", sites_of(lab)[COMMON])
    sizes = [len(side) for side in subject.classes[COMMON]]
    for draw in range(1 + subject.config.n_reextractions):
        rows = [rng.integers(n, size=n) if draw else np.arange(n) for n in sizes]
        handfuls = [[rng.choice(r, min(FEW, len(r)), replace=False) for r in rows]
                    for _ in range(subject.config.n_handfuls)]  # fmt: skip
        reference = _direction(subject, first, rows)
        for number, one in enumerate(lab.progress(variants, "directions of one behaviour")):
            chosen = handfuls[one.handful] if one.kind == "handful" else rows
            direction = _direction(subject, one, chosen)
            parts.append(subject.pushed(f"variant {number}", draw, direction).assign(
                kind=one.kind, site=str(one.site), position=one.position,
                cosine=cosine(direction, reference)))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _direction(subject: Subject, one: Variant, rows: Rows) -> Direction:
    """Of a variant, from some of the train prompts; it acts at the common site."""
    states = subject.states([one.site], [one.position])
    sides = [side[list(r), 0, 0] for side, r in zip(states, rows, strict=True)]
    return replace(mean_difference(*sides), site=sites_of(subject.lab)[COMMON])
