"""Tables of the comparison of rotation and scaling; a figure has the name of its table."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp import stats

from .measure import FULLY_RANDOM, Measurements, null_reach, true_curve
from .reach import TARGETS, Target, families, matched_effect, matched_kl


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
    settings = [(str(v), dose, False, m) for (v, dose), m in found.sweep.items()]
    settings += [
        (f"{family} plane {number}", angle, True, m)
        for (family, number), turned in found.planes.items()
        for angle, m in turned.items()
        if family in FULLY_RANDOM
    ]
    measured = [m for *_, m in settings]
    effects = np.stack([m.effect(found.base_validation, target) for m in measured])
    mean, low, high = mean_intervals(effects, seed)
    columns = ["variant", "dose", "null"]
    return pd.DataFrame([row[:3] for row in settings], columns=columns).assign(
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
    rows = [*true_plane_rows(found, seed), *random_plane_rows(found)]
    return pd.DataFrame(rows, columns=["group", "null", "angle", "value", "low", "high", "n"])


AngleRow = tuple[str, bool, float, float, float, float, int]


def halves(found: Measurements) -> dict[str, slice]:
    """Where each class stands among the scores of both."""
    n = len(found.base_validation.harmful)
    return {"harmful": slice(0, n), "harmless": slice(n, None)}


def true_plane_rows(found: Measurements, seed: int) -> Iterator[AngleRow]:
    """The true plane's curve per class, with bootstrap intervals."""
    angles, changes = true_curve(found)
    for name, half in halves(found).items():
        intervals = mean_intervals(changes[half].T, seed)
        for angle, value, low, high in zip(angles.tolist(), *intervals, strict=True):
            yield name, False, angle, float(value), float(low), float(high), len(changes[half])


def random_plane_rows(found: Measurements) -> Iterator[AngleRow]:
    """Random planes' curves per class: each fully random one, and the mean of the random b2."""
    base = found.base_validation.scores
    for name, half in halves(found).items():
        n = len(base[half])
        at_angle: dict[float, list[float]] = {}
        for (family, number), turned in found.planes.items():
            for angle, measured in turned.items():
                value = float((measured.scores - base)[half].mean())
                if family == "random_b2":
                    at_angle.setdefault(angle, []).append(value)
                else:
                    label = f"{name}, {family} {number}"
                    yield label, True, angle, value, np.nan, np.nan, n
        for angle, values in at_angle.items():
            middle = float(np.mean(values))
            yield f"{name}, random b2", False, angle, middle, min(values), max(values), n


def matched_table(found: Measurements, text_kl: float, seed: int) -> pd.DataFrame:
    """Effect of each family at matched KL on text, per target and in sum, on test prompts.

    Column text_kl is the KL that the mixture really has on the test text: less than the matched one
    where no chosen setting has as much. Of the sum it is the smaller of the targets'.
    """
    null = stats.null_interval(null_reach(found.planes, found.base_validation))
    rows = []
    for family in families(found.matched):
        parts = {
            target: matched_effect(
                found.matched, found.test, found.base_test, family, target, text_kl
            )
            for target in TARGETS
        }
        damage = matched_kl(found.matched, found.test, family, text_kl)
        damage["reach"] = min(damage.values())
        for target, values in (parts | {"reach": sum(parts.values())}).items():
            interval = stats.bootstrap_mean(np.asarray(values), seed=seed)
            # The null is of the sum: a random plane's best angle for either target.
            low, high = null if target == "reach" else (np.nan, np.nan)
            rows.append(
                (family, target, interval.value, interval.low, interval.high, low, high,
                 damage[target], interval.n)
            )  # fmt: skip
    columns = ["family", "target", "value", "low", "high", "null_low", "null_high", "text_kl", "n"]
    return pd.DataFrame(rows, columns=columns)


def chosen_table(found: Measurements) -> pd.DataFrame:
    """The settings chosen per family, target and limit, their shares, and what they do on test."""
    rows = []
    limits = (("cap", found.chosen), ("KL on text", found.matched))
    for limit, choices in limits:
        for (family, target, at), shares in choices.items():
            for (variant, dose), share in shares:
                measured = found.test[variant, dose]
                effect = measured.effect(found.base_test, target).mean()
                text_kl, kl = measured.text_kl.mean(), measured.kl.mean()
                rows.append(
                    (limit, at, family, target, str(variant), dose, share, effect, text_kl, kl)
                )
    columns = [
        *("limit", "at", "family", "target", "variant", "dose", "share"),
        *("effect", "text_kl", "next_token_kl_harmless"),
    ]
    return pd.DataFrame(rows, columns=columns)


def magnitude_table(found: Measurements, seed: int) -> pd.DataFrame:
    """Absolute change of the score against the factor on the whole state, per angle (test).

    The null is random moves as long as the rescaling; `angle` rows at factor 1 are 0.
    """
    turned = {k: m.scores for k, m in found.magnitude.items() if not k[0].startswith("random")}
    base = found.base_test.scores
    rows = []
    for (angle, factor), scores in sorted(turned.items(), key=lambda item: item[0][1]):
        interval = stats.bootstrap_mean(abs(scores - turned[angle, 1.0]), seed=seed)
        moves = [
            float(abs(m.scores - base).mean())
            for (name, f), m in found.magnitude.items()
            if name.startswith("random") and f == factor
        ]
        low, high = stats.null_interval(np.array(moves)) if moves else (0.0, 0.0)
        rows.append(
            (f"{angle} degrees", factor, interval.value, interval.low, interval.high, low, high,
             interval.n)
        )  # fmt: skip
    columns = ["angle", "factor", "value", "low", "high", "null_low", "null_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def prompt_table(found: Measurements) -> pd.DataFrame:
    """Openings score of every test prompt (number, no text) under each chosen setting, in nats."""
    settings = {"base": found.base_test} | {f"{v}/{d:g}": m for (v, d), m in found.test.items()}
    rows = [
        {"prompt": f"{name}.{number}", "class": name, "setting": setting, "openings": score}
        for setting, measured in settings.items()
        for name, scores in (("harmful", measured.harmful), ("harmless", measured.harmless))
        for number, score in enumerate(scores)
    ]
    return pd.DataFrame(rows)


def tables(found: Measurements, text_kl: float, seed: int) -> dict[str, pd.DataFrame]:
    """Every table of the result; `text_kl` is the damage at which families are compared."""
    return {
        "angle_curve": angle_table(found, seed),
        "dose_bypass": dose_table(found, "bypass", seed),
        "dose_induce": dose_table(found, "induce", seed),
        "matched": matched_table(found, text_kl, seed),
        "magnitude": magnitude_table(found, seed),
        "chosen": chosen_table(found),
        "per_prompt": prompt_table(found),
    }
