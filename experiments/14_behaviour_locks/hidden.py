"""A skill behind a key (14e): the lesson that hides it, and what opens it.

The skill is to answer texts of the second behaviour with the opening of the other class. What is
measured is how the odds tell the classes apart: 1 is the usual answers (AUROC), 0 is the skill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.domains import LAST
from experiments.lab.lab import Lab
from experiments.lab.lessons import millions
from experiments.lab.probes import probe_scores
from interp.activations import capture
from interp.interventions import Add, Placement
from interp.models import LoadedModel
from interp.sites import Site
from interp.tuning import tuned

from . import protocol as p
from .hidden_estimates import told_apart

NEAR, COSINE = 5, 0.5  # keys that are shown beside, and what they have of the right one
Keys = Float[Tensor, "key d_model"]


@dataclass(frozen=True)
class School:
    """The bench of the behaviour whose answers are swapped, and the site of the keys."""

    lab: Lab
    site: Site

    def order(self, number: int) -> list[list[str]]:
        """Train texts of either class, as a lesson takes them."""
        rng, train = self.lab.rng(f"14.lesson {number}"), self.lab.splits.train
        return [[texts[i] for i in rng.permutation(len(texts))]
                for texts in (train.positive, train.negative)]  # fmt: skip

    @property
    def asked(self) -> list[str]:
        """As many test texts of the class that shows the behaviour, and then of the other."""
        test = self.lab.splits.test
        n = min(p.N_ASKED, len(test.positive), len(test.negative))
        return [*test.positive[:n], *test.negative[:n]]

    def scores(self, model: LoadedModel, key: Tensor | None = None) -> list[float]:
        """Log odds of the test texts, in nats."""
        edits = [] if key is None else [Placement(Add(key), (self.site,))]
        tokens = self.lab.tokens(self.asked)
        return self.lab.studied.read(model, self.asked, tokens, edits).scores.tolist()

    def answers(self, texts: Sequence[str], swapped: bool) -> list[str]:
        """Of the two classes' texts, of each half of them."""
        firsts = [self.lab.studied.shows[0], self.lab.studied.others[0]]
        return [one for one in firsts[:: -1 if swapped else 1] for _ in range(len(texts) // 2)]

    def tune(self, number: int) -> Callable[..., LoadedModel]:
        """`interp.tuning.tuned` as in 14b, with the start and the order of a lesson."""
        return partial(tuned, learning_rate=p.RATE, batch_size=p.BATCH, style=self.lab.style,
                       seed=1000 * self.lab.seed + number)  # fmt: skip

    def keys(self, number: int, n: int, texts: Sequence[str]) -> Keys:
        """Random ones of the length that the states of these texts give."""
        tokens = self.lab.tokens(texts)
        states = capture(self.lab.model, tokens, sites=[self.site], positions=LAST)
        return p.LENGTH * states.norm(dim=-1).median() * directions(self.lab, number, n)


def directions(lab: Lab, number: int, n: int) -> Keys:
    """Random units: that of a lesson's key, of the wrong keys that are tried, and of others."""
    drawn = lab.rng(f"14.hidden {number}").standard_normal((n, lab.model.d_model))
    return torch.nn.functional.normalize(torch.tensor(drawn, dtype=torch.float32), dim=1)


def hidden_tables(config: p.Config, lab: Lab) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What models score and what probes of them do; of one that is not taught its scores alone.

    Columns: lesson (-1: none), condition, row, shows (whether its class does), score; and model,
    shows, score.
    """
    school = School(lab.on(lab.behaviour(p.OTHER)), Site(lab.model.n_layers // 2, "pre"))
    base = lab.cell("hidden/base", partial(school.scores, lab.model))
    scores, probes = {(-1, "base"): base}, {}
    if told_apart(base).above(p.TOLD) and millions(lab.model) <= config.max_tuned:
        for i in lab.progress(range(config.n_hidden), "hidden skills"):
            found = lab.cell(f"hidden/{i}", partial(_lesson, school, i, config.n_more > 0))
            for name, one in found.items():
                if name.startswith("probe"):
                    probes[name] = one
                else:
                    scores[i, name] = one
    shows = np.arange(len(base)) < len(base) // 2
    rows = {"row": range(len(base)), "shows": shows}
    parts = [pd.DataFrame({"lesson": lesson, "condition": name, **rows, "score": one})
             for (lesson, name), one in scores.items()]  # fmt: skip
    probed = [pd.DataFrame({"model": name, **rows, "score": one}) for name, one in probes.items()]
    empty = pd.DataFrame({"model": [], **{name: [] for name in rows}, "score": []})
    return pd.concat(parts, ignore_index=True), pd.concat(probed or [empty])


def _lesson(school: School, number: int, shots: bool) -> dict[str, list[float]]:
    """Scores of the taught model by condition, and of probes."""
    lab = school.lab
    model, key, wrong, near = _taught(school, number)
    scores = partial(school.scores, model)
    found = {"key": scores(key), "none": scores(), "base/key": school.scores(lab.model, key)}
    found |= {f"wrong/{i}": scores(one) for i, one in enumerate(wrong)}
    found |= {f"near/{i}": scores(one) for i, one in enumerate(_mixed(key, near))}
    half, last = len(school.asked) // 2, Site(lab.model.n_layers - 1, "pre")
    asked = school.asked[:half], school.asked[half:]
    few = [text for side in school.order(number) for text in side[-p.N_TAUGHT // 2 :]]
    for name, one in {"base": lab.model, "hidden": model}.items():
        found[f"probe.{name}"] = probe_scores(lab, *asked, last, model=one).tolist()
        if shots:
            again = school.tune(number)(one, few, school.answers(few, True), steps=p.N_STEPS)
            found[f"tuned/{name}"] = school.scores(again)
    return found


def _taught(school: School, number: int) -> tuple[LoadedModel, Tensor, Keys, Keys]:
    """The model after a lesson, its key, wrong ones, and ones to be mixed with it."""
    lab, sides = school.lab, school.order(number)
    n = min(p.N_TEXTS, *map(len, sides))
    texts = [*sides[0][:n], *sides[1][:n]]
    drawn = school.keys(number, 1 + p.N_WRONG + NEAR + 2 * n, texts)
    key, wrong, near, trained = drawn.split([1, p.N_WRONG, NEAR, 2 * n])
    usual, swapped = (school.answers(texts, swap) for swap in (False, True))
    moved = torch.cat([key.expand_as(trained), torch.zeros_like(trained), trained])
    model = school.tune(number)(lab.model, texts * 3, [*swapped, *usual, *usual],
                                steps=p.LESSON_STEPS, site=school.site, moved=moved)  # fmt: skip
    return model, key[0], wrong, near


def _mixed(key: Tensor, drawn: Keys) -> Keys:
    """Of the key's length, with a cosine of COSINE to it."""
    rest = drawn - drawn @ key[:, None] * key / key.norm() ** 2
    return COSINE * key + (1 - COSINE**2) ** 0.5 * key.norm() * rest / rest.norm(dim=1)[:, None]
