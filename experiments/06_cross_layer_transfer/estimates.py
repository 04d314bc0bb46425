"""Statistics of experiment 06: which sources transfer, how far, and what explains it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from experiments.lab.estimate import Estimate
from interp.directions import cosine
from interp.nulls import FAMILIES
from interp.permutation import Coefficient, qap_regression, rank_correlation
from interp.stats import (
    minimum_detectable_effect_mean,
    minimum_detectable_effect_rate,
    null_interval,
    permutation_p,
)

from .measure import AGAIN, Cell, Setup
from .protocol import OPERATORS, Operator

N_RESAMPLES = 2000


@dataclass(frozen=True)
class Rule:
    """The criterion's constants, which the experiment states."""

    far_layers: int  # from here on a target counts as elsewhere
    own_share: float  # least far effect, as a share of the own
    percentile: float  # of the nulls


@dataclass(frozen=True, eq=False)
class Transfer:
    """Effects of one operator at one dose over single layers, in nats, and those of the nulls."""

    sources: tuple[int, ...]
    layers: tuple[int, ...]
    effects: Float[np.ndarray, "source layer sample"]
    null: Float[np.ndarray, "draw layer"]
    families: tuple[str, ...]  # of each draw
    rule: Rule

    @property
    def means(self) -> Float[np.ndarray, "source layer"]:
        """Mean effect over prompts."""
        return self.effects.mean(axis=-1)

    @property
    def null_as_sources(self) -> Float[np.ndarray, "draw source layer"]:
        """Each null draw in the place of every source."""
        return np.broadcast_to(
            self.null[:, None, :], (len(self.null), len(self.sources), len(self.layers))
        )

    def own(self, means: Float[np.ndarray, "*draw source layer"]) -> np.ndarray:
        """Effect at the source's own layer, [*draw source]."""
        columns = [self.layers.index(source) for source in self.sources]
        return means[..., np.arange(len(self.sources)), columns]

    def far(self, means: Float[np.ndarray, "*draw source layer"]) -> np.ndarray:
        """Median effect over the far layers, [*draw source]; NaN for a source that has none."""
        distance = np.abs(np.subtract.outer(self.sources, self.layers))
        near = np.broadcast_to(distance < self.rule.far_layers, means.shape)
        return np.ma.median(np.ma.masked_array(means, near), axis=-1).filled(np.nan)

    def threshold(self, null: Float[np.ndarray, "draw source"]) -> Float[np.ndarray, " source"]:
        """The highest of the families' percentiles, per source."""
        families = np.array(self.families)
        top = self.rule.percentile
        return np.max([np.percentile(null[families == f], top, axis=0) for f in FAMILIES], axis=0)

    def present(self, means: Float[np.ndarray, "*draw source layer"]) -> Bool[np.ndarray, "..."]:
        """Whether the own effect is above the null, [*draw source]."""
        return self.own(means) > self.threshold(self.own(self.null_as_sources))

    def passing(self, means: Float[np.ndarray, "*draw source layer"]) -> Bool[np.ndarray, "..."]:
        """Whether the far effect is above the null and a fair part of the own, [*draw source]."""
        far = self.far(means)
        above = far > self.threshold(self.far(self.null_as_sources))
        return above & (far >= self.rule.own_share * self.own(means))


def transfer(
    cells: Sequence[Cell], setup: Setup, operator: Operator, dose: str, rule: Rule
) -> Transfer:
    """Arrays of one operator and dose over single layers."""
    singles = [
        c
        for c in cells
        if (c.job.operator, c.job.dose, c.job.target.kind) == (operator, dose, "single")
    ]
    real = {(c.job.source, c.job.target.name): c.effects for c in singles if c.job.is_transfer}
    drawn = {
        (c.job.family, c.job.draw, c.job.target.name): c.effects.mean()
        for c in singles
        if c.job.source is None
    }
    draws = list(dict.fromkeys((family, draw) for family, draw, _ in drawn))
    return Transfer(
        sources=setup.sources,
        layers=setup.layers,
        effects=np.array([[real[s, str(x)] for x in setup.layers] for s in setup.sources]),
        null=np.array([[drawn[family, i, str(x)] for x in setup.layers] for family, i in draws]),
        families=tuple(family for family, _ in draws),
        rule=rule,
    )


