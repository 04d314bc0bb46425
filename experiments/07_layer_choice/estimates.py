"""From effects and picks to shares of the best site's effect, with hierarchical intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student

from experiments.lab.estimate import Estimate
from interp import stats

from .measure import CHANCE, CLASSIFIED, Layers
from .picks import BY_DEPTH, RANDOM, picks
from .protocol import MIN_ABOVE, MIN_BEHAVIOURS, MIN_EFFECT, ORDERINGS

N_GATE = 400  # resamples for the gate's intervals
Draws = dict[str, Float[np.ndarray, " resample"]]  # by way to pick; the first is as measured
Means = Float[np.ndarray, "resample site"]
HALVES = (slice(0, None, 2), slice(1, None, 2))  # of the test prompts of a side


@dataclass(frozen=True, eq=False)
class Judged:
    """One effect of one behaviour, and the least denominator of a share."""

    found: Layers
    effect: str
    least: float

    @property
    def counted(self) -> Bool[np.ndarray, " site"]:
        """Which sites count."""
        return self.found.counted[self.effect]

    @property
    def values(self) -> Float[np.ndarray, "draw site sample"]:
        """Effects per prompt; the accuracy above chance."""
        return self.found.effects[self.effect] - (CHANCE if self.effect == CLASSIFIED else 0.0)

    @cached_property
    def best(self) -> stats.Interval:
        """The best site's effect, found on one half of the prompts and measured on the other."""
        rng = np.random.default_rng(0)
        draws = best_of(*halves_of(self.values, N_GATE, rng)[1:], self.counted)
        n = self.values.shape[2]
        return stats.Interval(float(draws[0]), *stats.null_interval(draws[1:]), n)


def best_of(
    one: Float[np.ndarray, "resample site"],
    other: Float[np.ndarray, "resample site"],
    counted: Bool[np.ndarray, " site"],
) -> Float[np.ndarray, " resample"]:
    """Effect in each half of the site that is best in the other half, averaged."""
    rows = np.arange(len(one))
    chosen = [np.where(counted, half, -np.inf).argmax(1) for half in (one, other)]
    return (other[rows, chosen[0]] + one[rows, chosen[1]]) / 2


def steered(found: Layers) -> list[Judged]:
    """The edits in which the behaviour passes the gate of the criterion."""
    edits = [Judged(found, x, MIN_EFFECT) for x in found.random]
    return [x for x in edits if x.best.low > max(MIN_EFFECT, found.random[x.effect].max())]


def classified(found: Layers) -> list[Judged]:
    """The accuracy, where that of the best site is well above chance."""
    own = Judged(found, CLASSIFIED, MIN_ABOVE)
    return [own] if own.best.low > MIN_ABOVE else []


def halves_of(
    values: Float[np.ndarray, "draw site sample"], n: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " resample"], Means, Means]:
    """Which draw, and means over either half of the prompts: as measured, then `n` resampled.

    A resample takes one of the draws, and prompts anew within each half.
    """
    rows = np.concatenate([[0], rng.integers(len(values), size=n)])
    means = []
    for half in HALVES:
        part = values[:, :, half]
        size = part.shape[2]
        weights = rng.multinomial(size, np.full(size, 1 / size), n) / size
        weights = np.concatenate([np.full((1, size), 1 / size), weights])
        means.append(np.einsum("rp,rsp->rs", weights, part[rows]))
    return rows, means[0], means[1]


def shares(judged: Judged, n: int, rng: np.random.Generator) -> Draws:
    """Shares of the best effect by every way to pick: as measured, then `n` times resampled.

    An effect that goes the wrong way counts as none.
    """
    rows, one, other = halves_of(judged.values, n, rng)
    whole = np.maximum((one + other) / 2, 0)
    best = np.maximum(best_of(one, other, judged.counted), judged.least)
    chosen = picks(judged.found, judged.counted)
    own = {name: whole[np.arange(n + 1), at[rows]] / best for name, at in chosen.items()}
    return own | {RANDOM: whole[:, judged.counted].mean(1) / best}


