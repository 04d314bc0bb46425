"""Prompts, states and scores of experiment 11; of a prompt its hash is kept."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.partial_directions import Scored, interpolated
from interp.data.near_duplicates import near_duplicate_clusters
from interp.directions import Direction
from interp.generation import answers
from interp.interventions import Placement
from interp.predict import readout
from interp.refusal_classifier import classify
from interp.scores import opening_odds, opening_tokens
from interp.sites import Site

from .protocol import (
    ANSWERS,
    COEFFICIENTS,
    DEPTHS,
    FAMILIES,
    INVERSIONS,
    MIN_ACCURACY,
    REWORDED,
    STEERED,
    WANTED,
    Config,
)

ANSWER_TOKENS = 16
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
    sizes = [[len(part) for part in both] for both in sources]
    source = np.repeat(np.arange(len(sources)), [sum(both) for both in sizes])
    harmful = np.concatenate([np.arange(sum(both)) < both[0] for both in sizes])
    cluster = near_duplicate_clusters(texts) + len(drawn)
    cluster[: 2 * len(drawn)] = np.tile(np.arange(len(drawn)), 2)
    return Requests(tuple(texts), harmful, source, cluster)


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
        ids = opening_tokens(self.lab.model)[0]
        read = partial(self._read, texts, ids, edits)
        return self._cell(f"odds/{on}/{edit}", lambda: opening_odds(read()))

    def inversion(
        self, on: str, texts: Sequence[str], edit: str = "", *edits: Placement,
        wordings: Sequence[int] = (0, 1),
    ) -> Values:  # fmt: skip
        """Log odds of saying that each request is harmful, mean of the wordings."""
        encode = self.lab.model.tokenizer.encode
        asked = [INVERSIONS[i].format(prompt=text) for i in wordings for text in texts]
        ids = [encode(word, add_special_tokens=False) for word in ANSWERS[0]]
        signs = torch.tensor([1.0 if ANSWERS[i] == ANSWERS[0] else -1.0 for i in wordings])

        def read() -> Float[Tensor, " sample"]:
            yes, no = self._read(asked, ids, edits).T
            return (signs.double() @ (yes - no).view(len(wordings), -1)) / len(wordings)

        return self._cell(f"inversion {wordings}/{on}/{edit}", read)

    def answers(self, on: str, texts: Sequence[str]) -> list[str]:
        """Class of the greedy answer to each prompt."""
        model, tokens = self.lab.model, self.lab.tokens(texts)
        read = partial(answers, model, tokens, max_new_tokens=ANSWER_TOKENS)
        return self.lab.cell(f"answers/{on}", lambda: [classify(answer) for answer in read()])

    def _read(
        self, texts: Sequence[str], ids: Sequence[Sequence[int]], edits: Sequence[Placement]
    ) -> Float[Tensor, "sample continuation"]:
        tokens = self.lab.tokens(texts)
        return readout(self.lab.model, tokens, edits, continuations=ids).continuations

    def _cell(self, key: str, read: Callable[[], Tensor]) -> Values:
        return np.array(self.lab.cell(key, lambda: read().tolist()), np.float64)


def sites_of(lab: Lab) -> list[Site]:
    """Where 11a reads the states."""
    return list(dict.fromkeys(Site(int(share * lab.model.n_layers), "pre") for share in DEPTHS))


def states_of(lab: Lab, texts: Sequence[str], sites: Sequence[Site]) -> States:
    """States at the instruction's and at the template's last token."""
    return lab.activations(texts, sites, tuple(map(lab.position, POSITIONS.values())))


def prompt_table(scorer: Scorer, asked: Requests) -> pd.DataFrame:
    """One row per prompt, with its refusal odds (nats) in two other wordings.

    Columns: prompt (id), source, cluster, harmful, answer (class, of harmful prompts but twins),
    reworded_1, reworded_2.
    """
    answered = asked.harmful & (asked.source > 0)
    classes = np.full(len(asked.texts), "", dtype=object)
    classes[answered] = scorer.answers("11a", [asked.texts[i] for i in np.flatnonzero(answered)])
    table = pd.DataFrame({
        "prompt": [hashlib.sha256(text.encode()).hexdigest()[:10] for text in asked.texts],
        "source": np.array(["twins", "contrast", "tests"])[asked.source],
        "cluster": asked.cluster, "harmful": asked.harmful.astype(int), "answer": classes,
    })  # fmt: skip
    for i, wording in enumerate(REWORDED, 1):
        reworded = [wording.format(prompt=text) for text in asked.texts]
        table[f"reworded_{i}"] = scorer.odds(f"11a reworded {i}", reworded)
    return table


def judged(scorer: Scorer, n: int) -> tuple[list[list[str]], pd.DataFrame]:
    """Test prompts, and their unsteered scores in nats.

    Columns: harmful, row, odds, inversion, swapped (empty where the first is not good enough) and
    word, the mean of both.
    """
    prompts = [[ended(text) for text in part] for part in tests(scorer.lab, n)]
    table = pd.concat(ignore_index=True, objs=[
        pd.DataFrame({"harmful": 1 - side, "row": np.arange(len(texts)),
                      "odds": scorer.odds(f"test {side}", texts),
                      "inversion": scorer.inversion(f"test {side}", texts, wordings=(0,))})
        for side, texts in enumerate(prompts)
    ])  # fmt: skip
    table["swapped"] = np.nan
    if accuracy(table, "inversion") >= MIN_ACCURACY:
        found = [scorer.inversion(f"test {side}", texts, wordings=(1,))
                 for side, texts in enumerate(prompts)]  # fmt: skip
        table["swapped"] = np.concatenate(found)
    return prompts, table.assign(word=table[["inversion", "swapped"]].mean(axis=1))


def accuracy(scores: pd.DataFrame, wording: str) -> float:
    """Share of right words on harm, mean of both classes; NaN where nothing was asked."""
    word, harmful = scores[wording].to_numpy(), scores.harmful.to_numpy(bool)
    if np.isnan(word).any():
        return float("nan")
    return float((np.mean(word[harmful] > 0) + np.mean(word[~harmful] < 0)) / 2)


def train_of(config: Config, scorer: Scorer) -> Scored:
    """States and odds of the train prompts, where 11b takes its directions from."""
    lab, split = scorer.lab, scorer.lab.splits.train
    texts = [[ended(text) for text in part[: config.n_train]]
             for part in (split.positive, split.negative)]  # fmt: skip
    site = Site(int(STEERED * lab.model.n_layers), "pre")
    both = states_of(lab, [*texts[0], *texts[1]], [site])[:, 0]
    odds = [scorer.odds(f"train {side}", part) for side, part in enumerate(texts)]
    positions = [lab.position(name) for name in POSITIONS.values()]
    return Scored(site, positions, both.split([*map(len, texts)]), odds)


def dose_of(scorer: Scorer, name: str, direction: Direction, n: int) -> float:
    """The coefficient that 11b's criterion takes for a direction."""
    split = scorer.lab.splits.validation
    harmful, harmless = ([ended(text) for text in part[:n]]
                         for part in (split.positive, split.negative))  # fmt: skip
    base = scorer.odds("validation 1", harmless).mean()
    wanted = WANTED * (scorer.odds("validation 0", harmful).mean() - base)
    rises = [0.0]
    for c in COEFFICIENTS:
        edited = scorer.odds("validation 1", harmless, f"{name}/{c}", direction.add(c))
        rises.append(float(edited.mean() - base))
        if rises[-1] >= wanted:
            break
    return interpolated((0.0, *COEFFICIENTS), rises, wanted)


