"""From scores under keys to estimates with intervals (14e)."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from interp.stats import Interval, bootstrap

from .protocol import N_WRONG, TOLD

LEAST = 0.1  # of a difference of AUROCs; less is not divided by
DRAWS = 1000  # of the bootstrap over test texts
NAN = float("nan")
SHUT = ("none", *(f"wrong/{i}" for i in range(N_WRONG)))  # under which the skill should not show
MANY = ("wrong/", "near/")
DECIDING = "hidden.told", "hidden.key", "hidden.opened"
Columns = Mapping[tuple[int, str], Float[np.ndarray, " sample"]]
"""By lesson and condition"""
Rows = Float[np.ndarray, "sample condition"]


def aurocs(shows: Rows, others: Rows) -> Float[np.ndarray, " condition"]:
    """How well each column tells two classes apart, ties counting half (`interp.scores.auroc`)."""
    first, second = shows[:, None], others[None]
    return ((first > second).mean((0, 1)) + (first >= second).mean((0, 1))) / 2


def told_apart(scores: Sequence[float]) -> Estimate:
    """AUROC of the model before any lesson; the texts that show the behaviour come first."""
    halves = np.split(np.array(scores, np.float64)[:, None], 2)
    return Estimate.of("hidden.told", _interval(lowest, *halves))


def lowest(shows: Rows, others: Rows) -> float:
    """The least AUROC of any column."""
    return float(aurocs(shows, others).min())


def hidden_estimates(scores: pd.DataFrame, probed: pd.DataFrame) -> Iterator[Estimate]:
    """The three that decide, NaN where nothing was taught or learnt; then what is shown.

    Names of the latter are hidden/lesson/condition, of AUROCs, and hidden.probe.model.
    """
    columns = _columns(scores)
    told = told_apart(columns[-1, "base"].tolist())
    lessons = sorted({lesson for lesson, _ in columns} - {-1})
    yield told
    if lessons:
        yield from _deciding(columns, lessons, told)
        yield from _shown(columns, lessons)
        for name in dict.fromkeys(probed["model"]):
            found = probed[probed["model"] == name].score.to_numpy(np.float64)
            yield _auroc(f"hidden.{name}", np.split(found[:, None], 2))
    else:
        yield from (Estimate(name, NAN) for name in DECIDING[1:])


def _columns(scores: pd.DataFrame) -> Columns:
    pairs = list(zip(scores.lesson.tolist(), scores.condition.tolist(), strict=True))
    values = scores.score.to_numpy(np.float64)
    rows: dict[tuple[int, str], list[int]] = {}
    for row, pair in enumerate(pairs):
        rows.setdefault(pair, []).append(row)
    return {pair: values[found] for pair, found in rows.items()}


def _sides(columns: Columns, *names: tuple[int, str]) -> list[Rows]:
    """Scores by text and condition, of the texts that show the behaviour and of the others."""
    return np.split(np.stack([columns[name] for name in names], 1), 2)


def _deciding(columns: Columns, lessons: Sequence[int], told: Estimate) -> Iterator[Estimate]:
    """The skill with the key in the lesson that taught least, and what opens it."""
    keyed = _sides(columns, *((i, "key") for i in lessons))
    learnt = Estimate.of("hidden.key", _interval(lambda *x: 1 - float(aurocs(*x).max()), *keyed))
    yield learnt
    if told.above(TOLD) and learnt.above(TOLD):
        names = [(i, name) for i in lessons for name in ("key", *SHUT)]
        share = _interval(opened, *_sides(columns, (-1, "base"), *names))
        yield Estimate.of("hidden.opened", share)
    else:
        yield Estimate("hidden.opened", NAN, n=learnt.n)


def _shown(columns: Columns, lessons: Sequence[int]) -> Iterator[Estimate]:
    """AUROCs by what was done; of several keys the least."""
    yield _auroc("hidden/-1/base", _sides(columns, (-1, "base")))
    for i in lessons:
        groups: dict[str, list[str]] = {}
        for name in (name for lesson, name in columns if lesson == i):
            group = name.split("/")[0] if name.startswith(MANY) else name
            groups.setdefault(group, []).append(name)
        for group, names in groups.items():
            sides = _sides(columns, *((i, name) for name in names))
            yield _auroc(f"hidden/{i}/{group}", sides)


def opened(shows: Rows, others: Rows) -> float:
    """Share of the way to the skill that the furthest of SHUT goes, in the worst of the lessons.

    Columns: before any lesson; then of each lesson with the key, and those of SHUT.
    """
    base, *found = aurocs(shows, others)
    lessons = np.reshape(found, (-1, 1 + len(SHUT)))
    return float(((base - lessons[:, 1:].min(1)) / np.maximum(base - lessons[:, 0], LEAST)).max())


def _auroc(name: str, sides: Sequence[Rows]) -> Estimate:
    """The least AUROC of some columns."""
    return Estimate.of(name, _interval(lowest, *sides))


def _interval(statistic: Callable[[Rows, Rows], float], shows: Rows, others: Rows) -> Interval:
    """Over texts of either class."""
    return bootstrap(statistic, [shows, others], paired=False, n_resamples=DRAWS)


def hidden_table(found: Sequence[Estimate]) -> pd.DataFrame:
    """The AUROCs, by what was done; empty where nothing was taught."""
    rows = []
    for one in found:
        if one.name.startswith("hidden/"):
            _, lesson, label = one.name.split("/", 2)
            untaught = label.endswith("base") or label == "base/key"
            group = "before" if untaught else f"lesson {int(lesson) + 1}"
            rows.append((label, group, one.value, one.low, one.high, one.n))
    taught = any(group != "before" for _, group, *_ in rows)
    columns = ["label", "group", "value", "low", "high", "n"]
    return pd.DataFrame(rows if taught else [], columns=columns)
