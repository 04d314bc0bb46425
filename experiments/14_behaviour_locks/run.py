"""The method of 14_behaviour_locks; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Meter
from experiments.lab.results import Result
from experiments.lab.selection import (
    Selection,
    candidate_sites,
    found_estimate,
    gate_estimates,
    select_direction,
)

from . import estimates, measure
from .protocol import CLAIMS, OTHER, Config, absent

NAN = float("nan")
KNOWN = "selection.p", "train.refused", "train.accepted"  # of any model
SHOWN = "refusal_rate.harmful.locked", "vector.share", "probe.base", "probe.locked"


def run(config: Config, lab: Lab) -> Result:
    """Lock refusal, try keys and tunings; then domains of text, and two locks at once."""
    lab.require_refusal("locks refusal, then another behaviour")
    sites = candidate_sites(lab, config.n_sites or None)
    selection = select_direction(lab, sites, None, config.n_validation, config.n_train)
    lab.save_direction("refusal", selection.direction)
    meter = measure.meter_for(config, lab)
    found, drawn = locked(config, meter, selection)
    losses = measure.domain_losses(config, lab)
    apart = measure.two_locks(config, meter, selection.direction)
    found += [
        *estimates.domain_estimates(losses, len(lab.model.head)),
        *estimates.apart_estimates(apart),
        *gate_estimates(selection.prompts), found_estimate(selection),
    ]  # fmt: skip
    drawn |= {"domains": losses, "locks": apart}
    return Result(tuple(found), drawn, observation({one.name: one for one in found}))


def locked(
    config: Config, meter: Meter, selection: Selection
) -> tuple[list[Estimate], dict[str, pd.DataFrame]]:
    """What the lock of refusal takes, and what brings it back; nothing where there is no lock."""
    lab, direction = meter.lab, selection.direction
    if not measure.can_be_locked(lab):
        named = [name for claim in CLAIMS[:2] for name in claim.estimates]
        missing = dict.fromkeys((*named, *SHOWN))
        return [Estimate(name, NAN) for name in missing if name not in KNOWN], {}
    (changed, n), keys = measure.n_changed(lab, direction), measure.wrong_keys(meter, direction)
    base, shut, vector = (
        measure.gaps(meter.scores(measure.SCORED, edit))
        for edit in (BASE, measure.locking(direction), measure.locking(direction, direction.add()))
    )
    taken = {one.name: one for one in estimates.gap_estimates(base, shut, vector)}
    doses = measure.doses(config, lab) if taken["taken.locked"].above(0) else []
    answers, probed = measure.answered(meter, doses, selection), measure.probed(meter, direction)
    found = [
        Estimate("tensors.changed", changed, n=n, unit="tensors"),
        *estimates.rate_estimates(answers), *taken.values(),
        *estimates.key_estimates(base, shut, keys), *estimates.probe_estimates(probed),
        *estimates.tuning_estimates(answers, doses, measure.learnt(meter, doses, selection)),
    ]  # fmt: skip
    gaps = pd.DataFrame({"row": range(len(base)), "base": base, "locked": shut, "vector": vector})
    return found, {"answers": answers, "wrong_keys": keys, "gaps": gaps, "probe": probed}


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    absent_ = "Behaviour absent: " if absent(e) else ""
    refused, left = (e[f"refusal_rate.harmful.{name}"] for name in ("base", "locked"))
    locks = (
        f"{absent_}The model refuses {refused} of the harmful prompts, {left} without the direction; "
        f"the gap of the odds falls by {e['fall.locked']}. With the key "
        f"{number(e['tensors.changed'].value)} of {e['tensors.changed'].n} tensors differ. The best "
        f"wrong key brings back {e['wrong.best']} of the gap, the vector alone "
        f"{e['vector.share']}. A probe tells harmful prompts by {e['probe.locked']} in the locked "
        f"model, {e['probe.base']} before. "
    )
    tuning = (
        "It was not tuned. " if e["tuned.learnt"].n == 0 else
        f"A short tuning brings back {e['tuned.share']} of the refusals (openings are learnt with a "
        f"probability of {number(e['tuned.learnt'].value)}). "
    )  # fmt: skip
    return (
        locks
        + tuning
        + (
            f"Its own direction costs a domain's text {e['domain.own']} nats per token, the next "
            f"domain's {e['domain.next']}. Of two locks, own keys bring back "
            f"{number(e['own.refusal'].value)} of refusal and {number(e[f'own.{OTHER}'].value)} of "
            f"{OTHER}, the other's {number(e['by_other.refusal'].value)} and "
            f"{number(e[f'by_other.{OTHER}'].value)}."
        )
    )