def over_behaviours(groups: Sequence[Sequence[Judged]], n: int, rng: np.random.Generator) -> Draws:
    """Means of the shares over behaviours, of which each resample draws as many anew.

    A behaviour's share is the mean over its effects.
    """
    per_effect = [[shares(one, n, rng) for one in group] for group in groups]
    names = per_effect[0][0]
    taken = rng.integers(len(groups), size=(len(groups), n))
    orders = np.array([rng.permutation(n) for _ in groups])
    found = {}
    for name in names:
        each = np.array([np.mean([one[name] for one in group], axis=0) for group in per_effect])
        again = each[:, 1:][taken, orders].mean(0)
        found[name] = np.concatenate([[each[:, 0].mean()], again])
    return found


def interval(draws: Float[np.ndarray, " resample"], n: int) -> stats.Interval:
    """The first value -+ Student's t times the error of the others, for n behaviours."""
    half = student.ppf(0.975, n - 1) * draws[1:].std(ddof=1)
    return stats.Interval(float(draws[0]), float(draws[0] - half), float(draws[0] + half), n)


def profile(judged: Judged) -> Float[np.ndarray, " site"]:
    """Every site's share of the best effect, as measured."""
    halves = [judged.values[0][:, half].mean(1) for half in HALVES]
    best = best_of(halves[0][None], halves[1][None], judged.counted)[0]
    return np.maximum(sum(halves) / 2, 0) / max(best, judged.least)


def coincidence(groups: Sequence[Sequence[Judged]], name: str) -> float:
    """Among circular shifts of all picks together along the layers, part that does as well."""
    n = max(int(judged.counted.sum()) for group in groups for judged in group)
    shifted = np.mean([np.mean([along(x, name, n) for x in group], 0) for group in groups], 0)
    return stats.permutation_p(float(shifted[0]), shifted[1:]) if n > 1 else 1.0


def along(judged: Judged, name: str, n: int) -> Float[np.ndarray, " shift"]:
    """Shares of the sites that follow the one picked, round and round."""
    rows = np.flatnonzero(judged.counted)
    first = int(np.searchsorted(rows, picks(judged.found, judged.counted)[name][0]))
    return profile(judged)[rows[(first + np.arange(n)) % len(rows)]]


def estimates(kind: str, names: Sequence[str], draws: Draws | None, n: int) -> Iterator[Estimate]:
    """Shares by every way to pick, and their excesses over random picks and picks by depth."""
    for name in (*names, RANDOM):
        if draws is None:
            yield from (Estimate(f"{kind}.{name}.{what}", float("nan"), n=n) for what in WHAT)
            continue
        by_depth = np.max([draws[depth] for depth in BY_DEPTH], axis=0)
        for what, less in zip(WHAT, (0.0, draws[RANDOM], by_depth), strict=True):
            yield Estimate.of(f"{kind}.{name}.{what}", interval(draws[name] - less, n))


def all_estimates(
    measured: Sequence[Layers], names: Sequence[str], n: int, rng: np.random.Generator
) -> list[Estimate]:
    """Everything that decides, and the same for every other way to pick."""
    found = [Estimate.of(f"validity.{one.name}", one.validity) for one in measured]
    for kind, gate in KINDS.items():
        groups = [group for group in map(gate, measured) if group]
        enough = len(groups) >= MIN_BEHAVIOURS
        draws = over_behaviours(groups, n, rng) if enough else None
        for one in estimates(kind, names, draws, len(groups)):
            way = one.name.removeprefix(f"{kind}.").removesuffix(".share")
            told = enough and way in ORDERINGS
            found.append(replace(one, p=coincidence(groups, way)) if told else one)
    first = [picks(one, one.counted[CLASSIFIED])["raw"][0] == 0 for one in measured]
    growth = np.mean([np.ptp(np.log(one.statistics["squared_norm"][0])) for one in measured])
    found.append(Estimate("raw.first", float(np.mean(first)), n=len(first), unit="of behaviours"))
    return [*found, Estimate("norm.growth", float(growth), n=len(measured), unit="nats")]


WHAT = ("share", "over_random", "over_depth")
KINDS = {"steered": steered, "classified": classified}
