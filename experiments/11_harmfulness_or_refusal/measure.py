"""Prompts, states and scores of experiment 11; of a prompt its hash is kept."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.selection import Source
from interp.behaviours import Behaviour
from interp.data.near_duplicates import near_duplicate_clusters
from interp.directions import Direction, direction_from, mean_difference
from interp.interventions import Placement
from interp.scores import REFUSAL_OPENINGS
from interp.sites import Site

from .protocol import (
    ANSWERS,
    COEFFICIENTS,
    DEPTHS,
    FAMILIES,
    INVERSION,
    REWORDED,
    STEERED,
    WANTED,
    Config,
)

POSITIONS = {"instruction": "last_instruction", "template": "last"}
Values = Float[np.ndarray, " sample"]
States = Float[Tensor, "sample site pos d_model"]


@dataclass(frozen=True, eq=False)
class Requests:
    """Prompts of several sources; those of one cluster are resampled together."""

    texts: tuple[str, ...]
    harmful: Bool[np.ndarray, " sample"]
    source: Int[np.ndarray, " sample"]
    cluster: Int[np.ndarray, " sample"]


def ended(text: str) -> str:
    """A request with a full stop at its end, whatever it had there."""
    return text.rstrip(" .?!:;\"'") + "."


def requests(config: Config, lab: Lab) -> Requests:
    """Twins, then the contrast set's test split, then the test sets; as many of both classes."""
    twins, split = lab.data("twins"), lab.splits.test
    pairs = near_duplicate_clusters(
        [" ".join(pair) for pair in zip(twins.positive, twins.negative, strict=True)]
    )
    first = np.unique(pairs, return_index=True)[1]  # one pair of near-duplicates
    drawn = lab.rng("11.twins").permutation(first)[: config.n_prompts]
    sources = [
        [[part[i] for i in drawn] for part in (twins.positive, twins.negative)],
        [part[: config.n_prompts] for part in (split.positive, split.negative)],
        tests(lab, config.n_prompts),
    ]
    texts = [ended(text) for source in sources for part in source for text in part]
    sizes = [(i, side, len(part)) for i, both in enumerate(sources) for side, part in enumerate(both)]
    source, side = (np.repeat([s[k] for s in sizes], [s[2] for s in sizes]) for k in (0, 1))
    cluster = near_duplicate_clusters(texts) + len(drawn)
    cluster[: 2 * len(drawn)] = np.tile(np.arange(len(drawn)), 2)
    return Requests(tuple(texts), side == 0, source, cluster)


