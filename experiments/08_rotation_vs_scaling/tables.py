"""Tables of the comparison of rotation and scaling; a figure has the name of its table."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp import stats

from .measure import CLASSES, FULLY_RANDOM, TARGETS, Target
from .protocol import MATCHED_KL
from .reach import MATCHED, Measurements


def tables(found: Measurements, seed: int) -> dict[str, pd.DataFrame]:
    """Every table of the result."""
    made = {
        "angle_curve": angle_table(found, seed),
        "dose_bypass": dose_table(found, "bypass", seed),
        "dose_induce": dose_table(found, "induce", seed),
        "matched": matched_table(found, seed),
        "magnitude": magnitude_table(found, seed),
        "chosen": chosen_table(found),
        "per_prompt": prompt_table(found),
    }
    return made | ({"angle_rates": rate_table(found)} if found.refused else {})


def mean_intervals(
    values: Float[np.ndarray, "setting sample"], seed: int, n_resamples: int = 2000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, low and high [setting]: percentile bootstrap over samples, all settings at once.

    The same resamples serve every setting, so a sweep of hundreds costs what one setting does.
    """
    n = values.shape[1]
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    counts = np.zeros((n_resamples, n))
    np.add.at(counts, (np.arange(n_resamples)[:, None], drawn), 1 / n)
    low, high = np.percentile(values @ counts.T, [2.5, 97.5], axis=1)
    return values.mean(axis=1), low, high


def dose_table(found: Measurements, target: Target, seed: int) -> pd.DataFrame:
    """Effect and damage of every swept setting and every fully random plane, on validation."""
    rows = [(str(variant), dose, False, m) for (variant, dose), m in found.sweep.items()]
    rows += [
        (f"{family} plane {number}", angle, True, m)
        for (family, number, angle), m in found.planes.items()
        if family in FULLY_RANDOM
    ]
    table = pd.DataFrame(rows, columns=["variant", "dose", "null", "measured"])
    measured = table.pop("measured")
    effects = np.stack([m.effect(target) for m in measured])
    mean, low, high = mean_intervals(effects, seed)
    return table.assign(
        effect=mean,
        low=low,
        high=high,
        text_kl=[m.text_kl.mean() for m in measured],
        damage=[m.damage(target) for m in measured],
        n=effects.shape[1],
    )


def angle_table(found: Measurements, seed: int) -> pd.DataFrame:
    """Change of the openings score against the angle, per class and plane, on validation.

    Fully random planes are null rows. `random b2` rows are the mean over those planes, with their
    range as low and high.
    """
    curve, rows = found.curve, []
    for row, name in enumerate(CLASSES):
        intervals = mean_intervals(np.stack([m.change[row] for m in curve.values()]), seed)
        rows += [(name, False, *values) for values in zip(curve, *intervals, strict=True)]
    for row, name in enumerate(CLASSES):
        at_angle: dict[float, list[float]] = {}
        for (family, number, angle), m in found.planes.items():
            value = m.change[row].mean()
            if family == "random_b2":
                at_angle.setdefault(angle, []).append(value)
            else:
                rows.append((f"{name}, {family} {number}", True, angle, value, np.nan, np.nan))
        rows += [
            (f"{name}, random b2", False, angle, np.mean(values), min(values), max(values))
            for angle, values in at_angle.items()
        ]
    columns = ["group", "null", "angle", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(n=curve[0.0].base.shape[1])


def rate_table(found: Measurements) -> pd.DataFrame:
    """Share of answers that decline, per angle and class, on test prompts; `base` is unedited."""
    rows = []
    for angle, refused in found.refused.items():
        for name, declined, base in zip(CLASSES, refused, found.refused[None], strict=True):
            rate = stats.wilson(int(declined.sum()), len(declined))
            rows.append((angle, name, rate.value, rate.low, rate.high, rate.n, base.mean()))
    columns = ["angle", "group", "value", "low", "high", "n", "base"]
    return pd.DataFrame(rows[len(CLASSES) :], columns=columns)  # but for the unedited model


def matched_table(found: Measurements, seed: int) -> pd.DataFrame:
    """Effect of each family at matched KL on text, per target and in sum, on test prompts.

    Column text_kl is the KL that the mixture really has on the test text: less than the matched one
    where no chosen setting has as much. Of the sum it is the smaller of the targets'.
    """
    null = stats.null_interval(found.null_reach)
    rows = []
    for family in found.families:
        for target in (*TARGETS, "reach"):
            effect, kl = found.mixed[MATCHED, MATCHED_KL, family, target]
            i = stats.bootstrap_mean(effect, seed=seed)
            # The null is of the sum: a random plane's best angle for either target.
            limits = null if target == "reach" else (np.nan, np.nan)
            rows.append((family, target, i.value, i.low, i.high, *limits, kl, i.n))
    columns = ["family", "target", "value", "low", "high", "null_low", "null_high", "text_kl", "n"]
    return pd.DataFrame(rows, columns=columns)


def chosen_table(found: Measurements) -> pd.DataFrame:
    """The settings chosen per family, target and limit, their shares, and what they do on test."""
    rows = []
    for (limit, at, family, target), shares in found.choices.items():
        for (variant, dose), share in shares.items():
            m = found.test[variant, dose]
            does = m.effect(target).mean(), m.text_kl.mean(), m.kl.mean()
            rows.append((limit, at, family, target, str(variant), dose, share, *does))
    columns = [
        *("limit", "at", "family", "target", "variant", "dose", "share"),
        *("effect", "text_kl", "next_token_kl_harmless"),
    ]
    return pd.DataFrame(rows, columns=columns)


def magnitude_table(found: Measurements, seed: int) -> pd.DataFrame:
    """Absolute change of the score against the factor on the whole state, per angle (test).

    The null is random moves as long as the rescaling; rows at factor 1 are 0.
    """
    rows = []
    for (angle, factor), change in sorted(found.rescaled.items(), key=lambda item: item[0][1]):
        i = stats.bootstrap_mean(change, seed=seed)
        null = (0.0, 0.0) if factor == 1.0 else stats.null_interval(found.moves(factor))
        rows.append((f"{angle:g} degrees", factor, i.value, i.low, i.high, *null, i.n))
    columns = ["angle", "factor", "value", "low", "high", "null_low", "null_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def prompt_table(found: Measurements) -> pd.DataFrame:
    """Openings score of every test prompt (number, no text) under each chosen setting, in nats."""
    settings = {"base": found.base} | {f"{v}/{d:g}": m.openings for (v, d), m in found.test.items()}
    rows = [
        (f"{name}.{number}", name, setting, score)
        for setting, openings in settings.items()
        for name, scores in zip(CLASSES, openings, strict=True)
        for number, score in enumerate(scores)
    ]
    return pd.DataFrame(rows, columns=["prompt", "class", "setting", "openings"])
