"""States of every behaviour's prompts, and what vectors at the common site do to its score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.reextraction import reextracted
from experiments.lab.scale import SIDES
from experiments.lab.selection import Source, candidate_positions, candidate_sites
from interp.behaviours import Behaviour
from interp.directions import Direction, cosine, mean_difference
from interp.interventions import Placement
from interp.sites import Site

from .protocol import BEHAVIOURS, DEPTH, FEW, OTHERS, VARIED, Config

COMMON, CONTROL = "common", "control"
SHARES = {COMMON: DEPTH, **OTHERS}
PUSHES = ["score", "direction", "draw", "side", "prompt", "added", "subtracted", "moved"]
WHENCE = ["kind", "site", "position", "cosine"]


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

    def site(self, where: str = COMMON) -> Site:
        """The stream entering the block at a share of the depth."""
        return Site(max(1, round(SHARES[where] * self.lab.model.n_layers)), "pre")

    def scores(
        self, split: str, n: int, name: str, edits: Sequence[Placement] = ()
    ) -> list[Float[np.ndarray, " prompt"]]:
        """Scores of the first `n` prompts of both classes under an edit of this name, in nats.

        Of a choice, whose prompts are put as one question for both classes, those of the first.
        """
        prompts = getattr(self.lab.splits, split)
        sides = [getattr(prompts, side) for side in SIDES]
        n = min(n, *map(len, sides))
        sides = sides[:1] if self.behaviour.choice else sides
        texts = [text for side in sides for text in side[:n]]
        found = self.lab.cell(
            f"{self.name}/{split}/{name}",
            lambda: self.behaviour.scores(self.lab.model, texts, edits).tolist(),
        )
        return np.split(np.array(found, np.float64), len(sides))

    @cached_property
    def places(self) -> tuple[list[Site], list[int]]:
        """Sites and tokens that directions of its prompts come from, captured together."""
        sites, positions = [self.site(where) for where in SHARES], [-1]
        if self.name == VARIED:
            sites += candidate_sites(self.lab, self.config.n_layers)
            positions = candidate_positions(self.lab, self.config.n_positions)
        return list(dict.fromkeys(sites)), positions

    @cached_property
    def captured(self) -> list[Float[Tensor, "sample site pos d_model"]]:
        """States of the train prompts of both classes at all places."""
        train, n = self.lab.splits.train, self.config.n_train
        return [self.lab.activations(getattr(train, s)[:n], *self.places) for s in SIDES]

    def states(self, site: Site, position: int = -1) -> list[Float[Tensor, "sample d_model"]]:
        """Those at one place."""
        sites, positions = self.places
        return [side[:, sites.index(site), positions.index(position)] for side in self.captured]

    @cached_property
    def source(self) -> Source:
        """Its direction at the common site, with the states that it is from."""
        states = self.states(self.site())
        return Source(mean_difference(*states, self.site(), -1), *states)

    @cached_property
    def directions(self) -> list[tuple[str, int, Direction]]:
        """Its direction, then re-extractions of it; with its name and a number."""
        rng = self.lab.rng(f"10.again.{self.name}")
        again = reextracted(self.source, self.config.n_reextractions, rng)
        return [(self.name, i, one) for i, one in enumerate([self.source.direction, *again])]

    @property
    def random(self) -> list[tuple[str, int, Direction]]:
        """Random directions, as family, number and direction.

        From states less their class means: the covariance of both classes together has the
        direction itself in it.
        """
        centred = [side - side.mean(0) for side in (self.source.positive, self.source.negative)]
        source = Source(self.source.direction, *centred)
        return self.lab.nulls(source, self.config.n_nulls, f"10.{self.name}")

    def pushed(self, directions: Sequence[tuple[str, int, Direction]]) -> pd.DataFrame:
        """What directions do to the score, each with the length of the own one. Columns: PUSHES.

        Scores with it added and with it subtracted, and half of their difference, in nats.
        """
        columns: dict[str, list[np.ndarray]] = {name: [] for name in PUSHES[:-1]}
        for by, draw, direction in directions:
            vector = replace(direction, norm=self.source.direction.norm, site=self.site())
            added, subtracted = (
                self.scores("test", self.config.n_test, f"{by}/{draw}/{c:+g}", [vector.add(c)])
                for c in (1.0, -1.0)
            )
            sides = np.repeat(SIDES[: len(added)], len(added[0]))
            shared = [np.full(len(sides), value) for value in (self.name, by, draw)]
            values = [np.arange(len(sides)), np.concatenate(added), np.concatenate(subtracted)]
            for column, found in zip(columns.values(), [*shared, sides, *values], strict=True):
                column.append(found)
        table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})
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


def vary(subject: Subject) -> pd.DataFrame:
    """What other directions from its prompts do to its score. Columns: PUSHES and WHENCE.

    Draw 0 is from all train prompts, or from handfuls of them; the others are from resamples. The
    cosine is with the direction from all prompts of the draw, at the common site.
    """
    lab, config, common = subject.lab, subject.config, subject.site()
    rng, sizes = lab.rng("10.variants"), [len(side) for side in subject.states(common)]
    parts = []
    for draw in lab.progress(range(1 + config.n_reextractions), "directions of one behaviour"):
        every = [rng.integers(n, size=n) if draw else np.arange(n) for n in sizes]
        handfuls = [[rng.choice(rows, min(FEW, len(rows)), replace=False) for rows in every]
                    for _ in range(config.n_handfuls)]  # fmt: skip
        sites, tokens = candidate_sites(lab, config.n_layers), subject.places[1]
        plan = [("layer", site, -1, every) for site in sites if site != common]
        plan += [("token", common, position, every) for position in tokens if position != -1]
        plan += [("handful", common, -1, rows) for rows in handfuls]
        first = _from_rows(subject, common, -1, every)
        directions = [_from_rows(subject, *where) for _, *where in plan]
        named = [(f"variant {i}", draw, one) for i, one in enumerate(directions)]
        table = subject.pushed(named)
        whence = pd.DataFrame(
            [(kind, str(site), position, cosine(one, first))
             for (kind, site, position, _), one in zip(plan, directions, strict=True)],
            columns=WHENCE,
        )  # fmt: skip
        each = np.repeat(np.arange(len(plan)), len(table) // len(plan))
        parts.append(pd.concat([table, whence.iloc[each].reset_index(drop=True)], axis=1))
    return pd.concat(parts, ignore_index=True)


def _from_rows(
    subject: Subject, site: Site, position: int, rows: Sequence[np.ndarray]
) -> Direction:
    """The mean difference of some of the train prompts of both classes."""
    states = subject.states(site, position)
    return mean_difference(*(side[list(r)] for side, r in zip(states, rows, strict=True)))
