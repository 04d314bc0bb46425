"""The method of 10_many_behaviours; protocol.py has the question and the criteria."""

from collections.abc import Sequence

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp.largest import largest
from interp.stats import Interval

from . import estimates, measure, tables
from .estimates import Gate, Pairs
from .measure import COMMON, CONTROL, SHARES, WHENCE
from .protocol import OTHERS, VARIED, Config


def run(config: Config, lab: Lab) -> Result:
    """Which behaviours count; their cosines, effects on each other, and directions of one."""
    lab.require_refusal("has a list of behaviours, fixed beforehand")
    gates = [
        estimates.gated(one)
        for one in lab.progress(measure.subjects(lab, config), "own and random directions")
    ]
    counting = {gate.subject.name: gate.subject for gate in gates if not gate.left_out}
    controls = [measure.control_of(counting[VARIED])] if VARIED in counting else []
    pushes = pushed(lab, gates, [*counting.values()], controls)
    every = [*(gate.subject for gate in gates if gate.reliable), *controls]
    names = [one.name for one in every]
    cosines = {where: estimates.cosines(every, where) for where in (SHARES if every else ())}
    alike = {at: estimates.pairs_of(x, names, [*counting]) for at, x in cosines.items()}
    idle = {gate.subject.name: gate.limit for gate in gates
            if gate.left_out and gate.pushes is not None}  # fmt: skip
    leaks = estimates.leaks(pushes, [*counting], idle)
    control = estimates.leak(pushes, VARIED, CONTROL) if controls else None
    row = names.index(VARIED) if controls else 0
    same = estimates.halved(cosines[COMMON][:, row, -1]) if controls else None
    varied = measure.vary(counting[VARIED]) if controls else pushes[:0].reindex(
        columns=[*pushes.columns, *WHENCE])  # fmt: skip
    share, spread = estimates.explained(varied) if controls else (None, float("nan"))
    found = [
        Estimate("behaviours", len(counting), n=len(gates)),
        *pair_estimates("alike", alike.get(COMMON, {})), named("alike.control", same),
        *(pair_estimates("alike", alike.get(at, {}), f".{at}")[0] for at in OTHERS),
        *pair_estimates("leak", leaks), named("leak.control", control), named("share", share),
        Estimate("spread", spread, n=share.n if share else 0),
        *(one for gate in gates for one in gate.estimates),
        *(Estimate(f"counts.{gate.subject.name}", float(not gate.left_out)) for gate in gates),
    ]  # fmt: skip
    drawn = {
        "behaviours": tables.behaviours(gates),
        "prompts": pd.concat([pushes, varied] if len(varied) else [pushes]),
    }
    drawn |= {"cosines": tables.cosines(cosines, names)} if every else {}
    drawn |= {"effects": tables.effects(gates, leaks, control)} if leaks else {}
    drawn |= {"variants": tables.variants(varied)} if len(varied) else {}
    for one in counting.values():
        lab.save_direction(one.name, one.source.direction)
    return Result(tuple(found), drawn, observation(gates, alike.get(COMMON, {}), leaks, found))


def pushed(
    lab: Lab,
    gates: Sequence[Gate],
    counting: Sequence[measure.Subject],
    controls: Sequence[measure.Subject],
) -> pd.DataFrame:
    """What own, random and all other directions do to every score that is moved at all."""
    parts = [gate.pushes for gate in gates if gate.pushes is not None]
    for one in lab.progress([g.subject for g in gates if g.pushes is not None], "others"):
        others = [*counting, *(controls if one.name == VARIED else ())]
        directions = [each for other in others if other is not one for each in other.directions]
        parts += [one.pushed(directions)] if directions else []
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=measure.PUSHES)


def named(name: str, interval: Interval | None) -> Estimate:
    """An estimate; NaN where nothing was measured."""
    return Estimate.of(name, interval) if interval else Estimate(name, float("nan"))


def pair_estimates(name: str, pairs: Pairs, at: str = "") -> list[Estimate]:
    """The largest and the mean of the pairs; NaN where there is none."""
    most = largest([*pairs.values()]) if pairs else None
    mean = sum(abs(x.value) for x in pairs.values()) / len(pairs) if pairs else float("nan")
    return [named(f"{name}.largest{at}", most), Estimate(f"{name}.mean{at}", mean, n=len(pairs))]


def observation(
    gates: Sequence[Gate], alike: Pairs, leaks: Pairs, found: Sequence[Estimate]
) -> str:
    """One paragraph that quotes the numbers, and names who was left out and why."""
    e = {one.name: one for one in found}
    out = {gate.subject.name: gate.left_out for gate in gates if gate.left_out}
    words = [f"{number(e['behaviours'].value)} of {len(gates)} behaviours count"]
    words += (
        [f"left out: {', '.join(f'{name} ({why})' for name, why in out.items())}"] if out else []
    )
    text = "; ".join(words) + "."
    if alike:
        (one, other), (by, score) = (max(pairs, key=lambda pair, of=pairs: abs(of[pair].value))
                                     for pairs in (alike, leaks))  # fmt: skip
        elsewhere = ", ".join(number(e[f"alike.largest.{at}"].value) for at in OTHERS)
        text += (
            f" Most alike are the directions of {one} and {other}, with a cosine of "
            f"{e['alike.largest']} (mean of the pairs {number(e['alike.mean'].value)}; the largest "
            f"at a third and at half of the depth {elsewhere}). The strongest other direction is "
            f"that of {by} on the score of {score}: {e['leak.largest']} of what the own one does"
            f"{' (or random ones, if more)' if score in out else ''}; mean of the pairs "
            f"{number(e['leak.mean'].value)}."
        )
    if VARIED not in out:
        text += (
            f" {VARIED.capitalize()} in another format has a cosine of {e['alike.control']} and "
            f"{e['leak.control']} of the effect. Over {e['spread'].n} other directions from its "
            f"prompts the cosine explains {e['share']} of the variance of what they do."
        )
    return text
