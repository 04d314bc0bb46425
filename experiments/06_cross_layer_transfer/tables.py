"""Tables of experiment 06, one per figure, and the likeness of the layers' activations."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from experiments.lab.estimate import Estimate
from interp.alignment import (
    debiased_cka,
    gaussian_null,
    linear_cka,
    procrustes_r2,
    sample_span,
    shuffled_null,
)
from interp.directions import cosine
from interp.stats import null_interval

from .estimates import Transfer
from .measure import AGAIN, SET_KINDS, Cell, Setup
from .protocol import OPERATORS, Operator


def matrix_table(
    cells: Sequence[Cell], setup: Setup, doses: Sequence[tuple[Operator, str]], percentile: float
) -> pd.DataFrame:
    """Mean effect per operator, dose, source and target; source "null" is the nulls' percentile."""
    rows = []
    for operator, dose in doses:
        of_dose = [c for c in cells if (c.job.operator, c.job.dose) == (operator, dose)]
        for cell in (c for c in of_dose if c.job.is_transfer):
            row = (str(cell.job.source), cell.job.target, cell.effects.mean(), len(cell.effects))
            rows.append((operator, dose, *row))
        for target in setup.targets:
            drawn = [c for c in of_dose if c.job.source is None and c.job.target == target]
            if drawn:
                top = np.percentile([c.effects.mean() for c in drawn], percentile)
                rows.append((operator, dose, "null", target, top, len(drawn[0].effects)))
    columns = ["operator", "dose", "source", "target", "effect", "n"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(
        kind=[target.kind for target in table["target"]],
        target=[target.name for target in table["target"]],
    )


def distance_table(operator: Operator, t: Transfer) -> pd.DataFrame:
    """Per distance of target from source: median effect, quartiles, and the null's 95% range."""
    gap = np.subtract.outer(np.array(t.layers), np.array(t.sources)).T
    rows = []
    for distance in np.unique(gap):
        at = gap == distance
        low, value, high = np.percentile(t.means[at], (25, 50, 75))
        null_low, null_high = null_interval(t.null_as_sources[:, at].ravel())
        rows.append((operator, distance, value, low, high, null_low, null_high, int(at.sum())))
    columns = ["operator", "distance", "value", "low", "high", "null_low", "null_high", "pairs"]
    criterion = t.rule.own_share * float(np.median(t.own(t.means)))
    return pd.DataFrame(rows, columns=columns).assign(criterion=criterion, n=t.effects.shape[-1])


def cosine_table(cells: Sequence[Cell], setup: Setup, dose: str, far_layers: int) -> pd.DataFrame:
    """Effect of an addition at a single layer against the cosine with that layer's direction.

    Groups: null (drawn first, under the others), own layer, nearer than `far_layers`, and far.
    """
    rows = []
    for cell in cells:
        job = cell.job
        is_asked = (job.operator, job.dose, job.target.kind) == ("addition", dose, "single")
        if is_asked and job.family != AGAIN:
            layer = job.target.layers[0]
            group = _distance_group(job.source, layer, far_layers)
            similarity = cosine(job.direction, setup.directions[layer])
            rows.append(
                (group, job.source, layer, similarity, cell.effects.mean(), len(cell.effects))
            )
    columns = ["group", "source", "layer", "cosine", "effect", "n"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("group", kind="stable", key=lambda groups: groups != "null")


def _distance_group(source: int | None, layer: int, far_layers: int) -> str:
    if source is None:
        return "null"
    if source == layer:
        return "own layer"
    return "nearer" if abs(layer - source) < far_layers else f"{far_layers} or more layers away"


def direction_cosines(setup: Setup) -> pd.DataFrame:
    """Cosines between the layers' directions (draw -1), and between those of permuted labels.

    A draw permutes the labels alike at every layer, since layers share the prompts.
    """
    permuted = {
        layer: [d for d in setup.nulls[layer] if d.method.endswith("label_permuted")]
        for layer in setup.layers
    }
    rows = [
        (draw, first, second, cosine(a, b))
        for first in setup.layers
        for second in setup.layers
        for draw, (a, b) in enumerate(
            zip(
                (setup.directions[first], *permuted[first]),
                (setup.directions[second], *permuted[second]),
                strict=True,
            ),
            start=-1,
        )
    ]
    return pd.DataFrame(rows, columns=["draw", "first", "second", "cosine"])


def cosine_estimate(cosines: pd.DataFrame, far_layers: int) -> list[Estimate]:
    """Median cosine of far layers' directions against label permutations; empty without such."""
    far = cosines[(cosines["first"] - cosines["second"]) >= far_layers]
    if far.empty:
        return []
    medians = far.groupby("draw")["cosine"].median()
    low, high = null_interval(medians.drop(-1).to_numpy())
    pairs = int((far["draw"] == -1).sum())
    value = float(medians[-1])
    found = Estimate("cosine.far", value, null_low=low, null_high=high, n=pairs, unit="cosine")
    return [found]


def alignment_table(setup: Setup, seed: int) -> pd.DataFrame:
    """Debiased CKA and held-out Procrustes R^2 of every pair of layers, with two noise nulls.

    Each pair once with its samples shuffled; noise alike for all, the mean of three draws.
    """
    states = {x: torch.cat(setup.activations[x]).double().numpy() for x in setup.layers}
    n, d_model = states[setup.layers[0]].shape
    spans = {x: sample_span(values) for x, values in states.items()}
    measures = {"cka": debiased_cka, "procrustes": procrustes_r2}
    rows = []
    for i, (first, second) in enumerate(combinations(setup.layers, 2)):
        pair = spans[first], spans[second]
        for name, measure in measures.items():
            shuffled = shuffled_null(measure, *pair, 1, seed + i)[0]
            rows.append((name, first, second, second - first, measure(*pair), shuffled, n))
    columns = ["measure", "first", "second", "distance", "value", "shuffled", "n"]
    table = pd.DataFrame(rows, columns=columns)
    noise = {k: gaussian_null(m, n, d_model, 3, seed).mean() for k, m in measures.items()}
    naive = gaussian_null(linear_cka, n, d_model, 3, seed).mean()
    return table.assign(gaussian_noise=table["measure"].map(noise), biased_cka_of_noise=naive)


def alignment_by_distance(pairs: pd.DataFrame) -> pd.DataFrame:
    """Median over pairs of layers at each distance with its range, and the shuffled null's 95%."""
    rows = []
    for name, table in pairs.groupby("measure", sort=False):
        null_low, null_high = null_interval(table["shuffled"].to_numpy())
        noise, naive, n = table[["gaussian_noise", "biased_cka_of_noise", "n"]].iloc[0]
        for distance, at in table.groupby("distance"):
            low, high = at["value"].min(), at["value"].max()
            row = (name, distance, at["value"].median(), low, high, null_low, null_high, int(n))
            rows += [("activations", *row)]
            blank = (np.nan, np.nan, null_low, null_high, int(n))
            rows += [("Gaussian noise", name, distance, noise, *blank)]
            if name == "cka":
                rows += [("Gaussian noise, biased CKA", name, distance, naive, *blank)]
    columns = ["data", "measure", "distance", "value", "low", "high", "null_low", "null_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def alignment_estimates(pairs: pd.DataFrame) -> list[Estimate]:
    """Median over neighbours among the measured layers, and over all pairs; null: shuffled."""
    found = []
    for name, table in pairs.groupby("measure", sort=False):
        low, high = null_interval(table["shuffled"].to_numpy())
        nearest = table[table["distance"] == table["distance"].min()]
        for kind, chosen in (("neighbours", nearest), ("all", table)):
            found.append(
                Estimate(
                    f"alignment.{name}.{kind}",
                    float(chosen["value"].median()),
                    null_low=low,
                    null_high=high,
                    n=len(chosen),
                )
            )
    return found


def prompt_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Effect per cell and validation prompt, to 1e-4 nats; a column per prompt, no text.

    The two operators use different prompts, and may use different numbers of them.
    """
    keys = ["operator", "dose", "source", "target"]
    return pd.DataFrame(
        [
            dict(
                zip(keys, (c.job.operator, c.job.dose, c.job.source, c.job.target.name)),
                **{f"prompt_{i}": round(value, 4) for i, value in enumerate(c.effects)},
            )
            for c in cells
            if c.job.is_transfer
        ]
    )


def set_table(estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """Effect of writing at a set of layers, per operator and kind of set, with single layers."""
    names = {f"far_effect.{o}": ("one layer, far", o) for o in OPERATORS} | {
        f"set_effect.{o}.{kind.replace(' ', '_')}": (kind, o)
        for kind in SET_KINDS
        for o in OPERATORS
    }
    rows = [
        (kind, operator, e.value, e.low, e.high, e.null_low, e.null_high, e.n)
        for name, (kind, operator) in names.items()
        for e in [estimates[name]]
    ]
    columns = ["layers", "operator", "value", "low", "high", "null_low", "null_high", "n"]
    return pd.DataFrame(rows, columns=columns)
