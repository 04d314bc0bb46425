"""From the odds of experiment 13 to shares with intervals."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from interp.stats import Interval, null_interval

from .protocol import LENGTHS

WAYS = ("prompt", "vector")
N_RESAMPLES = 1000
LEAST = 0.1  # nats: no share is taken of less (and MIN_RISE makes it untestable)
Cube = Float[np.ndarray, "undoer way sentence draw question"]
Means = Float[np.ndarray, "undoer way"]


def cube_of(scores: pd.DataFrame, column: str = "odds") -> Cube:
    """One column of `measure.tested`, ways base, prompt, vector; NaN where nothing was measured.

    What does not depend on the draw of the vectors is repeated for each.
    """
    keys = ["undoer", "way", "sentence", "draw"]
    rows = {key: part[column].to_numpy(np.float64) for key, part in scores.groupby(keys)}
    undoers, sentences = scores.undoer.unique(), scores.sentence.unique()
    missing = np.full(scores.prompt.nunique(), np.nan)

    def row(*key: object) -> np.ndarray:
        return rows.get(key, rows.get((*key[:-1], 0), missing))

    draws = range(scores.draw.max() + 1)
    return np.array([[[[row(u, way, s, d) for d in draws] for s in sentences]
                      for way in ("base", *WAYS)] for u in undoers])  # fmt: skip


def kinds_of(undoers: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows of the cube by the first word of the undoer."""
    kinds = np.array([name.split()[0] for name in undoers])
    return {kind: np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds)}


def resampled(
    cube: Cube, kinds: Mapping[str, np.ndarray], rng: np.random.Generator
) -> tuple[Cube, dict[str, np.ndarray]]:
    """Questions, sentences, counter-prompts and filler texts again, with one draw of vectors."""
    q, s = (rng.integers(n, size=n) for n in (cube.shape[4], cube.shape[2]))
    drawn = cube[:, :, s][:, :, :, [rng.integers(cube.shape[3])]][..., q]
    picks = {len(kinds[k]): rng.integers(len(kinds[k]), size=len(kinds[k])) for k in kinds}
    again = {k: rows[picks[len(rows)]] if k != "random" else rows for k, rows in kinds.items()}
    return drawn, again


def numbers(m: Means, kinds: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Every share, from mean odds per undoer and way (base, prompt, vector)."""
    base, *start = m[kinds["none"][0]]
    rises = np.array(start) - base
    whole = np.maximum(rises, LEAST)
    left = {
        undoer: ((m[kinds[kind], 1:] - base) / whole).clip(0, 1).mean(0)
        for undoer, kind in (("counter_prompts", "counter_prompt"), ("counter_vector",) * 2)
    }
    kept = {n: (m[kinds[f"filler_{n}"], 1:] - m[kinds[f"filler_{n}"], :1]).mean(0) / whole
            for n in LENGTHS}  # fmt: skip
    length = np.array(LENGTHS) / 100
    slopes = length @ (np.array([*kept.values()]) - 1) / (length @ length)
    taken = np.mean([(1 - share) * rises for share in left.values()], axis=0)
    leads = {f"lead.{undoer}": share[1] - share[0] for undoer, share in left.items()}
    found = {"lead": np.mean([*leads.values()]), **leads}
    found |= {"lead.nats": (taken[0] - taken[1]) / max(rises.mean(), LEAST)}
    found |= {"slope.difference": slopes[1] - slopes[0]}
    found |= {"growth": kept[LENGTHS[-1]][0] - kept[LENGTHS[0]][0]}
    found |= {"random": (m[kinds["random"], 2].mean() - base) / whole[1]}
    found |= {"match.rise": whole[1] / whole[0]}
    for i, way in enumerate(WAYS):
        found |= {f"rise.{way}": rises[i], f"slope.{way}": slopes[i]}
        found |= {f"left.{undoer}.{way}": share[i] for undoer, share in left.items()}
        found |= {f"kept.{n}.{way}": share[i] for n, share in kept.items()}
    return {name: float(value) for name, value in found.items()}


def all_estimates(scores: pd.DataFrame, matches: pd.DataFrame) -> Iterator[Estimate]:
    """What the criteria read, and what stands beside it; values are of the first vectors."""
    cube, kinds, rng = cube_of(scores), kinds_of(scores.undoer.unique()), np.random.default_rng(0)

    def means(odds: Cube) -> Means:
        return odds.mean((2, 3, 4))

    again = (resampled(cube, kinds, rng) for _ in range(N_RESAMPLES))
    draws = pd.DataFrame([numbers(means(odds), rows) for odds, rows in again])
    for name, value in numbers(means(cube[:, :, :, :1]), kinds).items():
        limits = null_interval(draws[name].to_numpy(np.float64))
        unit = "nats" if name.startswith("rise") else ""
        yield Estimate.of(name, Interval(value, *limits, cube.shape[-1]), unit=unit)
    _, sentence, vector = np.nanmean(cube_of(scores, "kl")[kinds["none"][0]], axis=(1, 2, 3))
    yield Estimate("match.kl", float(vector / max(sentence, 1e-6)), n=cube.shape[-1])
    yield Estimate("matched", float(matches.matched.sum()), n=len(matches), unit="sentences")
