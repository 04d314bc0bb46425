"""The method of 10_many_behaviours; protocol.py has the question and the criteria."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result

from . import estimates, measure, tables
from .estimates import Cosines, Pairs, named
from .measure import COMMON, CONTROL, Subject
from .protocol import BEHAVIOURS, CHANCE, MIN_OWN, OTHERS, SAME, TIMES, VARIED, Config


@dataclass
class Gate:
    """Which behaviours count, and why the others do not."""

    subjects: list[Subject]
    pushes: list[pd.DataFrame] = field(default_factory=list)
    reliability: dict[str, Estimate] = field(default_factory=dict)
    own: dict[str, Estimate] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # by name, why

    @property
    def counting(self) -> list[Subject]:
        """Behaviours that count."""
        return [one for one in self.subjects if one.name not in self.left_out]

    @property
    def idle(self) -> list[Subject]:
        """Behaviours that fail by what their own direction does alone."""
        return [one for one in self.subjects if one.name in self.left_out and one.name in self.own]


def run(config: Config, lab: Lab) -> Result:
    """Which behaviours count; cosines, effects on each other, and directions of one of them."""
    gate = gated(lab, config)
    counting = {one.name: one for one in gate.counting}
    control = [measure.control_of(counting[VARIED])] if VARIED in counting else []
    for one in lab.progress([*gate.counting, *gate.idle], "directions of other behaviours"):
        others = [*gate.counting, *(control if one.name == VARIED else [])]
        gate.pushes += [measure.other_pushes(one, others)] if others != [one] else []
    pushes = pd.concat(gate.pushes, ignore_index=True) if gate.pushes else tables.NO_PUSHES
    leaks = estimates.leaks(pushes, list(counting), [one.name for one in gate.idle])
    cosines = cosines_of(lab, gate.counting, control, config.n_halves)
    alike = {where: found.pairs(list(counting)) for where, found in cosines.items()}
    varied = measure.vary(counting[VARIED]) if control else tables.NO_VARIANTS
    same = estimates.leak(pushes, VARIED, CONTROL) if control else None
    found = [*gate_estimates(gate), *pair_estimates("alike", alike.get(COMMON, {}))]
    found += [*pair_estimates("leak", leaks), *line_estimates(varied)]
    found += [named(f"alike.largest.{where}", estimates.largest(list(pairs.values())))
              for where, pairs in alike.items() if where != COMMON and pairs]  # fmt: skip
    found += [
        named("alike.control", cosines[COMMON].pair(VARIED, CONTROL) if control else None),
        named("leak.control", same),
    ]
    drawn = {
        "behaviours": tables.behaviours(gate.subjects, gate.own, gate.reliability, gate.left_out),
        "cosines": tables.cosines(cosines),
        "effects": tables.effects(pushes, list(counting), leaks, same),
        "variants": tables.variants(varied), "prompts": tables.prompts(pushes, varied),
    }  # fmt: skip
    for one in gate.counting:
        lab.save_direction(one.name, one.source.direction)
    return Result(tuple(found), drawn, observation(gate, alike.get(COMMON, {}), leaks, found))


def gated(lab: Lab, config: Config) -> Gate:
    """Validity, then reliability, then the effect of the own direction; each where those before."""
    gate = Gate(measure.subjects(lab, config))
    valid = [one for one in gate.subjects if one.validity.low > CHANCE]
    found = estimates.cosines(lab, valid, COMMON, config.n_halves) if valid else None
    for one in lab.progress(gate.subjects, "own and random directions"):
        if found is None or one not in valid:
            gate.left_out[one.name] = "its score is at chance"
            continue
        gate.reliability[one.name] = named(f"reliability.{one.name}", found.own(one.name))
        if not gate.reliability[one.name].above(SAME):
            gate.left_out[one.name] = "its direction depends on the prompts"
            continue
        gate.pushes.append(measure.own_pushes(one))
        gate.own[one.name] = own = estimates.own_effect(gate.pushes[-1], one.name)
        gate.limits[one.name] = limit = estimates.random_limit(gate.pushes[-1], one.name)
        if not own.above(max(MIN_OWN, TIMES * limit)):
            gate.left_out[one.name] = "its direction moves it too little"
    return gate


def cosines_of(
    lab: Lab, counting: Sequence[Subject], control: Sequence[Subject], n_halves: int
) -> dict[str, Cosines]:
    """At the common site, there without the largest dimensions, and at other sites."""
    if not counting:
        return {}
    every, n = [*counting, *control], estimates.N_LARGEST
    found = {where: estimates.cosines(lab, every, where, n_halves) for where in (COMMON, *OTHERS)}
    return found | {"without": estimates.cosines(lab, every, COMMON, n_halves, without=n)}


def gate_estimates(gate: Gate) -> list[Estimate]:
    """Of every behaviour; NaN where something was not measured."""
    found = [Estimate("behaviours", len(gate.counting), n=len(gate.subjects))]
    for one in gate.subjects:
        found += [
            named(f"validity.{one.name}", one.validity),
            gate.reliability.get(one.name, named(f"reliability.{one.name}", None)),
            gate.own.get(one.name, named(f"own.{one.name}", None)),
            Estimate(f"random.{one.name}", gate.limits.get(one.name, float("nan")), unit="nats"),
            Estimate(f"counts.{one.name}", float(one.name not in gate.left_out)),
        ]
    return found


def pair_estimates(name: str, pairs: Pairs) -> list[Estimate]:
    """The largest and the mean of the pairs."""
    if not pairs:
        return [named(f"{name}.{of}", None) for of in ("largest", "mean")]
    mean = sum(abs(one.value) for one in pairs.values()) / len(pairs)
    largest = estimates.largest(list(pairs.values()))
    return [named(f"{name}.largest", largest), Estimate(f"{name}.mean", mean, n=len(pairs))]


def line_estimates(varied: pd.DataFrame) -> list[Estimate]:
    """How effects of one behaviour's directions follow the cosine."""
    if not len(varied):
        return [named("share", None), named("spread", None)]
    share, spread = estimates.explained(varied)
    return [named("share", share), Estimate("spread", spread, n=share.n)]


