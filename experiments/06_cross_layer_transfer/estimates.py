"""Statistics of experiment 06: which sources transfer, how far, and what explains it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from experiments.lab.estimate import Estimate
from experiments.lab.meter import Meter
from interp import stats
from interp.directions import cosine
from interp.nulls import FAMILIES
from interp.permutation import Coefficient, qap_regression, rank_correlation

from .measure import MAIN_DOSE, Setup
from .protocol import NULL_PERCENTILE, OPERATORS, OWN_SHARE, Operator

N_RESAMPLES = 2000
Draws = Float[np.ndarray, " draw"]


@dataclass(frozen=True, eq=False)
class Transfer:
    """Effects of one operator over single layers, in nats, and those of random directions."""

    sources: Sequence[int]
    layers: Sequence[int]
    effects: Float[np.ndarray, "source layer sample"]
    null: Float[np.ndarray, "draw source layer"]  # each draw in the place of every source
    families: Sequence[str]  # of each draw
    far_layers: int  # from here on a layer counts as elsewhere

    @property
    def means(self) -> Float[np.ndarray, "source layer"]:
        """Mean effect over prompts."""
        return self.effects.mean(axis=-1)

    def own(self, means: Float[np.ndarray, "*draw source layer"]) -> np.ndarray:
        """Effect at the source's own layer, [*draw source]."""
        columns = [self.layers.index(source) for source in self.sources]
        return means[..., np.arange(len(self.sources)), columns]

    def far(self, means: Float[np.ndarray, "*draw source layer"]) -> np.ndarray:
        """Median effect over the far layers, [*draw source]; NaN for a source that has none."""
        distance = np.abs(np.subtract.outer(self.sources, self.layers))
        near = np.broadcast_to(distance < self.far_layers, means.shape)
        return np.ma.median(np.ma.masked_array(means, near), axis=-1).filled(np.nan)

    def threshold(self, null: Float[np.ndarray, "draw source"]) -> Float[np.ndarray, " source"]:
        """The highest of the families' percentiles, per source."""
        drawn = [null[np.array(self.families) == family] for family in FAMILIES]
        return np.max([np.percentile(draws, NULL_PERCENTILE, axis=0) for draws in drawn], axis=0)

    def present(self, means: Float[np.ndarray, "*draw source layer"]) -> Bool[np.ndarray, "..."]:
        """Whether the own effect is above the null, [*draw source]."""
        return self.own(means) > self.threshold(self.own(self.null))

    def passing(self, means: Float[np.ndarray, "*draw source layer"]) -> Bool[np.ndarray, "..."]:
        """Whether the far effect is above the null and a fair part of the own, [*draw source]."""
        far = self.far(means)
        above = far > self.threshold(self.far(self.null))
        return above & (far >= OWN_SHARE * self.own(means))


def of_kind(
    cells: pd.DataFrame, operator: Operator, kind: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of the sources and those of the nulls, at the criterion's dose."""
    dose = MAIN_DOSE[operator]
    found = cells.query(f"operator == '{operator}' and dose == '{dose}' and kind == '{kind}'")
    return found.query("source.notna()"), found.query("source.isna()")


def transfer(cells: pd.DataFrame, setup: Setup, operator: Operator, far_layers: int) -> Transfer:
    """One operator over single layers, which the cells hold in the order of the targets."""
    real, drawn = of_kind(cells, operator, "single")
    shape = len(setup.sources), len(setup.singles), -1
    null = drawn["effect"].to_numpy().reshape(len(setup.singles), -1).T
    return Transfer(
        setup.sources,
        setup.singles,
        np.stack(real["effects"].tolist()).reshape(shape),
        np.repeat(null[:, None], len(setup.sources), axis=1),
        drawn["family"].tolist()[: len(null)],
        far_layers,
    )


def base_estimates(meter: Meter) -> Iterator[Estimate]:
    """Openings score of the unedited model per class; there is no null of a base value."""
    for operator, name in zip(OPERATORS, ("harmless", "harmful"), strict=True):
        base = stats.bootstrap_mean(meter.scores(operator).openings)
        yield Estimate.of(f"openings.{name}.base", base, unit="nats")


def transfer_estimates(
    operator: Operator, t: Transfer, rng: np.random.Generator
) -> Iterator[Estimate]:
    """Shares of sources, own and far effects, and their ratio, with intervals over prompts.

    The thresholds that the nulls set are held fixed while prompts are resampled. The ratio is that
    of the sources whose behaviour is present; its null is a random direction's far effect over the
    source's own effect. NaN without such sources.
    """
    drawn, n_sources, n = resampled(t.effects, rng), len(t.sources), t.effects.shape[-1]
    measured = t.means, drawn, t.null
    least = stats.minimum_detectable_effect_rate(n_sources, 0.5)
    for name, test in (("passing", t.passing), ("present", t.present)):
        shares = (test(means).mean(-1) for means in measured)
        yield estimate(f"sources_{name}.{operator}", *shares, n_sources, "share of sources", least)
    for name, effect in (("own", t.own), ("far", t.far)):
        sizes = (middle(effect(means)) for means in measured)
        yield estimate(f"{name}_effect.{operator}", *sizes, n, "nats", sensitivity(t.effects))
    name, unit, present = f"far_share_of_own.{operator}", "share of own effect", t.present(t.means)
    ratios = (
        middle(t.far(far)[..., present] / t.own(own)[..., present])
        for far, own in ((t.means, t.means), (drawn, drawn), (t.null, t.means))
    )
    yield estimate(name, *ratios, int(present.sum()), unit)


def estimate(
    name: str, value: float, draws: Draws, null: Draws, n: int, unit: str, mde: float | None = None
) -> Estimate:
    """A value with the 95% ranges of its resamples and of its null, and its p among the null.

    Without ranges and p where value or null are NaN: nothing lies far enough away.
    """
    if not (np.isfinite(value) and np.isfinite(null).all()):
        return Estimate(name, float(value), n=n, mde=mde, unit=unit)
    interval = stats.Interval(float(value), *np.percentile(draws, (2.5, 97.5)).tolist(), n)
    return Estimate.of(name, interval, null=null, mde=mde, unit=unit)


def resampled(
    effects: Float[np.ndarray, "... sample"], rng: np.random.Generator
) -> Float[np.ndarray, "draw ..."]:
    """Means over bootstrap resamples of the prompts, the same prompts in every cell."""
    n = effects.shape[-1]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES) / n
    return np.moveaxis(effects @ weights.T, -1, 0)


