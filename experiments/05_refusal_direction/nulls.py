"""Random directions and fresh extractions of experiment 05, through the path of the true one."""

import pandas as pd

from interp.directions import Direction, cosine
from interp.nulls import FAMILIES

from .measure import Bench, Edit, Source, adding, share

CRITERION_FAMILIES = ("isotropic", "covariance_matched")  # those that the criterion of 05 names


def random_directions(bench: Bench, source: Source, n: int) -> list[tuple[str, int, Direction]]:
    """`n` random directions of every family, as family, number and direction."""
    seeds = bench.lab.rng("05.nulls").integers(2**31, size=len(FAMILIES)).tolist()
    return [
        (family, index, direction)
        for family, seed in zip(FAMILIES, seeds, strict=True)
        for index, direction in enumerate(source.null_directions(family, n, seed))
    ]


def null_draws(
    bench: Bench, source: Source, n: int, n_generated: int, n_prompts: int
) -> pd.DataFrame:
    """Every random direction with its effects on the openings score, and on the answers of some.

    Columns: family, draw, cosine with the direction, ablation, addition (mean effects, nats),
    harmful_rate, harmless_rate (refusal rates of `n_prompts` prompts when ablated and when added;
    NaN where not generated).
    """
    drawn = random_directions(bench, source, n)
    rows = []
    for family, index, direction in bench.lab.progress(drawn, "random directions", len(drawn)):
        key = f"{family}/{index}"
        effects = bench.effects(key, source, direction)
        rates = (
            null_rates(bench, source, direction, key, n_prompts)
            if index < n_generated
            else {"harmful_rate": float("nan"), "harmless_rate": float("nan")}
        )
        means = {name: float(values.mean()) for name, values in effects.items()}
        similarity = cosine(direction, source.direction)
        rows.append({"family": family, "draw": index, "cosine": similarity, **means, **rates})
    return pd.DataFrame(rows)


def null_rates(
    bench: Bench, source: Source, direction: Direction, key: str, n: int
) -> dict[str, float]:
    """Refusal rates with a random direction ablated (harmful) and added (harmless)."""
    edits: dict[str, Edit] = {
        "harmful": bench.removing(direction.unit),
        "harmless": adding(source.coefficient * direction.vector, source.site),
    }
    return {
        f"{kind}_rate": share(
            bench.classes(f"null/{kind}/{key}", bench.prompts[kind][:n], edit), "refused"
        )
        for kind, edit in edits.items()
    }


def re_extractions(bench: Bench, source: Source, n: int) -> pd.DataFrame:
    """Effects of the direction extracted again from random halves of the train prompts.

    Columns: draw, cosine with the direction, ablation, addition (mean effects, nats).
    """
    rng = bench.lab.rng("05.re_extraction")
    rows = []
    for index in range(n):
        direction = source.again(rng)
        effects = bench.effects(f"again/{index}", source, direction)
        means = {name: float(values.mean()) for name, values in effects.items()}
        rows.append({"draw": index, "cosine": cosine(direction, source.direction), **means})
    return pd.DataFrame(rows)
