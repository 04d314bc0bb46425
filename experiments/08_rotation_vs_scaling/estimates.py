"""Estimates of experiment 08: (a) magnitude, (b) reach, (c) equal damage, (d) angle."""

from collections.abc import Callable, Iterator
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
        *(
            _mean(f"openings.{name}.base", scores, seed)
            for name, scores in zip(CLASSES, found.base)
        ),
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
    rescaled = {key: change for key, change in found.rescaled().items() if key[1] != 1.0}
    by_factor = np.mean(list(rescaled.values()), axis=0)
    moves = np.mean([found.moves(factor) for factor in {f: 0 for _, f in rescaled}], axis=0)
    level = [m.openings.ravel() for (_, factor), m in found.turned.items() if factor == 1.0]
    by_angle = np.mean([abs(one - other) for one, other in combinations(level, 2)], axis=0)
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
    reached = {f: found.mixed[MATCHED, MATCHED_KL, f, "reach"] for f in found.families}
    n_texts = len(next(iter(found.sweep.values())).text_kl)
    for family, (effect, damage) in reached.items():
        yield _mean(f"matched.{family}", effect, seed, null=found.null_reach)
        yield Estimate(f"matched.damage.{family}", damage, n=n_texts, unit="nats")
    rival = reached[best_rival(found)].effect
    # The null of the lead: a random plane against a rival that reaches what the real one does.
    null = found.null_reach - rival.mean()
    yield _mean("matched.lead", reached["rotation"].effect - rival, seed, null=null)


def best_rival(found: Measurements) -> str:
    """Scaling or adding, whichever reaches further at matched KL on validation."""
    mixed = mix(found.choices, found.sweep, next(iter(found.sweep.values())).base.shape[1])
    rivals = [family for family in found.families if family in ("scaling", "adding")]
    return max(rivals, key=lambda f: mixed[MATCHED, MATCHED_KL, f, "reach"].effect.mean())


def angle_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (d): fit of the first harmonic, and amplitudes at the random planes' angles."""
    planes: dict[tuple[str, int], dict[float, Measured]] = {}
    for (*plane, angle), m in found.planes.items():
        planes.setdefault(tuple(plane), {})[angle] = m
    shared = next(iter(planes.values()))
    whole, curve = _changes(found.curve), _changes({a: found.curve[a] for a in shared})
    fits = {key: _fit(list(shared), _changes(turned)) for key, turned in planes.items()}

    def fitted(statistic: Callable[[Harmonic], float]) -> stats.Interval:
        return stats.bootstrap(
            lambda rows: statistic(_fit(list(shared), rows)), [curve], True, seed
        )

    angles, rng = list(found.curve), np.random.default_rng(seed)
    r_squared = stats.bootstrap(lambda rows: _fit(angles, rows).r_squared, [whole], True, seed)
    mean = whole.mean(0)
    shuffled = [first_harmonic(angles, rng.permutation(mean)).r_squared for _ in range(999)]
    yield _estimate("angle.r_squared", r_squared, null=np.array(shuffled), unit="")
    null = np.array([fit.amplitude for (family, _), fit in fits.items() if family in FULLY_RANDOM])
    yield _estimate("angle.amplitude", fitted(lambda fit: fit.amplitude), null=null)
    null = np.array([abs(fit.sine) for (family, _), fit in fits.items() if family == "random_b2"])
    yield _estimate("angle.amplitude_along_b2", fitted(lambda fit: abs(fit.sine)), null=null)


def _changes(turned: dict[float, Measured]) -> Float[np.ndarray, "sample angle"]:
    """Change of the openings score of each prompt, harmful first."""
    return np.stack([m.change.ravel() for m in turned.values()], axis=1)


def _fit(angles: list[float], changes: Float[np.ndarray, "sample angle"]) -> Harmonic:
    return first_harmonic(np.array(angles), changes.mean(0))


def _mean(name: str, values: Float[np.ndarray, " sample"], seed: int, **options: Any) -> Estimate:
    return _estimate(name, stats.bootstrap_mean(values, seed=seed), **options)


def _estimate(
    name: str, interval: stats.Interval, *, unit: str = "nats", **options: Any
) -> Estimate:
    mde = stats.minimum_detectable_effect_interval(interval)
    return Estimate.of(name, interval, mde=mde, unit=unit, **options)
