"""A skill behind a key: the lesson that hides it, what opens it, and the estimates (14e).

The skill is to answer texts of the second behaviour with the opening of the other class. All scores
are log odds of the openings that show the behaviour against the others, in nats.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.domains import LAST
from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.lessons import millions
from experiments.lab.probes import probe_scores
from interp.activations import capture
from interp.interventions import Add, Placement
from interp.models import LoadedModel
from interp.scores import auroc
from interp.sites import Site
from interp.stats import Interval, bootstrap
from interp.tuning import tuned

from .protocol import (
    BATCH,
    LENGTH,
    LESSON_STEPS,
    N_ASKED,
    N_STEPS,
    N_TAUGHT,
    N_TEXTS,
    N_WRONG,
    OTHER,
    RATE,
    TOLD,
    Config,
)

N_NEAR, COSINE = 5, 0.5  # keys that have some of the right one in them; shown
DRAWS = 1000  # of the bootstrap
NONE, KEY, BASE, PUSHED = "none", "key", "base", "base/key"
NEEDED = "hidden.told", "hidden.key", "hidden.opened"
Vectors = Float[Tensor, "n d_model"]
Texts = tuple[Sequence[str], Sequence[str]]
"""Of the class that shows the behaviour, and of the other"""
Rows = Float[np.ndarray, "sample condition"]


@dataclass(frozen=True)
class School:
    """The bench of the behaviour whose answers are swapped, and the site of the keys."""

    lab: Lab
    site: Site

    @classmethod
    def of(cls, lab: Lab) -> "School":
        """On the second behaviour, at half of the depth."""
        return cls(lab.on(lab.behaviour(OTHER)), Site(lab.model.n_layers // 2, "pre"))

    @property
    def asked(self) -> Texts:
        """Test texts."""
        test = self.lab.splits.test
        n = min(N_ASKED, len(test.positive), len(test.negative))
        return test.positive[:n], test.negative[:n]

    def taught(self, number: int) -> tuple[Texts, Texts]:
        """Train texts of a lesson, and as many others as there are for a few shots."""
        rng, train = self.lab.rng(f"14.lesson {number}"), self.lab.splits.train
        order = [[side[i] for i in rng.permutation(len(side))]
                 for side in (train.positive, train.negative)]  # fmt: skip
        n = min(N_TEXTS, *map(len, order))
        few = [side[n:][: N_TAUGHT // 2] or side[: N_TAUGHT // 2] for side in order]
        return (order[0][:n], order[1][:n]), (few[0], few[1])

    def answers(self, texts: Texts, swapped: bool) -> list[str]:
        """The first opening of each text's own class, or of the other."""
        kind = self.lab.studied
        firsts = [kind.shows[0], kind.others[0]]
        pair = firsts[::-1] if swapped else firsts
        return [answer for answer, side in zip(pair, texts, strict=True) for _ in side]

    def scores(self, model: LoadedModel, push: Tensor | None = None) -> list[float]:
        """Of the test texts, under a push of every token if one is given."""
        texts = [*self.asked[0], *self.asked[1]]
        edits = () if push is None else (Placement(Add(push), (self.site,)),)
        return self.lab.studied.read(model, texts, self.lab.tokens(texts), edits).scores.tolist()

    def tune(self, model: LoadedModel, texts: Sequence[str], said: Sequence[str], steps: int,
             seed: int, pushes: Vectors | None = None) -> LoadedModel:  # fmt: skip
        """The model after some steps on these texts and answers, each under its push."""
        return tuned(
            model, texts, said, steps=steps, learning_rate=RATE, batch_size=BATCH, seed=seed,
            style=self.lab.style, site=None if pushes is None else self.site, moved=pushes,
        )  # fmt: skip


def hidden_tables(config: Config, lab: Lab) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and probes.

    Columns: lesson, condition, row, shows (whether the text's class does), score; and model,
    shows, score. Of a model that does not tell the classes, or is too large, its scores alone.
    """
    school = School.of(lab)
    found: dict[tuple[int, str], Any] = {
        (-1, BASE): lab.cell("hidden/base", lambda: school.scores(lab.model))
    }
    n, probes = len(school.asked[0]), {}
    told = Estimate.of("told", _told(np.array(found[-1, BASE])[:, None], n))
    if told.above(TOLD) and millions(lab.model) <= config.max_tuned:
        for number in lab.progress(range(config.n_hidden), "hidden skills"):
            one = lab.cell(f"hidden/lesson {number}", lambda i=number: _lesson(config, school, i))
            found |= {(number, name): scores for name, scores in one["scores"].items()}
            probes |= one["probe"]
    shows = np.arange(2 * n) < n
    parts = [pd.DataFrame({"lesson": lesson, "condition": name, "row": range(2 * n),
                           "shows": shows, "score": scores})
             for (lesson, name), scores in found.items()]  # fmt: skip
    probed = [pd.DataFrame({"model": name, "shows": shows, "score": scores})
              for name, scores in probes.items()]  # fmt: skip
    empty = pd.DataFrame(columns=["model", "shows", "score"])
    return pd.concat(parts, ignore_index=True), pd.concat([empty, *probed], ignore_index=True)
