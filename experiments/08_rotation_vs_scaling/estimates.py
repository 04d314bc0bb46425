"""Estimates of experiment 08: (a) magnitude, (b) reach, (c) equal damage, (d) angle."""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.selection import found_estimate, gate_estimates
from interp import stats
from interp.planes import Harmonic, first_harmonic

from .measure import CLASSES, FULLY_RANDOM, Measured
from .protocol import CAPS, MATCHED_KL
from .reach import CAP, MATCHED, Measurements, mix


def all_estimates(found: Measurements, seed: int) -> dict[str, Estimate]:
    """Every estimate by name, in the order of the questions."""
    parts = (magnitude_estimates, reach_estimates, matched_estimates, angle_estimates)
    listed = [
        *(_mean(f"openings.{name}.base", found.base[i], seed) for i, name in enumerate(CLASSES)),
        *gate_estimates(found.selection.prompts),
        found_estimate(found.selection),
        *(estimate for part in parts for estimate in part(found, seed)),
    ]
    return {estimate.name: estimate for estimate in listed}


def magnitude_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (a); the null is random moves of the rescaling's length, as a share as well.

    By factor: mean absolute change over angles and factors against the same angle at factor 1. By
    angle: mean absolute difference over pairs of angles at factor 1.
    """
    rescaled = {key: change for key, change in found.rescaled.items() if key[1] != 1.0}
    by_factor = np.mean([*rescaled.values()], axis=0)
    level = [m.openings for (kind, _, f), m in found.magnitude.items() if kind == "turn" and f == 1]
    by_angle = np.mean([abs(a - b).ravel() for a, b in combinations(level, 2)], axis=0)
    moves = np.mean([found.moves(factor) for factor in {f: None for _, f in rescaled}], axis=0)
    yield _mean("magnitude.angle_effect", by_angle, seed, null=moves)
    share = stats.bootstrap(
        lambda a, b: a.mean() / b.mean(), [by_factor, by_angle], paired=True, seed=seed
    )
    null = moves / by_angle.mean()
    yield _estimate("magnitude.share", share, null=null, alternative="less", unit="")


def reach_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (b): reach of each family within each cap, and scaling - rotation / 2."""
    for cap in CAPS:
        reached = {f: found.mixed[CAP, cap, f, "reach"].effect for f in found.families}
        for family, values in reached.items():
            yield _mean(f"reach.{family}.cap_{cap:g}", values, seed, null=found.null_reach)
        margin = reached["scaling"] - reached["rotation"] / 2
        # The null of the margin: scaling reaches nothing, and rotation what a random plane does.
        yield _mean(f"reach.margin.cap_{cap:g}", margin, seed, null=-found.null_reach / 2)


def matched_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (c): reach of each family at matched KL on text, and rotation's lead.

    `matched.damage` is the smaller of the KLs that a family's two mixtures have on the test text:
    below MATCHED_KL, its reach is that of less damage.
    """
    one = next(iter(found.sweep.values()))
    reached = {f: found.mixed[MATCHED, MATCHED_KL, f, "reach"] for f in found.families}
    for family, (effect, damage) in reached.items():
        yield _mean(f"matched.{family}", effect, seed, null=found.null_reach)
        yield Estimate(f"matched.damage.{family}", damage, n=len(one.text_kl), unit="nats")
    # The rival is scaling or adding, whichever reaches further on validation. The null of the lead:
    # a random plane against a rival that reaches what the real one does.
    validation = mix(found.choices, found.sweep, one.base.shape[1])
    rival = max(
        (family for family in found.families if family in ("scaling", "adding")),
        key=lambda family: validation[MATCHED, MATCHED_KL, family, "reach"].effect.mean(),
    )
    lead = reached["rotation"].effect - reached[rival].effect
    null = found.null_reach - reached[rival].effect.mean()
    yield _mean("matched.lead", lead, seed, null=null)


def angle_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (d): fit of the first harmonic, and amplitudes at the random planes' angles."""
    rng, mean = np.random.default_rng(seed), _changes(found.curve).mean(0)
    angles = np.array(list(found.curve))
    shuffled = [first_harmonic(angles, rng.permutation(mean)).r_squared for _ in range(999)]
    r_squared = _fitted(found.curve, lambda fit: fit.r_squared, seed)
    yield _estimate("angle.r_squared", r_squared, null=np.array(shuffled), unit="")

    shared = {angle: found.curve[angle] for _, _, angle in found.planes}
    statistics: dict[str, tuple[Callable[[Harmonic], float], tuple[str, ...]]] = {
        "angle.amplitude": (lambda fit: fit.amplitude, FULLY_RANDOM),
        "angle.amplitude_along_b2": (lambda fit: abs(fit.sine), ("random_b2",)),
    }
    for name, (statistic, families) in statistics.items():
        null = [
            statistic(first_harmonic(np.array(list(turned)), _changes(turned).mean(0)))
            for (family, _), turned in found.null_curves.items()
            if family in families
        ]
        yield _estimate(name, _fitted(shared, statistic, seed), null=np.array(null))


def _fitted(
    turned: Mapping[float, Measured], statistic: Callable[[Harmonic], float], seed: int
) -> stats.Interval:
    """A statistic of the first harmonic, over resampled prompts."""
    angles, changes = np.array(list(turned)), [_changes(turned)]
    return stats.bootstrap(
        lambda rows: statistic(first_harmonic(angles, rows.mean(0))), changes, True, seed
    )


def _changes(turned: Mapping[float, Measured]) -> Float[np.ndarray, "sample angle"]:
    return np.stack([m.change.ravel() for m in turned.values()], axis=1)


def _mean(name: str, values: Float[np.ndarray, " sample"], seed: int, **options: Any) -> Estimate:
    return _estimate(name, stats.bootstrap_mean(values, seed=seed), **options)


def _estimate(
    name: str, interval: stats.Interval, *, unit: str = "nats", **options: Any
) -> Estimate:
    mde = stats.minimum_detectable_effect_interval(interval)
    return Estimate.of(name, interval, mde=mde, unit=unit, **options)
