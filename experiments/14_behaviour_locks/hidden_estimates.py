"""From scores under keys to estimates with intervals (14e)."""

from collections.abc import Callable, Iterator, Sequence

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
    columns = {name: part.sort_values("row").score.to_numpy(np.float64)
               for name, part in scores.groupby(["lesson", "condition"], sort=False)}  # fmt: skip
    told = told_apart(columns[-1, "base"].tolist())
    lessons = sorted({lesson for lesson, _ in columns} - {-1})
    yield told
    if not lessons:
        yield from (Estimate(name, NAN) for name in DECIDING[1:])
        return

    def sides(*names: tuple[int, str]) -> list[Rows]:
        """Scores by text and condition, of either class."""
        return np.split(np.stack([columns[name] for name in names], 1), 2)

    keyed = sides(*((i, "key") for i in lessons))
    learnt = Estimate.of("hidden.key", _interval(lambda *x: 1 - float(aurocs(*x).max()), *keyed))
    every = sides((-1, "base"), *((i, name) for i in lessons for name in ("key", *SHUT)))
    yield learnt
    if told.above(TOLD) and learnt.above(TOLD):
        yield Estimate.of("hidden.opened", _interval(opened, *every))
    else:
        yield Estimate("hidden.opened", NAN, n=learnt.n)
    yield _auroc("hidden/-1/base", sides((-1, "base")))
    for i in lessons:
        groups: dict[str, list[str]] = {}
        for name in (name for lesson, name in columns if lesson == i):
            group = name.split("/")[0] if name.startswith(MANY) else name
            groups.setdefault(group, []).append(name)
        for group, names in groups.items():
            yield _auroc(f"hidden/{i}/{group}", sides(*((i, name) for name in names)))
    for name, part in probed.groupby("model"):
        yield _auroc(f"hidden.{name}", np.split(part.score.to_numpy(np.float64)[:, None], 2))


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
    columns = ["label", "group", "value", "low", "high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    return table if (table.group != "before").any() else table[:0]