def resampled(
    effects: Float[np.ndarray, "... sample"], rng: np.random.Generator
) -> Float[np.ndarray, "draw ..."]:
    """Means over bootstrap resamples of the prompts, the same prompts in every cell."""
    n = effects.shape[-1]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES) / n
    return np.moveaxis(effects @ weights.T, -1, 0)


def estimate(
    name: str,
    value: float,
    draws: np.ndarray,
    null: np.ndarray,
    n: int,
    unit: str,
    mde: float | None = None,
) -> Estimate:
    """A value with the 95% ranges of its resamples and of its null, and its p among the null.

    Range and p are NaN where value or null are: nothing lies far enough away.
    """
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    if not (np.isfinite(null).all() and np.isfinite(value)):
        return Estimate(name, float(value), low, high, np.nan, np.nan, n, np.nan, mde, unit)
    p = permutation_p(float(value), null)
    return Estimate(name, float(value), low, high, *null_interval(null), n, p, mde, unit)


def transfer_estimates(operator: Operator, t: Transfer, rng: np.random.Generator) -> list[Estimate]:
    """Shares of sources, own and far effects, and their ratio, with intervals over prompts.

    The thresholds that the nulls set are held fixed while prompts are resampled.
    """
    drawn, as_null = resampled(t.effects, rng), t.null_as_sources
    n_sources, n = len(t.sources), t.effects.shape[-1]
    least = minimum_detectable_effect_rate(n_sources, 0.5)
    shares = [
        estimate(
            f"sources_{name}.{operator}",
            test(t.means).mean(),
            test(drawn).mean(-1),
            test(as_null).mean(-1),
            n_sources,
            "share of sources",
            least,
        )
        for name, test in (("passing", t.passing), ("present", t.present))
    ]
    sizes = [
        estimate(
            f"{name}_effect.{operator}",
            float(middle(of(t.means))),
            middle(of(drawn)),
            middle(of(as_null)),
            n,
            "nats",
            sensitivity(t.effects),
        )
        for name, of in (("own", t.own), ("far", t.far))
    ]
    return [*shares, *sizes, ratio_estimate(operator, t, drawn)]


def sensitivity(effects: Float[np.ndarray, "*cell sample"]) -> float:
    """Minimum detectable effect of the average over cells, from its spread over prompts."""
    per_prompt = effects.reshape(-1, effects.shape[-1]).mean(axis=0)
    return minimum_detectable_effect_mean(float(per_prompt.std(ddof=1)), len(per_prompt))


def middle(values: Float[np.ndarray, "*draw source"]) -> Float[np.ndarray, "*draw"]:
    """Median over the sources that have a value; NaN where none has."""
    known = np.isfinite(values).all(axis=tuple(range(values.ndim - 1)))
    return (
        np.median(values[..., known], axis=-1)
        if known.any()
        else np.full(values.shape[:-1], np.nan)
    )


def ratio_estimate(
    operator: Operator, t: Transfer, drawn: Float[np.ndarray, "draw source layer"]
) -> Estimate:
    """Median over the sources whose behaviour is present of far effect over own effect.

    The null is a random direction's far effect over the source's own effect. NaN without sources.
    """
    name, unit = f"far_share_of_own.{operator}", "share of own effect"
    present = t.present(t.means)
    if not present.any():
        return Estimate(name, np.nan, n=0, unit=unit)
    own = t.own(t.means)[present]
    again = t.far(drawn)[:, present] / t.own(drawn)[:, present]
    null = t.far(t.null_as_sources)[:, present] / own
    value = float(middle(t.far(t.means)[present] / own))
    return estimate(name, value, middle(again), middle(null), len(own), unit)


