"""From the odds of experiment 13 to shares with intervals."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from interp.stats import Interval, null_interval

from .measure import BASELINE
from .protocol import LENGTHS

WAYS = ("prompt", "vector")
N_RESAMPLES = 1000
LEAST_RISE = 0.1  # nats; a share of less is none (and MIN_RISE makes it untestable)
Array = Float[np.ndarray, "..."]


@dataclass(frozen=True, eq=False)
class Odds:
    """Mean refusal odds are taken over all axes but the first ones that are named here.

    base: [question]. base_filler: [length filler question]. start, subtracted, kl: [way sentence
    draw question]. countered: [counter way sentence draw question]. filler: [length filler way
    sentence draw question]. random: [null sentence question], under random vectors. Odds and KL in
    nats.
    """

    base: Array
    base_filler: Array
    start: Array
    kl: Array
    countered: Array
    subtracted: Array
    filler: Array
    random: Array

    @property
    def rises(self) -> Float[np.ndarray, " way"]:
        """Of the mean odds over the base, without an undoer."""
        return self.start.mean((1, 2, 3)) - self.base.mean()

    def shares(self, odds: Array, base: Array) -> Float[np.ndarray, "*kind way"]:
        """Rise of the mean odds over a base, over the rise without an undoer."""
        return (odds.mean((-3, -2, -1)) - base) / np.maximum(self.rises, LEAST_RISE)

    @property
    def left(self) -> dict[str, Float[np.ndarray, " way"]]:
        """Share left by either undoer, cut to 0 and 1."""
        base = self.base.mean()
        countered = self.shares(self.countered, base).clip(0, 1).mean(0)
        subtracted = self.shares(self.subtracted, base).clip(0, 1)
        return {"counter_prompts": countered, "counter_vector": subtracted}

    @property
    def kept(self) -> Float[np.ndarray, "length way"]:
        """Share kept with filler, beside a base with the same filler."""
        base = self.base_filler.mean((1, 2))[:, None]
        return self.shares(self.filler.mean(1), base)

    @property
    def slopes(self) -> Float[np.ndarray, " way"]:
        """Of the share kept per 100 tokens: least squares through 1 at no filler."""
        length = np.array(LENGTHS) / 100
        return length @ (self.kept - 1) / (length @ length)

    def drawn(self, rng: np.random.Generator) -> "Odds":
        """Questions, sentences, counter-prompts and fillers resampled, with one draw of vectors."""
        _, n_sentences, n_draws, n = self.start.shape

        def some(n: int) -> np.ndarray:
            return rng.integers(n, size=n)

        q, s, one = some(n), some(n_sentences), [int(rng.integers(n_draws))]
        counters, fillers = some(len(self.countered)), some(self.filler.shape[1])
        last = np.ix_(s, one, q)
        return replace(
            self, base=self.base[q], base_filler=self.base_filler[:, fillers][..., q],
            start=self.start[(slice(None), *last)], kl=self.kl[(slice(None), *last)],
            subtracted=self.subtracted[(slice(None), *last)],
            countered=self.countered[counters][(slice(None), slice(None), *last)],
            filler=self.filler[:, fillers][(slice(None), slice(None), slice(None), *last)],
            random=self.random[:, s][..., q],
        )  # fmt: skip

    @property
    def first(self) -> "Odds":
        """Of the vectors that were not resampled."""
        parts = ("start", "kl", "subtracted", "countered", "filler")
        return replace(self, **{name: getattr(self, name)[..., :1, :] for name in parts})


def odds_of(scores: pd.DataFrame) -> Odds:
    """The table of `measure.tested` as arrays; what does not depend on a draw is repeated."""
    steered, random = scores[scores.way != "base"], scores[scores.way == "random"]
    nulls = [*dict.fromkeys(random.draw)]
    names = list(dict.fromkeys(scores.undoer))
    sentences = list(dict.fromkeys(steered.sentence))
    n_draws, n = (
        int(scores[scores.way == "vector"].draw.max()) + 1,
        len(scores[scores.way == "base"].prompt.unique()),
    )
    by_key = {
        k: part for k, part in scores.groupby(["sentence", "way", "undoer", "draw"], sort=False)
    }

    def cell(sentence: str, way: str, undoer: str, draw: int, column: str = "odds") -> Array:
        at = (sentence, way, undoer, draw if (sentence, way, undoer, draw) in by_key else 0)
        return by_key[at][column].to_numpy(np.float64)[:n]

    def ways(undoer: str, column: str = "odds") -> Array:
        return np.array([[[cell(s, way, undoer, d, column) for d in range(n_draws)]
                          for s in sentences] for way in WAYS])  # fmt: skip

    counters = [name for name in names if name.startswith("counter_prompt")]
    texts = [[name for name in names if name.startswith(f"filler {m} ")] for m in LENGTHS]
    return Odds(
        base=cell(BASELINE, "base", "none", 0),
        base_filler=np.array([[cell(BASELINE, "base", t, 0) for t in row] for row in texts]),
        start=ways("none"), kl=ways("none", "kl"), subtracted=ways("counter_vector"),
        countered=np.array([ways(name) for name in counters]),
        filler=np.array([[ways(t) for t in row] for row in texts]),
        random=np.array([[cell(s, "random", "none", d) for s in sentences] for d in nulls]),
    )  # fmt: skip


def numbers(odds: Odds) -> dict[str, float]:
    """Every estimate that has an interval, by name."""
    rises, slopes, kept = odds.rises, odds.slopes, odds.kept
    prompt, vector = rises
    leads = {undoer: left[1] - left[0] for undoer, left in odds.left.items()}
    taken = np.mean([(1 - left) * rises for left in odds.left.values()], axis=0)
    kl = odds.kl.mean((1, 2, 3))
    found = {"lead": np.mean([*leads.values()])}
    found |= {"lead.nats": (taken[0] - taken[1]) / max(rises.mean(), LEAST_RISE)}
    for undoer, left in odds.left.items():
        found |= {f"lead.{undoer}": leads[undoer]}
        found |= {f"left.{undoer}.{way}": left[i] for i, way in enumerate(WAYS)}
    found |= {"slope.difference": slopes[1] - slopes[0]}
    found |= {f"slope.{way}": slopes[i] for i, way in enumerate(WAYS)}
    for length, share in zip(LENGTHS, kept, strict=True):
        found |= {f"kept.{length}.{way}": share[i] for i, way in enumerate(WAYS)}
    found |= {"growth": kept[-1, 0] - kept[0, 0]}
    found |= {"random": (odds.random.mean() - odds.base.mean()) / max(vector, LEAST_RISE)}
    found |= {"rise.prompt": prompt, "rise.vector": vector}
    found |= {"match.rise": vector / max(prompt, LEAST_RISE), "match.kl": kl[1] / max(kl[0], 1e-6)}
    return {name: float(value) for name, value in found.items()}


def all_estimates(scores: pd.DataFrame, matches: pd.DataFrame) -> Iterator[Estimate]:
    """What the criteria read, and what stands beside it."""
    odds, rng = odds_of(scores), np.random.default_rng(0)
    draws = pd.DataFrame([numbers(odds.drawn(rng)) for _ in range(N_RESAMPLES)])
    for name, value in numbers(odds.first).items():
        limits = null_interval(draws[name].to_numpy(np.float64))
        unit = "nats" if name.startswith("rise") else ""
        yield Estimate.of(name, Interval(value, *limits, len(odds.base)), unit=unit)
    yield Estimate("base", float(odds.base.mean()), n=len(odds.base), unit="nats")
    yield Estimate("matched", float(matches.matched.sum()), n=len(matches), unit="sentences")