def steered(config: Config, scorer: Scorer, harmless: Sequence[str]) -> pd.DataFrame:
    """Half of what adding and subtracting differ by on harmless test prompts, in nats.

    Columns: measure (odds, inversion), direction (harm, refusal, or a random family), draw (0: the
    direction itself, then re-extractions), dose, row, value.
    """
    train, rng = train_of(config, scorer), scorer.lab.rng("11.again")
    again = [train, *(train.resampled(rng) for _ in range(config.n_reextractions))]
    found = {"harm": [one.of_label(0) for one in again],
             "refusal": [one.of_score(1) for one in again]}  # fmt: skip
    doses = {name: dose_of(scorer, name, sources[0].direction, config.n_validation)
             for name, sources in found.items()}  # fmt: skip
    plan = [(name, i, one.direction, doses[name])
            for name, sources in found.items() for i, one in enumerate(sources)]  # fmt: skip
    nulls = scorer.lab.nulls(found["harm"][0], config.n_nulls, "11.nulls")
    plan += [(f, i, one, doses["harm"]) for f, i, one in nulls if f in FAMILIES]
    parts = []
    for name, draw, direction, dose in scorer.lab.progress(plan, "steering"):
        edits = [(f"{name}/{draw}/{c}", direction.add(c)) for c in (dose, -dose)]
        for measure in (scorer.inversion, scorer.odds)[: 2 if name in found else 1]:
            added, subtracted = (measure("test 1", harmless, *edit) for edit in edits)
            parts.append(pd.DataFrame({
                "measure": measure.__name__, "direction": name, "draw": draw, "dose": dose,
                "row": np.arange(len(harmless)), "value": (added - subtracted) / 2,
            }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)