def observation(gate: Gate, alike: Pairs, leaks: Pairs, found: Sequence[Estimate]) -> str:
    """One paragraph that quotes the numbers, and names who was left out and why."""
    e: Mapping[str, Estimate] = {one.name: one for one in found}
    out = "; ".join(f"{name} ({why})" for name, why in gate.left_out.items())
    opening = f"{len(gate.counting)} of {len(BEHAVIOURS)} behaviours count"
    parts = [f"{opening}; left out: {out}." if out else f"{opening}."]
    if alike and leaks:
        most, strongest = (max(pairs, key=lambda pair, of=pairs: abs(of[pair].value))
                           for pairs in (alike, leaks))  # fmt: skip
        own = "" if strongest[1] not in gate.left_out else " (in units of what random ones do)"
        elsewhere = ", ".join(
            f"{number(e[f'alike.largest.{where}'].value)} {words}"
            for where, words in (("third", "at a third of the depth"), ("half", "at half of it"),
                                 ("without", "without the three largest dimensions"))
        )  # fmt: skip
        parts.append(
            f"Most alike are the directions of {' and '.join(most)}, with a cosine of "
            f"{e['alike.largest']} (mean of the pairs {number(e['alike.mean'].value)}; the largest "
            f"is {elsewhere}). Of all scores that of {strongest[1]} is moved most by another "
            f"direction, that of {strongest[0]}: {e['leak.largest']} of its own effect{own}; mean "
            f"{number(e['leak.mean'].value)}."
        )
    if VARIED not in gate.left_out:
        parts.append(
            f"{VARIED.capitalize()} in another format is as much as {e['alike.control']} alike, "
            f"and does {e['leak.control']} of the effect. Over {e['spread'].n} other directions of "
            f"it the cosine explains {e['share']} of the variance of what they do."
        )
    return " ".join(parts)