def sensitivity(effects: Float[np.ndarray, "*cell sample"]) -> float:
    """Minimum detectable effect of the average over cells, from its spread over prompts."""
    per_prompt = effects.reshape(-1, effects.shape[-1]).mean(axis=0)
    return stats.minimum_detectable_effect_mean(float(per_prompt.std(ddof=1)), len(per_prompt))


def middle(values: Float[np.ndarray, "*draw source"]) -> Float[np.ndarray, "*draw"]:
    """Median over the sources that have a value; NaN where none has."""
    known = np.isfinite(values).all(axis=tuple(range(values.ndim - 1)))
    if not known.any():
        return np.full(values.shape[:-1], np.nan)
    return np.median(values[..., known], axis=-1)


def set_estimate(
    cells: pd.DataFrame, operator: Operator, kind: str, rng: np.random.Generator
) -> Estimate:
    """Median over sources and sets of a kind, against the same median of the nulls."""
    real, drawn = of_kind(cells, operator, kind)
    effects = np.stack(real["effects"].tolist())
    draws = np.median(resampled(effects, rng), axis=-1)
    null = drawn.groupby(["family", "draw"])["effect"].median().to_numpy()
    name, value = set_name(operator, kind), np.median(effects.mean(-1))
    return estimate(name, value, draws, null, effects.shape[-1], "nats", sensitivity(effects))


def set_name(operator: Operator, kind: str) -> str:
    """Name of the estimate of a kind of sets."""
    return f"set_effect.{operator}.{kind.replace(' ', '_')}"


def explanations(
    operator: Operator, t: Transfer, setup: Setup, n_permutations: int, seed: int
) -> list[Estimate]:
    """QAP regression of the effect on cosine, distance and depth, among layers that are sources.

    Left out with fewer than four sources, where permutations say nothing.
    """
    if len(t.sources) < 4:
        return []
    nodes = np.array(t.sources, dtype=np.float64)
    directions = [setup.layers[source].direction for source in t.sources]
    predictors = {
        "cosine": np.array([[cosine(a, b) for b in directions] for a in directions]),
        "distance": np.abs(np.subtract.outer(nodes, nodes)),
        "target_depth": np.tile(nodes, (len(nodes), 1)),
    }
    effects = t.means[:, [t.layers.index(source) for source in t.sources]]
    terms = qap_regression(effects, predictors, n_permutations, seed)
    return [of_coefficient(f"qap.{operator}.{term.name}", term, "sd per sd") for term in terms]


def generated_estimates(table: pd.DataFrame, n_permutations: int) -> Iterator[Estimate]:
    """Spearman's rho of the openings effect with the change of the refusal rate, per operator."""
    for operator in OPERATORS:
        effect, change = table.query(f"group == '{operator}'")[["effect", "change"]].to_numpy().T
        if len(effect) > 3 and np.ptp(change) > 0:
            rho = rank_correlation(effect, change, n_permutations, seed=0)
            yield of_coefficient(f"generated.{operator}", rho, "Spearman's rho")


def of_coefficient(name: str, found: Coefficient, unit: str) -> Estimate:
    """An estimate whose null is the permutations'; permutation gives no interval."""
    null = {"null_low": found.null_low, "null_high": found.null_high}
    return Estimate(name, found.value, n=found.n, p=found.p, unit=unit, **null)