def tests(lab: Lab, n: int) -> list[list[str]]:
    """The first `n` prompts of both test sets, harmful and harmless, in random order."""
    sets = lab.harmful_test.texts, lab.harmless_test.texts
    n = min(n, *map(len, sets))
    orders = [lab.rng(f"11.{i}").permutation(len(texts))[:n] for i, texts in enumerate(sets)]
    return [[texts[i] for i in order] for texts, order in zip(sets, orders, strict=True)]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Refusal odds, and log odds of the word on harm, in nats; every score is a cell."""

    lab: Lab

    def odds(self, on: str, texts: Sequence[str], edit: str = "", *edits: Placement) -> Values:
        """Refusal odds under an edit; `on` names the prompts, `edit` the edit."""
        return self._scores("refusal", REFUSAL_OPENINGS, (), on, texts, edit, edits)

    def inversion(self, on: str, texts: Sequence[str], edit: str = "", *edits: Placement) -> Values:
        """Log odds of saying that each request is harmful."""
        asked = [INVERSION.format(prompt=text) for text in texts]
        return self._scores("inversion", ANSWERS[:1], ANSWERS[1:], on, asked, edit, edits)

    def _scores(
        self, name: str, shows: Sequence[str], others: Sequence[str], on: str,
        texts: Sequence[str], edit: str, edits: Sequence[Placement],
    ) -> Values:  # fmt: skip
        lab = self.lab
        behaviour = Behaviour(name, lab.contrast, tuple(shows), tuple(others), style=lab.style)
        found = lab.cell(
            f"{name}/{on}/{edit or 'base'}",
            lambda: behaviour.scores(lab.model, texts, edits).tolist(),
        )
        return np.array(found, np.float64)


def sites_of(lab: Lab) -> list[Site]:
    """Where 11a reads the states."""
    return list(dict.fromkeys(Site(int(share * lab.model.n_layers), "pre") for share in DEPTHS))


def states_of(lab: Lab, texts: Sequence[str], sites: Sequence[Site]) -> States:
    """States at the instruction's and at the template's last token."""
    return lab.activations(texts, sites, tuple(map(lab.position, POSITIONS.values())))


def prompt_table(scorer: Scorer, asked: Requests) -> pd.DataFrame:
    """One row per prompt. Columns: prompt (id), source, cluster, harmful, odds, reworded (nats)."""
    reworded = [REWORDED.format(prompt=text) for text in asked.texts]
    return pd.DataFrame({
        "prompt": [hashlib.sha256(text.encode()).hexdigest()[:10] for text in asked.texts],
        "source": np.array(["twins", "contrast", "tests"])[asked.source],
        "cluster": asked.cluster, "harmful": asked.harmful.astype(int),
        "odds": scorer.odds("11a", asked.texts),
        "reworded": scorer.odds("11a reworded", reworded),
    })  # fmt: skip


def judged(scorer: Scorer, n: int) -> tuple[list[list[str]], pd.DataFrame]:
    """Test prompts, and their unsteered scores. Columns: harmful, row, odds, inversion (nats)."""
    prompts = [[ended(text) for text in part] for part in tests(scorer.lab, n)]
    parts = [
        pd.DataFrame({
            "harmful": 1 - side, "row": np.arange(len(texts)),
            "odds": scorer.odds(f"test {side}", texts),
            "inversion": scorer.inversion(f"test {side}", texts),
        })
        for side, texts in enumerate(prompts)
    ]  # fmt: skip
    return prompts, pd.concat(parts, ignore_index=True)


# ---------------------------------------------------------------------------------------- steering


@dataclass(frozen=True, eq=False)
class Train:
    """States at the site of steering, harmful and harmless, and the refusal odds of the prompts."""

    site: Site
    positions: tuple[int, int]
    states: tuple[States, States]
    odds: tuple[Values, Values]

    def resampled(self, rng: np.random.Generator) -> "Train":
        """With replacement in each class."""
        rows = [rng.integers(len(odds), size=len(odds)) for odds in self.odds]
        states, odds = ([part[r] for part, r in zip(parts, rows, strict=True)]
                        for parts in (self.states, self.odds))  # fmt: skip
        return replace(self, states=tuple(states), odds=tuple(odds))

    def harm(self) -> Source:
        """What the classes differ by at the last token of the instruction."""
        classes = [part[:, 0, 0] for part in self.states]
        return Source(mean_difference(*classes, self.site, self.positions[0]), *classes)

    def refusal(self) -> Source:
        """What goes with the odds at the last token of the template, as long as classes differ."""
        classes = [part[:, 0, 1].double() for part in self.states]
        odds = torch.tensor(np.concatenate(self.odds))
        along = (odds - odds.mean()) @ torch.cat(classes)
        found = direction_from(along, "covariance", self.site, self.positions[1])
        length = float((classes[0].mean(0) - classes[1].mean(0)) @ found.unit.double())
        return Source(replace(found, norm=abs(length)), *classes)


def train_of(config: Config, scorer: Scorer) -> Train:
    """States and odds of the train prompts."""
    lab, split = scorer.lab, scorer.lab.splits.train
    texts = [[ended(text) for text in part[: config.n_train]]
             for part in (split.positive, split.negative)]  # fmt: skip
    site = Site(int(STEERED * lab.model.n_layers), "pre")
    both = states_of(lab, [*texts[0], *texts[1]], [site])
    states = both[: len(texts[0])], both[len(texts[0]) :]
    odds = [scorer.odds(f"train {side}", part) for side, part in enumerate(texts)]
    positions = [lab.position(name) for name in POSITIONS.values()]
    return Train(site, (positions[0], positions[1]), states, (odds[0], odds[1]))


def dose_of(scorer: Scorer, name: str, direction: Direction, n: int) -> float:
    """The coefficient that 11b's criterion takes for a direction."""
    split = scorer.lab.splits.validation
    harmful, harmless = ([ended(text) for text in part[:n]]
                         for part in (split.positive, split.negative))  # fmt: skip
    base = scorer.odds("validation 1", harmless).mean()
    wanted = WANTED * (scorer.odds("validation 0", harmful).mean() - base)
    rises = [
        scorer.odds("validation 1", harmless, f"{name}/{c}", direction.add(c)).mean() - base
        for c in COEFFICIENTS
    ]
    enough = [c for c, rise in zip(COEFFICIENTS, rises, strict=True) if rise >= wanted]
    return enough[0] if enough else COEFFICIENTS[int(np.argmax(rises))]


def steered(config: Config, scorer: Scorer, harmless: Sequence[str]) -> pd.DataFrame:
    """Scores of harmless test prompts under every addition, in nats.

    Columns: measure (odds, inversion), direction (harm, refusal, or a random family), draw (0: the
    direction itself, then re-extractions), dose, row, value.
    """
    train, rng = train_of(config, scorer), scorer.lab.rng("11.again")
    again = [train, *(train.resampled(rng) for _ in range(config.n_reextractions))]
    found = {"harm": [one.harm() for one in again], "refusal": [one.refusal() for one in again]}
    doses = {name: dose_of(scorer, name, sources[0].direction, config.n_validation)
             for name, sources in found.items()}  # fmt: skip
    plan = [(name, i, one.direction, doses[name])
            for name, sources in found.items() for i, one in enumerate(sources)]  # fmt: skip
    nulls = scorer.lab.nulls(found["harm"][0], config.n_nulls, "11.nulls")
    plan += [(f, i, one, doses["harm"]) for f, i, one in nulls if f in FAMILIES]
    parts = []
    for name, draw, direction, dose in scorer.lab.progress(plan, "steering"):
        edit = f"{name}/{draw}/{dose}", direction.add(dose)
        for measure in (scorer.odds, scorer.inversion):
            values = measure("test 1", harmless, *edit)
            parts.append(pd.DataFrame({
                "measure": measure.__name__, "direction": name, "draw": draw, "dose": dose,
                "row": np.arange(len(values)), "value": values,
            }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)
