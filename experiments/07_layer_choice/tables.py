"""From the measurements of experiment 07 to the tables that figures are drawn from."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from interp.stats import spearman

from .estimates import HALVES, KINDS, profile
from .measure import CLASSIFIED, STEERING, Layers
from .picks import picks

STATISTICS = {  # name: of what, over the squared norm or not
    "mean_variance": ("mean_variance", False),
    "mean_variance/norm": ("mean_variance", True),
    "max_variance": ("max_variance", False),
    "max_variance/norm": ("max_variance", True),
    "cosine": ("cosine", False),
}
Values = Float[np.ndarray, " site"]


def tables(measured: Sequence[Layers], estimates: Iterable[Estimate]) -> dict[str, pd.DataFrame]:
    """Every table; none of picks where there is nothing to pick for."""
    found = {
        "shares": shares_table(estimates),
        "picks": pd.DataFrame(row for one in measured for row in pick_rows(one)),
        "layers": pd.concat([layers_table(one) for one in measured], ignore_index=True),
        "correlations": pd.DataFrame(row for one in measured for row in correlation_rows(one)),
        "prompts": pd.concat([prompts_table(one) for one in measured], ignore_index=True),
    }
    return {name: table for name, table in found.items() if len(table.columns)}


def shares_table(estimates: Iterable[Estimate]) -> pd.DataFrame:
    """Share of the best layer's effect by every way to pick; p of a coincidence by shifts."""
    rows = [
        (*one.name.removesuffix(".share").split(".", 1), one.value, one.low, one.high, one.p, one.n)
        for one in estimates
        if one.name.endswith(".share")
    ]
    return pd.DataFrame(rows, columns=["kind", "way", "value", "low", "high", "p", "n"])


def statistics_of(one: Layers) -> dict[str, Values]:
    """The notes' statistics from all train prompts, raw and over the squared norm."""
    at = {name: values[0] for name, values in one.statistics.items()}
    return {
        name: at[of] / at["squared_norm"] if over else at[of]
        for name, (of, over) in STATISTICS.items()
    }


def effects_of(one: Layers) -> dict[str, Values]:
    """Mean effects at every site: nats, or accuracy; NaN where they were not measured."""
    absent = np.full(len(one.sites), np.nan)
    return {
        name: one.effects[name][0].mean(1) if name in one.effects else absent
        for name in (*STEERING, CLASSIFIED)
    }


def layers_table(one: Layers) -> pd.DataFrame:
    """Statistics, effects, damage, and whether it counts, by site."""
    columns = {"behaviour": one.name, "site": [str(site) for site in one.sites]}
    columns |= {"depth": one.depth, "squared_norm": one.statistics["squared_norm"][0]}
    columns |= {"kl_ablated": one.kl[0], "kl_added": one.kl[1]}
    columns |= {f"counts, {edit}": one.counted[edit] for edit in STEERING}
    table = pd.DataFrame(columns | statistics_of(one) | effects_of(one))
    for kind, gate in KINDS.items():
        shares = [np.where(x.counted, profile(x), np.nan) for x in gate(one)]
        table[f"{kind} share"] = pd.DataFrame(shares).mean().to_numpy() if shares else np.nan
    return table


def pick_rows(one: Layers) -> Iterator[dict[str, object]]:
    """What every way picks by all train prompts, and its share of the best effect."""
    for gate in KINDS.values():
        for judged in gate(one):
            shares, half = profile(judged), judged.best
            for way, at in picks(one, judged.counted).items():
                site = one.sites[at[0]]
                yield {"behaviour": one.name, "effect": judged.effect, "way": way,
                       "site": str(site), "depth": site.depth, "share": shares[at[0]],
                       "best": half.value, "low": half.low, "high": half.high}  # fmt: skip


def correlation_rows(one: Layers) -> Iterator[dict[str, object]]:
    """Rank correlation over sites of every statistic with every effect, and beyond depth."""
    for effect, values in effects_of(one).items():
        if np.isfinite(values).all():
            for name, statistic in statistics_of(one).items():
                yield {"behaviour": one.name, "effect": effect, "statistic": name,
                       "spearman": float(spearman(statistic, values)), "n": len(values),
                       "beyond depth": partial(statistic, values, one.depth)}  # fmt: skip


def partial(one: Values, other: Values, given: Values) -> float:
    """Partial rank correlation: what is left of one's with the other given a third."""
    pair, first, second = (
        float(spearman(*both)) for both in ((one, other), (one, given), (other, given))
    )
    scale = ((1 - first**2) * (1 - second**2)) ** 0.5
    return (pair - first * second) / scale if scale > 1e-9 else 0.0


def prompts_table(one: Layers) -> pd.DataFrame:
    """Every effect per test prompt; `half` says where the best site was found and measured."""
    parts = []
    for effect, values in one.effects.items():
        draw, site, prompt = (index.ravel() for index in np.indices(values.shape))
        half = np.zeros(values.shape[2], int)
        half[HALVES[1]] = 1
        parts.append(
            pd.DataFrame({
                "behaviour": one.name, "effect": effect, "draw": draw,
                "site": [str(one.sites[int(i)]) for i in site], "half": half[prompt],
                "prompt": [one.prompts[effect][int(i)] for i in prompt], "value": values.ravel(),
            })
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)
