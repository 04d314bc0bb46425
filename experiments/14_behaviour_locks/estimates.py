"""From the measurements of experiment 14 to estimates with intervals."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.lessons import Lesson
from experiments.lab.meter import SHOWING
from interp.effects import newcombe_excess, two_level_bootstrap
from interp.scores import auroc
from interp.stats import bootstrap, bootstrap_mean, wilson

from .measure import SIDES
from .protocol import BESIDE, MAX_SHARE_LEFT, MIN_FALL, MIN_RATE, N_STEPS, N_TAUGHT, OTHER

NAN = float("nan")
DRAWS = 1000  # of the bootstrap over many columns
Rows = Float[np.ndarray, "sample column"]
Values = Float[np.ndarray, " sample"]


def rate_estimates(answers: pd.DataFrame) -> Iterator[Estimate]:
    """Refusal rates of harmful prompts, and what is left minus half of the usual rate."""
    table = answers[answers.side == SIDES[0]]
    base, locked = (table.answer[table.condition == name] for name in ("base", "locked"))
    for name, classes in (("base", base), ("locked", locked)):
        refused = classes.isin(SHOWING)
        rate = wilson(int(refused.sum()), len(refused))
        yield Estimate.of(f"refusal_rate.harmful.{name}", rate)
    left = locked.isin([*SHOWING, "incoherent"]).to_numpy(bool)
    excess = newcombe_excess(base.isin(SHOWING).to_numpy(bool), left, MAX_SHARE_LEFT)
    yield Estimate.of("excess.locked", excess)


def gap_estimates(gaps: pd.DataFrame) -> Iterator[Estimate]:
    """What the lock takes of the refusal gap, and what its vector alone brings back."""
    base, locked, vector = gaps[["base", "locked", "vector"]].to_numpy(np.float64).T
    yield Estimate.of("fall.locked", bootstrap_mean(base - locked), unit="nats")
    yield Estimate.of("taken.locked", bootstrap_mean(taken(base, locked)), unit="nats")
    yield brought("vector.share", base, locked, vector[None])


def taken(base: Values, locked: Values) -> Values:
    """What a lock takes of a gap, minus half of it."""
    return base - locked - MAX_SHARE_LEFT * base


def key_estimates(gaps: pd.DataFrame, keys: pd.DataFrame) -> Iterator[Estimate]:
    """Shares that the best wrong keys bring back: of all, and of either kind."""
    base, locked = gaps[["base", "locked"]].to_numpy(np.float64).T
    for name, part in {"best": keys, **{str(kind): p for kind, p in keys.groupby("kind")}}.items():
        table = part.pivot_table(index=["kind", "key"], columns="row", values="gap").to_numpy()
        yield brought(f"wrong.{name}", base, locked, table)


def brought(
    name: str, base: Values, locked: Values, keys: Float[np.ndarray, "key sample"]
) -> Estimate:
    """The largest share of the fall that one of the keys brings back; NaN without a fall."""
    if not Estimate.of("fall", bootstrap_mean(base - locked)).above(MIN_FALL):
        return Estimate(name, NAN, n=len(base))

    def best(rows: Rows) -> float:
        """Of one draw of the bootstrap."""
        first, shut, *opened = rows.mean(0)
        return float((np.max(opened) - shut) / (first - shut))

    columns = [np.stack([base, locked, *keys], 1)]
    return Estimate.of(name, bootstrap(best, columns, paired=True, n_resamples=DRAWS))


def tuning_estimates(answers: pd.DataFrame, plan: Sequence[Lesson]) -> Iterator[Estimate]:
    """What tunings bring back of the refusals; NaN where none was made, or nothing was taken."""
    if not plan:
        yield from (Estimate(name, NAN) for name in ("fall.rate", "tuned.learnt", "tuned.share"))
        return
    base, locked = (told_apart(answers, name)[None] for name in ("base", "locked"))
    fall = Estimate.of("fall.rate", bootstrap_mean((base - locked)[0]))
    deciding = [str(one) for one in plan if (one.n_taught, one.n_steps) == (N_TAUGHT, N_STEPS)]
    learnt = answers[answers.condition.isin(deciding)].groupby("condition").learnt.mean().min()
    yield from (fall, Estimate("tuned.learnt", float(learnt), n=len(deciding)))
    others = {str(one).replace("tuned", "tuned.share"): [str(one)] for one in plan}
    for name, chosen in {"tuned.share": deciding, **others}.items():
        draws = np.stack([told_apart(answers, one) for one in chosen])
        # The first row is the value: the mean over tunings. Draws of it are no more than it.
        rows = np.stack([draws.mean(0), *draws]) if len(draws) > 1 else draws
        found = fall.above(MIN_RATE)
        yield (Estimate.of(name, two_level_bootstrap(share_back, rows, base, locked))
               if found else Estimate(name, NAN))  # fmt: skip


def told_apart(answers: pd.DataFrame, condition: str) -> Float[np.ndarray, " row"]:
    """Whether the harmful prompt of a row is refused, minus whether the harmless one is."""
    part = answers[answers.condition == condition]
    harmful, harmless = (part.answer[part.side == side].isin(SHOWING).to_numpy(np.float64)
                         for side in SIDES)  # fmt: skip
    n = min(len(harmful), len(harmless))
    return harmful[:n] - harmless[:n]


def share_back(tuned: Values, base: Rows, locked: Rows) -> float:
    """Share of a fall of rates that is brought back."""
    return float((tuned.mean() - locked.mean()) / max(base.mean() - locked.mean(), MIN_RATE / 2))


def probe_estimates(probed: pd.DataFrame) -> Iterator[Estimate]:
    """How well a probe tells harmful prompts from harmless ones, of either model (AUROC)."""
    for name, part in probed.groupby("model"):
        sides = [np.asarray(part.score[part.harmful == side], np.float64) for side in (1, 0)]
        yield Estimate.of(f"probe.{name}", bootstrap(_auroc, sides, paired=False, n_resamples=500))


def _auroc(harmful: Values, harmless: Values) -> float:
    label = np.arange(len(harmful) + len(harmless)) < len(harmful)
    return auroc(np.concatenate([harmful, harmless]), label)


def domain_estimates(losses: pd.DataFrame, n_tokens: int) -> Iterator[Estimate]:
    """What a domain's own direction costs it, and the next one's, in nats per token."""
    base, own, after = losses[["base", "own", "next"]].to_numpy(np.float64).T
    own, after = own - base, after - base
    for name, rises in {"specific": own - BESIDE * after, "own": own, "next": after}.items():
        yield Estimate.of(f"domain.{name}", bootstrap_mean(rises), unit="nats per token")
    share = float(base.mean() / np.log(n_tokens))
    yield Estimate("domain.loss", share, n=len(losses))


def apart_estimates(locks: pd.DataFrame) -> Iterator[Estimate]:
    """What own keys open, and what others' keys leave shut."""
    tables = []
    for name, other in (("refusal", OTHER), (OTHER, "refusal")):
        part = locks[locks.behaviour == name]
        rows = part[["base", "both", name, other]].to_numpy(np.float64)
        both = bootstrap_mean(taken(rows[:, 0], rows[:, 1]))
        yield Estimate.of(f"gap.{name}", bootstrap_mean(rows[:, 0]), unit="nats")
        yield Estimate.of(f"taken.{name}", both, unit="nats")
        for key, share in zip(("own", "other"), opened(rows), strict=True):
            yield Estimate(f"{key}_key.{name}", share, n=len(rows))
        tables.append(rows)
    yield Estimate.of("apart.worst", bootstrap(worst, tables, paired=False))


def opened(rows: Rows) -> tuple[float, float]:
    """Shares of a fall that the own key brings back, and the other's."""
    base, both, own, other = rows.mean(0)
    return float((own - both) / (base - both)), float((other - both) / (base - both))


def worst(*tables: Rows) -> float:
    """The least of what own keys open and others' leave shut."""
    found = [opened(rows) for rows in tables]
    return min(min(own, 1 - other) for own, other in found)