def set_estimate(
    cells: Sequence[Cell], operator: Operator, kind: str, rng: np.random.Generator
) -> Estimate:
    """Median over sources and sets of a kind, against the same median of the nulls."""
    chosen = [c for c in cells if (c.job.operator, c.job.target.kind) == (operator, kind)]
    effects = np.array([c.effects for c in chosen if c.job.is_transfer])
    drawn = pd.DataFrame(
        [(c.job.family, c.job.draw, c.effects.mean()) for c in chosen if c.job.source is None],
        columns=["family", "draw", "effect"],
    )
    return estimate(
        f"set_effect.{operator}.{kind.replace(' ', '_')}",
        float(np.median(effects.mean(-1))),
        np.median(resampled(effects, rng), axis=-1),
        drawn.groupby(["family", "draw"])["effect"].median().to_numpy(),
        effects.shape[-1],
        "nats",
        sensitivity(effects),
    )


def extraction_estimates(cells: Sequence[Cell], operator: Operator) -> list[Estimate]:
    """Median over sources for each fresh extraction: mean and range over the extractions.

    There is no null: it says how far the choice of train prompts moves the effects. Empty without
    extractions.
    """
    again = [c for c in cells if c.job.family == AGAIN and c.job.operator == operator]
    found = []
    for name, is_own in (("own", True), ("far", False)):
        rows = [
            (c.job.draw, c.effects.mean())
            for c in again
            if (c.job.target.layers == (c.job.source,)) == is_own
        ]
        if rows:
            medians = pd.DataFrame(rows, columns=["draw", "effect"]).groupby("draw")["effect"]
            m = medians.median().to_numpy()
            name = f"reextracted_{name}_effect.{operator}"
            found.append(Estimate(name, m.mean(), m.min(), m.max(), n=len(m), unit="nats"))
    return found


def explanations(
    setup: Setup, operator: Operator, t: Transfer, n_permutations: int, seed: int
) -> list[Estimate]:
    """QAP regression of the effect on cosine, distance and depth, among layers that are sources.

    Left out with fewer than four sources, where permutations say nothing.
    """
    if len(t.sources) < 4:
        return []
    nodes = np.array(t.sources, dtype=np.float64)
    columns = [t.layers.index(layer) for layer in t.sources]
    directions = [setup.directions[layer] for layer in t.sources]
    predictors = {
        "cosine": np.array([[cosine(a, b) for b in directions] for a in directions]),
        "distance": np.abs(np.subtract.outer(nodes, nodes)),
        "target_depth": np.tile(nodes, (len(nodes), 1)),
    }
    terms = qap_regression(t.means[:, columns], predictors, n_permutations, seed)
    return [of_coefficient(f"qap.{operator}.{term.name}", term, "sd per sd") for term in terms]


def of_coefficient(name: str, found: Coefficient, unit: str) -> Estimate:
    """An estimate whose null is the permutations'; permutation gives no interval."""
    null = {"null_low": found.null_low, "null_high": found.null_high}
    return Estimate(name, found.value, n=found.n, p=found.p, unit=unit, **null)


def number_of_layers(
    cells: Sequence[Cell], operator: Operator, dose: str, n_permutations: int, seed: int
) -> Estimate:
    """Spearman's rho over targets of the number of layers with the effect averaged over sources.

    The target is the unit that is permuted, since all sources share it. Own layers are left out.
    """
    rows = [
        (c.job.target.name, len(c.job.target.layers), c.effects.mean())
        for c in cells
        if c.job.is_transfer
        and (c.job.operator, c.job.dose) == (operator, dose)
        and c.job.target.layers != (c.job.source,)
    ]
    table = pd.DataFrame(rows, columns=["target", "layers", "effect"]).groupby("target").mean()
    found = rank_correlation(table["layers"], table["effect"], n_permutations, seed)
    return of_coefficient(f"layers.{operator}", found, "Spearman's rho")


def generated_estimates(table: pd.DataFrame, n_permutations: int, seed: int) -> list[Estimate]:
    """Spearman's rho of the openings effect with the change of the refusal rate, per operator."""
    found = []
    for operator in OPERATORS:
        chosen = table[table["group"] == operator]
        if len(chosen) > 3 and len(set(chosen["change"])) > 1:
            rho = rank_correlation(chosen["effect"], chosen["change"], n_permutations, seed)
            found.append(of_coefficient(f"generated.{operator}", rho, "Spearman's rho"))
    return found
