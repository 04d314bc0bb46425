"""Tables of experiment 06, one per figure, and what is estimated from them alone."""

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from interp import alignment
from interp.directions import cosine
from interp.stats import null_interval

from .estimates import Transfer, set_name
from .measure import MAIN_DOSE, RAW, SET_KINDS, Setup
from .protocol import NULL_PERCENTILE, OPERATORS, OWN_SHARE, Operator

LIKENESS = {"cka": alignment.debiased_cka, "procrustes": alignment.procrustes_r2}
BIASED = {"cka": {"Gaussian noise, biased CKA": alignment.linear_cka}}


def matrices(cells: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Mean effect per operator, dose, source and target; source "null" is the nulls' percentile."""
    parts = []
    for _, at in cells.groupby(["operator", "dose"], sort=False):
        keys = ["operator", "dose", "target", "kind", "n"]
        drawn = at[at["source"].isna()].groupby(keys, sort=False)["effect"]
        top = drawn.agg(lambda effects: np.percentile(effects, NULL_PERCENTILE)).reset_index()
        parts += [at.dropna(subset="source").astype({"source": int}), top.assign(source="null")]
    columns = ["operator", "dose", "source", "target", "effect", "n", "kind"]
    table = pd.concat(parts).reindex(columns=columns)
    name = ("transfer_" + table["operator"]).mask(table["dose"] == RAW, "transfer_raw")
    name = name.mask(table["kind"] != "single", "transfer_sets")
    return {str(name): part for name, part in table.groupby(name, sort=False)}


def per_prompt(cells: pd.DataFrame) -> pd.DataFrame:
    """Effect of every direction at every target on each prompt, to 1e-4 nats, without any text."""
    real = cells.dropna(subset="source").astype({"source": int})
    effects = pd.DataFrame([dict(enumerate(np.round(e, 4).tolist())) for e in real["effects"]])
    keys = real[["operator", "dose", "source", "target"]].reset_index(drop=True)
    return pd.concat([keys, effects.add_prefix("prompt_")], axis=1)


def distance_table(operator: Operator, t: Transfer) -> pd.DataFrame:
    """Per distance of target from source: median effect, quartiles, and the null's 95% range."""
    gap = np.subtract.outer(np.array(t.layers), np.array(t.sources)).T
    rows = []
    for distance in np.unique(gap):
        at = gap == distance
        low, value, high = np.percentile(t.means[at], (25, 50, 75))
        null = null_interval(t.null[:, at].ravel())
        rows.append((operator, distance, value, low, high, *null, int(at.sum())))
    columns = ["operator", "distance", "value", "low", "high", "null_low", "null_high", "pairs"]
    criterion = OWN_SHARE * float(np.median(t.own(t.means)))
    return pd.DataFrame(rows, columns=columns).assign(criterion=criterion, n=t.effects.shape[-1])


def effect_by_cosine(cells: pd.DataFrame, setup: Setup, far_layers: int) -> pd.DataFrame:
    """Effect of an addition at a single layer against the cosine with that layer's direction.

    Groups: null (drawn first, under the others), own layer, nearer than `far_layers`, and far.
    """
    added = cells.query(f"dose == '{MAIN_DOSE['addition']}' and kind == 'single'")
    layer = added["target"].astype(int)
    distance = (layer - added["source"]).abs()
    is_of = {"null": distance.isna(), "own layer": distance == 0, "nearer": distance < far_layers}
    directions = zip(added["direction"], layer, strict=True)
    table = added.assign(
        group=np.select(list(is_of.values()), list(is_of), f"{far_layers} or more layers away"),
        layer=layer,
        cosine=[cosine(direction, setup.layers[x].direction) for direction, x in directions],
    )
    table = table.sort_values("group", kind="stable", key=lambda group: group != "null")
    return table.reindex(columns=["group", "source", "layer", "cosine", "effect", "n"])


def cosine_table(setup: Setup) -> pd.DataFrame:
    """Cosines between the layers' directions (draw -1), and between those of permuted labels.

    A draw permutes the labels alike at every layer, since layers share the prompts.
    """
    drawn = {x: [setup.layers[x].direction] for x in setup.singles}
    for x, found in drawn.items():
        found += [null for family, _, null in setup.layers[x].nulls if family == "label_permuted"]
    rows = [
        (draw, first, second, cosine(a, b))
        for first, second in product(drawn, repeat=2)
        for draw, (a, b) in enumerate(zip(drawn[first], drawn[second], strict=True), start=-1)
    ]
    return pd.DataFrame(rows, columns=["draw", "first", "second", "cosine"])


def cosine_estimates(cosines: pd.DataFrame, far_layers: int) -> list[Estimate]:
    """Median cosine of far layers' directions against label permutations; empty without such."""
    far = cosines.query(f"first - second >= {far_layers}")
    if far.empty:
        return []
    medians = far.query("draw >= 0").groupby("draw")["cosine"].median()
    found = far.query("draw < 0")["cosine"]
    return [over_pairs("cosine.far", found, null_interval(medians.to_numpy()), "cosine")]


def likeness(setup: Setup, seed: int) -> tuple[pd.DataFrame, list[Estimate]]:
    """Debiased CKA and held-out Procrustes R^2 of pairs of layers: median and range by distance.

    Two noise nulls: the pairs with their samples shuffled, and Gaussian noise, mean of three draws.
    Estimated are the medians over neighbours among the layers, and over all pairs.
    """
    states = {x: setup.layers[x].states.double().numpy() for x in setup.singles}
    n, d_model = states[setup.singles[0]].shape
    spans = {x: alignment.sample_span(values) for x, values in states.items()}
    tables, estimates = [], []
    for name, measure in LIKENESS.items():
        pairs = pairs_of_layers(spans, measure, seed)
        null = null_interval(pairs["shuffled"].to_numpy())
        found = pairs.groupby("distance")["value"].agg(value="median", low="min", high="max")
        parts = [found.assign(data="activations")]
        for data, of_noise in {"Gaussian noise": measure, **BIASED.get(name, {})}.items():
            value = alignment.gaussian_null(of_noise, n, d_model, 3, seed).mean()
            parts.append(found.assign(data=data, value=value, low=np.nan, high=np.nan))
        table = pd.concat(parts).sort_index(kind="stable").reset_index()
        tables.append(table.assign(measure=name, null_low=null[0], null_high=null[1], n=n))
        near = pairs[pairs["distance"] == pairs["distance"].min()]
        for kind, chosen in (("neighbours", near), ("all", pairs)):
            estimates.append(over_pairs(f"alignment.{name}.{kind}", chosen["value"], null))
    columns = ["data", "measure", "distance", "value", "low", "high", "null_low", "null_high", "n"]
    return pd.concat(tables).reindex(columns=columns), estimates


def pairs_of_layers(
    spans: Mapping[int, Float[np.ndarray, "sample rank"]], measure: alignment.Measure, seed: int
) -> pd.DataFrame:
    """A measure of every pair of layers, and of the pair once with its samples shuffled."""
    rows = []
    for i, (first, second) in enumerate(combinations(spans, 2)):
        pair = spans[first], spans[second]
        shuffled = alignment.shuffled_null(measure, *pair, 1, seed + i)[0]
        rows.append((second - first, measure(*pair), shuffled))
    return pd.DataFrame(rows, columns=["distance", "value", "shuffled"])


def over_pairs(name: str, values: pd.Series, null: tuple[float, float], unit: str = "") -> Estimate:
    """A median over pairs of layers, which share layers: it has a null and no interval."""
    return Estimate(name, float(values.median()), None, None, *null, len(values), unit=unit)


def set_table(estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """Effect of writing at a set of layers, per operator and kind of set, with single layers."""
    found = [("one layer, far", o, estimates[f"far_effect.{o}"]) for o in OPERATORS]
    found += [(kind, o, estimates[set_name(o, kind)]) for kind in SET_KINDS for o in OPERATORS]
    columns = ["value", "low", "high", "null_low", "null_high", "n"]
    rows = [(kind, o, *(getattr(e, column) for column in columns)) for kind, o, e in found]
    return pd.DataFrame(rows, columns=["layers", "operator", *columns])
