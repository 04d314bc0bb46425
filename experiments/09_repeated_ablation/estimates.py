"""From answers and counts of directions to estimates with intervals."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats as scipy_stats

from experiments.lab.estimate import Estimate
from experiments.lab.meter import SHOWING
from interp.stats import Interval

from .measure import MIXED, REFUSES
from .protocol import LEFT, MOST

Z = 1.959964
CONDITIONS = ("base", "weak", "strong", "random")
N_RESAMPLES = 1000
NAN = float("nan")
Shown = Float[np.ndarray, " prompt"]  # 0 or 1; NaN where it does not count
STEERED = (
    "left", "weak", "mixed.over.random", "mixed.over.strong", "reworded.over.random",
    "sentence.over.random", "chinese.over.base", "chinese.over.random", "chinese.asked",
)  # fmt: skip


def padded_mean(values: Float[np.ndarray, " prompt"], low: float, high: float) -> Interval:
    """Mean of what lies between two limits; its interval has one more value at either.

    With -1 and 1 that of Bonett and Price (2012) for a difference of paired rates, with 0 and 1
    nearly that of Agresti and Coull (1998) for a rate.
    """
    padded = np.append(values, [low, high])
    half = Z * padded.std() / len(padded) ** 0.5
    limits = np.clip([padded.mean() - half, padded.mean() + half], low, high).tolist()
    return Interval(float(values.mean()), *limits, len(values))


def estimate(name: str, values: Shown, low: float = 0.0) -> Estimate:
    """A rate, or with a `low` of -1 a difference of rates, of the prompts that count."""
    kept = values[~np.isnan(values)]
    return Estimate.of(name, padded_mean(kept, low, 1.0)) if len(kept) else Estimate(name, NAN)


def answer_estimates(answers: pd.DataFrame) -> Iterator[Estimate]:
    """What 09a, b and d ask of the answers under every edit, and the rates beside it."""
    shown = {key: part.reset_index() for key, part in answers.groupby(["condition", "draw"])}
    base = shown["base", "0"]
    refused = {key: part.answer.isin(REFUSES).to_numpy(bool) for key, part in shown.items()}
    n_refused = max(1, int(refused["base", "0"].sum()))
    left = (refused["base", "0"] & refused["strong", "0"]).sum() / n_refused
    yield Estimate("left", float(left), n=n_refused, unit="prompts")
    yield Estimate("weak", float(("weak", "0") in shown), unit="directions")
    measured = {
        "refused": refused,
        "mixed": {key: part.answer == MIXED for key, part in shown.items()},
        "chinese": {key: part.chinese for key, part in shown.items()},
        "reworded": {key: part.way != base.way for key, part in shown.items()},
        "sentence": {key: part.sentence != base.sentence for key, part in shown.items()},
    }
    pairs = {"mixed": ("random", "strong"), "chinese": ("base", "random"),
             "reworded": ("random",), "sentence": ("random",)}  # fmt: skip
    for name, found in measured.items():
        counts = refused if name in ("reworded", "sentence") else None
        rates = dict(strongest({key: np.asarray(x, float) for key, x in found.items()}, counts))
        for condition, values in rates.items():
            yield estimate(f"{name}.{condition}", values)
        of = rates.get("strong" if name == "chinese" else "weak")
        for other in pairs.get(name, ()):
            gap = np.full(len(base), np.nan) if of is None else of - rates[other]
            yield estimate(f"{name}.over.{other}", gap, -1.0)


def strongest(
    shown: dict[tuple[str, str], Shown],
    refused: dict[tuple[str, str], Bool[np.ndarray, " prompt"]] | None,
) -> Iterator[tuple[str, Shown]]:
    """By condition; of random draws the one with the highest mean. NaN where none is refused."""
    for condition in CONDITIONS:
        draws = {key: values for key, values in shown.items() if key[0] == condition}
        if refused is not None:
            both = {key: refused[key] & refused["base", "0"] for key in draws}
            draws = {key: np.where(both[key], x, np.nan) for key, x in draws.items()}
        if draws:
            means = [np.nanmean(x) if (~np.isnan(x)).any() else -1.0 for x in draws.values()]
            yield condition, [*draws.values()][int(np.argmax(means))]


def count_estimates(counted: pd.DataFrame) -> Iterator[Estimate]:
    """What 09c asks of the loops."""
    plain = refusals(counted, "untouched", 0)
    yield Estimate("refused.untouched", float(plain[0].mean()), n=plain.shape[1], unit="prompts")
    yield Estimate("directions.untouched", directions(plain), n=plain.shape[1])
    taught = counted[counted.model != "untouched"]
    names = sorted(taught.model.unique(), reverse=True)  # rounds first
    if not names:
        yield from (Estimate(name, NAN) for name in (
            "growth", "taught.harmful", "taught.gap", "room", "incoherent",
            "directions.rounds", "directions.controls"))  # fmt: skip
        return
    loops = [[refusals(taught, name, int(r)) for name in names] for r in taught.repetition.unique()]
    start = taught[taught.directions <= 0].assign(shown=lambda x: x.answer.isin(SHOWING))
    rates = start.pivot_table("shown", ["model", "repetition"], "directions")
    yield Estimate("taught.harmful", float(rates[0].min()), n=len(rates), unit="models")
    yield Estimate("taught.gap", float((rates[0] - rates[-1]).min()), n=len(rates), unit="models")
    found = np.array([[directions(x) for x in one] for one in loops])
    yield Estimate("room", float(MOST - (len(names) - 2) - found[:, 1:].max()), unit="directions")
    ends = taught.groupby(["model", "repetition"]).directions.transform("max")
    last = taught[taught.directions == ends].groupby(["model", "repetition"]).answer
    yield Estimate("incoherent", float(last.apply(lambda x: (x == "incoherent").mean()).max()))
    yield Estimate("directions.rounds", float(found[:, 0].mean()), n=len(loops))
    yield Estimate("directions.controls", float(found[:, 1:].max(1).mean()), n=len(loops))
    yield growth_estimate(loops)


def refusals(counted: pd.DataFrame, model: str, repetition: int) -> Bool[np.ndarray, "step prompt"]:
    """Whether each harmful prompt is refused, by the number of directions ablated."""
    rows = (counted.model == model) & (counted.repetition == repetition) & (counted.directions >= 0)
    shown = counted[rows].answer.isin(SHOWING).to_numpy(bool)
    return shown.reshape(-1, counted[rows].prompt.nunique())


def directions(refused: Bool[np.ndarray, "step prompt"]) -> float:
    """How many are ablated when at most LEFT are refused; one more than were tried if never."""
    few = refused.mean(1) <= LEFT
    return float(few.argmax() if few.any() else len(few))


Loops = Sequence[Sequence[Bool[np.ndarray, "step prompt"]]]  # by repetition and model


def growth(loops: Loops, columns: np.ndarray) -> Float[np.ndarray, " repetition"]:
    """Of each repetition: directions of the first model minus the most of the others, per round."""
    found = np.array([[directions(x[:, columns]) for x in one] for one in loops])
    return (found[:, 0] - found[:, 1:].max(1)) / (found.shape[1] - 2)


def growth_estimate(loops: Loops) -> Estimate:
    """Mean growth; without an interval where there is one repetition."""
    n_prompts, n, rng = loops[0][0].shape[1], len(loops), np.random.default_rng(0)
    value = growth(loops, np.arange(n_prompts))
    if n < 2:
        return Estimate("growth", float(value.mean()), n=n, unit="directions")
    drawn = rng.integers(n_prompts, size=(N_RESAMPLES, n_prompts))
    spread = np.std([growth(loops, columns).mean() for columns in drawn])
    between = scipy_stats.t.ppf(0.975, n - 1) * value.std(ddof=1) / n**0.5
    half = float(np.hypot(between, Z * spread))
    mean = float(value.mean())
    return Estimate("growth", mean, mean - half, mean + half, n=n, unit="directions")
