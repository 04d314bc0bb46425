"""Dose-response of experiment 05: effect and damage of adding and removing more and more."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from interp.nulls import FAMILIES

from .measure import BASE, Bench, Edit, Source, adding
from .nulls import CRITERION_FAMILIES, random_directions


def dose_rows(
    bench: Bench, source: Source, coefficients: Sequence[float], factors: Sequence[float]
) -> Iterator[dict[str, object]]:
    """Effect and damage of adding more and more, and of removing more and more.

    Rows: operator (add, remove), dose, damage (mean KL on text), values (effect per prompt).
    """
    base = {kind: np.array(bench.openings("base", kind, BASE)) for kind in ("harmful", "harmless")}
    unit, vector = source.direction.unit, source.direction.vector
    doses: list[tuple[str, float, Edit, str, Callable[[np.ndarray], np.ndarray]]] = [
        ("add", c, adding(c * vector, source.site, f"added/{c:g}"), "harmless", lambda h: h)
        for c in coefficients
    ]
    doses += [("remove", 1 - f, bench.scaling(unit, f), "harmful", lambda h: -h) for f in factors]
    for operator, dose, edit, kind, sign in bench.lab.progress(doses, "doses", len(doses)):
        scores = np.array(bench.openings(edit.name, kind, edit))
        yield {
            "operator": operator,
            "dose": dose,
            "damage": float(np.mean(bench.text(edit.name, edit)["kl"])),
            "values": sign(scores - base[kind]),
        }


def null_dose_rows(
    bench: Bench, source: Source, draws: pd.DataFrame, n: int
) -> Iterator[dict[str, object]]:
    """Effect and damage of the first `n` of `draws` of each family that the criterion names."""
    measured = draws.set_index(["family", "draw"])
    per_family = len(draws) // len(FAMILIES)
    for family, index, direction in random_directions(bench, source, per_family):
        if family not in CRITERION_FAMILIES or index >= n:
            continue
        vector = source.coefficient * direction.vector
        for operator, effect, dose, edit in (
            ("add", "addition", source.coefficient, adding(vector, source.site)),
            ("remove", "ablation", 1.0, bench.removing(direction.unit)),
        ):
            yield {
                "operator": operator,
                "dose": dose,
                "damage": float(np.mean(bench.text(f"{effect}/{family}/{index}", edit)["kl"])),
                "effect": float(measured.loc[(family, index), effect]),  # type: ignore[arg-type]
            }
