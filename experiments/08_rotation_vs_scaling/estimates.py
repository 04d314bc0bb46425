"""Estimates of experiment 08: (a) magnitude, (b) reach, (c) equal damage, (d) angle."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.selection import found_estimate, gate_estimates
from interp import stats
from interp.planes import first_harmonic

from .measure import FULLY_RANDOM, Measurements, curve, magnitude_changes, null_reach, true_curve
from .protocol import CAPS, MATCHED_KL
from .reach import families, matched_kl, matched_reach, reach


def estimate(
    name: str,
    interval: stats.Interval,
    null: Float[np.ndarray, " draw"] | None = None,
    alternative: stats.Alternative = "greater",
    unit: str = "nats",
) -> Estimate:
    """An estimate from an interval and the draws of its null."""
    low, high = (None, None) if null is None else stats.null_interval(null)
    p = None if null is None else stats.permutation_p(interval.value, null, alternative)
    mde = stats.minimum_detectable_effect_interval(interval)
    return Estimate(
        name, interval.value, interval.low, interval.high, low, high, interval.n, p, mde, unit
    )


def base_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Openings scores of the unedited model; a null makes no sense for them."""
    base = found.base_test
    yield estimate("openings.harmful.base", stats.bootstrap_mean(base.harmful, seed=seed))
    yield estimate("openings.harmless.base", stats.bootstrap_mean(base.harmless, seed=seed))
    gap = stats.bootstrap(
        lambda a, b: a.mean() - b.mean(), [base.harmful, base.harmless], paired=False, seed=seed
    )
    yield estimate("openings.separation.base", gap)
    yield from gate_estimates(found.selection.prompts)
    yield found_estimate(found.selection)


def magnitude_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (a); the null is random moves of the rescaling's length, as a share as well."""
    by_factor, by_angle, moves = magnitude_changes(found.magnitude, found.base_test)
    yield estimate("magnitude.angle_effect", stats.bootstrap_mean(by_angle, seed=seed), moves)
    share = stats.bootstrap(
        lambda a, b: a.mean() / b.mean(), [by_factor, by_angle], paired=True, seed=seed
    )
    yield estimate("magnitude.share", share, moves / by_angle.mean(), "less", unit="")


def reach_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (b): reach of each family within each cap, and scaling - rotation / 2."""
    null = null_reach(found.planes, found.base_validation)
    for cap in CAPS:
        reached = {
            f: reach(found.chosen, found.test, found.base_test, f, cap)
            for f in families(found.chosen)
        }
        for family, values in reached.items():
            interval = stats.bootstrap_mean(values, seed=seed)
            yield estimate(f"reach.{family}.cap_{cap:g}", interval, null)
        margin = reached["scaling"] - reached["rotation"] / 2
        # The null of the margin: scaling reaches nothing, and rotation what a random plane does.
        interval = stats.bootstrap_mean(margin, seed=seed)
        yield estimate(f"reach.margin.cap_{cap:g}", interval, -null / 2)


def matched_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (c): reach of each family at matched KL on text, and rotation's lead.

    `matched.damage` is the smaller of the KLs that a family's two mixtures have on the test text:
    below MATCHED_KL, its reach is that of less damage.
    """
    null = null_reach(found.planes, found.base_validation)
    reached = {
        f: matched_reach(found.matched, found.test, found.base_test, f, MATCHED_KL)
        for f in families(found.chosen)
    }
    for family, values in reached.items():
        yield estimate(f"matched.{family}", stats.bootstrap_mean(values, seed=seed), null)
        damage = min(matched_kl(found.matched, found.test, family, MATCHED_KL).values())
        n = len(found.base_test.text_kl)
        yield Estimate(f"matched.damage.{family}", damage, n=n, unit="nats")
    rival = best_rival(found)
    lead = stats.bootstrap_mean(reached["rotation"] - reached[rival], seed=seed)
    # The null of the lead: a random plane against a rival that reaches what the real one does.
    yield estimate("matched.lead", lead, null - reached[rival].mean())


def best_rival(found: Measurements) -> str:
    """Scaling or adding, whichever reaches further at matched KL on validation."""
    present = [f for f in families(found.matched) if f in ("scaling", "adding")]
    return max(
        present,
        key=lambda f: matched_reach(
            found.matched, found.sweep, found.base_validation, f, MATCHED_KL
        ).mean(),
    )


def angle_estimates(found: Measurements, seed: int) -> Iterator[Estimate]:
    """Question (d): fit of the first harmonic, and amplitudes at the random planes' angles."""
    angles, changes = true_curve(found)
    r_squared = stats.bootstrap(
        lambda rows: first_harmonic(angles, rows.mean(0)).r_squared, [changes], True, seed
    )
    rng, mean = np.random.default_rng(seed), changes.mean(0)
    shuffled = [first_harmonic(angles, rng.permutation(mean)).r_squared for _ in range(999)]
    yield estimate("angle.r_squared", r_squared, np.array(shuffled), unit="")

    shared = sorted(next(iter(found.planes.values())))
    shared_angles, shared_changes = true_curve(found, shared)
    null_fits = {
        key: first_harmonic(shared_angles, curve(turned, found.base_validation, shared).mean(0))
        for key, turned in found.planes.items()
    }
    amplitude = stats.bootstrap(
        lambda rows: first_harmonic(shared_angles, rows.mean(0)).amplitude,
        [shared_changes], True, seed,
    )  # fmt: skip
    random = [fit.amplitude for key, fit in null_fits.items() if key[0] in FULLY_RANDOM]
    yield estimate("angle.amplitude", amplitude, np.array(random))
    along_b2 = stats.bootstrap(
        lambda rows: abs(first_harmonic(shared_angles, rows.mean(0)).sine),
        [shared_changes], True, seed,
    )  # fmt: skip
    random_b2 = [abs(fit.sine) for key, fit in null_fits.items() if key[0] == "random_b2"]
    yield estimate("angle.amplitude_along_b2", along_b2, np.array(random_b2))


def all_estimates(found: Measurements, seed: int) -> dict[str, Estimate]:
    """Every estimate by name, in the order of the questions."""
    parts = (
        base_estimates,
        magnitude_estimates,
        reach_estimates,
        matched_estimates,
        angle_estimates,
    )
    return {e.name: e for part in parts for e in part(found, seed)}
