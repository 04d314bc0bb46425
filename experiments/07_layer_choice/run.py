"""The method of 07_layer_choice; protocol.py has the question and the criteria."""

from collections.abc import Mapping, Sequence

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result

from . import estimates, measure, tables
from .measure import CHANCE, STEERING, Layers
from .picks import names
from .protocol import MIN_BEHAVIOURS, Config


def run(config: Config, lab: Lab) -> Result:
    """Measure every layer for every behaviour, and hold what statistics pick against the best."""
    lab.require_refusal("has its behaviours as a setting")
    measured = []
    for name in config.behaviours:
        measured.append(measure.layers_of(config, lab.on(lab.behaviour(name))))
    rng = lab.rng("07.bootstrap")
    found = estimates.all_estimates(measured, names(), config.n_resamples, rng)
    named = {one.name: one for one in found}
    return Result(tuple(found), tables.tables(measured, found), observation(named, measured))


def observation(e: Mapping[str, Estimate], measured: Sequence[Layers]) -> str:
    """One paragraph that quotes the numbers."""
    reasons = {one.name: why_not(one) for one in measured}
    steered = [name for name, why in reasons.items() if not why]
    left_out = [f"{name} ({why})" for name, why in reasons.items() if why]
    few = f", fewer than {MIN_BEHAVIOURS}" if len(steered) < MIN_BEHAVIOURS else ""
    return (
        f"Steered behaviours{few}: {', '.join(steered) or 'none'}; left out: "
        f"{', '.join(left_out) or 'none'}. Of the best layer's effect the notes' ordering has "
        f"{e['steered.raw.share']} where it is raw, {e['steered.over_norm.share']} with variances "
        f"over the squared norm, the lowest cosine {e['steered.cosine.share']}; a random layer "
        f"{e['steered.random.share']}, .6 of the depth {e['steered.depth.0.6.share']}. The raw "
        f"ordering picks the first candidate for {e['raw.first'].value:.0%} of the behaviours: "
        f"the squared norm varies by {e['norm.growth']} over candidates. Of the best layer's "
        f"accuracy above chance the ordering over the norm has {e['classified.over_norm.share']}, "
        f"a random layer {e['classified.random.share']}."
    )


def why_not(one: Layers) -> str:
    """The gate that a behaviour fails, in words; empty where it fails none."""
    if one.validity.low <= CHANCE:
        return "its score does not tell test prompts apart"
    if not any(one.counted[edit].any() for edit in STEERING):
        return "every candidate damages text"
    return "" if estimates.steered(one) else "no direction beats random ones"
