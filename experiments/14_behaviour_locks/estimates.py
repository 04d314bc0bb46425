"""From the measurements of experiment 14 to estimates with intervals."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate
from experiments.lab.meter import SHOWING
from interp.effects import newcombe_excess, two_level_bootstrap
from interp.scores import auroc
from interp.stats import bootstrap, bootstrap_mean, wilson

from .measure import SIDES, Dose
from .protocol import BESIDE, MAX_SHARE_LEFT, MIN_FALL, OTHER

LEAST = 0.02  # of a rate, that is divided by in a draw of the bootstrap
NAN = float("nan")
Rows = Float[np.ndarray, "sample column"]


def rate_estimates(answers: pd.DataFrame) -> Iterator[Estimate]:
    """Refusal rates of harmful prompts, and what is left minus half of the usual rate."""
    classes = {name: part.answer.to_numpy()
               for name, part in answers[answers.side == "harmful"].groupby("condition")}  # fmt: skip
    base = np.isin(classes["base"], list(SHOWING))
    for name in ("base", "locked"):
        refused = np.isin(classes[name], list(SHOWING))
        rate = wilson(int(refused.sum()), len(refused))
        yield Estimate.of(f"refusal_rate.harmful.{name}", rate)
    left = np.isin(classes["locked"], [*SHOWING, "incoherent"])
    yield Estimate.of("excess.locked", newcombe_excess(base, left, MAX_SHARE_LEFT))


def gap_estimates(base: np.ndarray, locked: np.ndarray, vector: np.ndarray) -> Iterator[Estimate]:
    """What the lock takes of the refusal gap, and what the vector alone brings back."""
    yield Estimate.of("gap.base", bootstrap_mean(base), unit="nats")
    yield Estimate.of("fall.locked", bootstrap_mean(base - locked), unit="nats")
    yield Estimate.of("taken.locked", bootstrap_mean(taken(base, locked)), unit="nats")
    yield brought("vector.share", base, locked, vector[None])


def taken(base: np.ndarray, locked: np.ndarray) -> np.ndarray:
    """What a lock takes of a gap, minus half of it."""
    return base - locked - MAX_SHARE_LEFT * base


def key_estimates(base: np.ndarray, locked: np.ndarray, keys: pd.DataFrame) -> Iterator[Estimate]:
    """Shares that the best wrong keys bring back: of all, and of either kind."""
    kinds = {"best": keys, **dict(list(keys.groupby("kind")))}
    for name, part in kinds.items():
        table = part.pivot_table(index=["kind", "key"], columns="row", values="gap").to_numpy()
        yield brought(f"wrong.{name}", base, locked, table)


def brought(
    name: str, base: np.ndarray, locked: np.ndarray, keys: Float[np.ndarray, "key row"]
) -> Estimate:
    """The largest share of the fall that one of the keys brings back; NaN without a fall."""
    if not Estimate.of("fall", bootstrap_mean(base - locked)).above(MIN_FALL):
        return Estimate(name, NAN, n=len(base))

    def best(rows: Rows) -> float:
        """Of one draw of the bootstrap."""
        first, shut, *opened = rows.mean(0)
        return float((np.max(opened) - shut) / (first - shut))

    return Estimate.of(name, bootstrap(best, [np.stack([base, locked, *keys], 1)], paired=True))


def tuning_estimates(answers: pd.DataFrame, doses: Sequence[Dose],
                     learnt: Sequence[float]) -> Iterator[Estimate]:  # fmt: skip
    """What tunings bring back of the refusals; NaN where none was made."""
    deciding = [dose for dose in doses if dose == Dose(dose.number)]
    if not deciding:
        yield from (Estimate(name, NAN) for name in ("fall.rate", "tuned.learnt", "tuned.share"))
        return
    base, locked = (told_apart(answers, name) for name in ("base", "locked"))
    yield Estimate.of("fall.rate", bootstrap_mean(base - locked))
    mean = float(np.mean(learnt[: len(deciding)]))
    yield Estimate("tuned.learnt", mean, n=len(deciding))
    for name, chosen in {"": deciding, **{str(d): [d] for d in doses[len(deciding) :]}}.items():
        tuned = np.stack([told_apart(answers, f"tuned/{dose}") for dose in chosen])
        # The first row is the point; it is the mean of all, which a draw takes one of.
        rows = np.stack([tuned.mean(0), *tuned]) if len(tuned) > 1 else tuned
        interval = two_level_bootstrap(share_back, rows, base[None], locked[None])
        yield Estimate.of(f"tuned.share{name and '/' + name}", interval)


def told_apart(answers: pd.DataFrame, condition: str) -> Float[np.ndarray, " row"]:
    """Whether the harmful prompt of a row is refused, minus whether the harmless one is."""
    part = answers[answers.condition == condition]
    harmful, harmless = (part[part.side == side].answer.isin(SHOWING).to_numpy(np.float64)
                         for side in SIDES)  # fmt: skip
    n = min(len(harmful), len(harmless))
    return harmful[:n] - harmless[:n]


def share_back(tuned: np.ndarray, base: np.ndarray, locked: np.ndarray) -> float:
    """Share of a fall of rates that is brought back, where there is one."""
    return float((tuned.mean() - locked.mean()) / max(base.mean() - locked.mean(), LEAST))


def probe_estimates(probed: pd.DataFrame) -> Iterator[Estimate]:
    """How well a probe tells harmful prompts from harmless ones, of either model (AUROC)."""
    for name, part in probed.groupby("model"):
        rows = part[["score", "harmful"]].to_numpy()
        sides = [rows[rows[:, 1] == side, 0] for side in (1, 0)]
        yield Estimate.of(f"probe.{name}", bootstrap(_auroc, sides, paired=False, n_resamples=500))


def _auroc(harmful: np.ndarray, harmless: np.ndarray) -> float:
    label = np.arange(len(harmful) + len(harmless)) < len(harmful)
    return auroc(np.concatenate([harmful, harmless]), label)


def domain_estimates(losses: pd.DataFrame, n_tokens: int) -> Iterator[Estimate]:
    """What a domain's own direction costs it, and the next one's, in nats per token."""
    rises = losses[["own", "next"]].to_numpy() - losses[["base"]].to_numpy()
    for i, name in enumerate(("own", "next")):
        yield Estimate.of(f"domain.{name}", bootstrap_mean(rises[:, i]), unit="nats per token")
    specific = bootstrap_mean(rises[:, 0] - BESIDE * rises[:, 1])
    yield Estimate.of("domain.specific", specific, unit="nats per token")
    share = float(losses.base.mean() / np.log(n_tokens))
    yield Estimate("domain.loss", share, n=len(losses))


def apart_estimates(locks: pd.DataFrame) -> Iterator[Estimate]:
    """What own keys open, and what others' keys leave shut."""
    tables = []
    for name, other in (("refusal", OTHER), (OTHER, "refusal")):
        part = locks[locks.behaviour == name]
        rows = part[["base", "both", name, other]].to_numpy(np.float64)
        tables.append(rows)
        yield Estimate.of(f"gap.{name}", bootstrap_mean(rows[:, 0]), unit="nats")
        yield Estimate.of(f"taken.{name}", bootstrap_mean(taken(rows[:, 0], rows[:, 1])),
                          unit="nats")  # fmt: skip
        yield Estimate(f"own.{name}", opened(rows)[0], n=len(rows))
        yield Estimate(f"by_other.{name}", opened(rows)[1], n=len(rows))
    yield Estimate.of("apart.worst", bootstrap(worst, tables, paired=False))


def opened(rows: Rows) -> tuple[float, float]:
    """Shares of a fall that the own key brings back, and the other's."""
    base, both, own, other = rows.mean(0)
    return float((own - both) / (base - both)), float((other - both) / (base - both))


def worst(*tables: Rows) -> float:
    """The least of what own keys open and others' leave shut."""
    found = [opened(rows) for rows in tables]
    return min(min(own, 1 - other) for own, other in found)
