"""The method of 13_vectors_vs_prompts; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import numpy as np

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp.stats import bootstrap_mean

from . import match, measure, tables
from .estimates import all_estimates
from .protocol import Config, is_matched, undoes


def run(config: Config, lab: Lab) -> Result:
    """Match vectors to sentences on validation prompts, undo both on test questions."""
    meter = measure.meter_for(lab, config)
    matches, matched, curves = match.matches(meter, measure.halves_of(lab, config), config)
    lab.save_direction("refusal", matches[0].halves.vector.direction)
    scores = measure.tested(meter, matches, [*measure.between(lab, config)])
    damage = np.concatenate([meter.text(one.edit(True, False))["kl"] for one in matches])
    found = {e.name: e for e in all_estimates(scores, matched)}
    found["kl.text"] = Estimate.of("kl.text", bootstrap_mean(damage), unit="nats per token")
    drawn = {
        "match": tables.match_table(matched, curves), "left": tables.left_table(found),
        "filler": tables.filler_table(found), "scores": scores, "matches": matched,
    }  # fmt: skip
    return Result(tuple(found.values()), drawn, observation(found, matches))


def observation(e: Mapping[str, Estimate], matches: list[match.Match]) -> str:
    """One paragraph that quotes the numbers."""
    opening = (
        f"{e['matched'].value:g} of {e['matched'].n} steering sentences are matched by a vector"
    )
    if not is_matched(e):
        opening = f"No match, or nothing to undo; shown is the closest. {opening}"
    elif not undoes(e):
        opening = f"An undoer leaves nearly all or nearly nothing. {opening}"
    return (
        f"{opening}. On {e['lead'].n} harmless questions the sentence raises the refusal odds by "
        f"{e['rise.prompt']}, the vector by {e['rise.vector']} (KL of the next token "
        f"{e['match.kl']} times the sentence's; {e['kl.text']} on text). Of it counter-prompts "
        f"leave {e['left.counter_prompts.prompt']} (sentence) and "
        f"{e['left.counter_prompts.vector']} (vector), the counter-vector "
        f"{e['left.counter_vector.prompt']} and {e['left.counter_vector.vector']}: a lead of "
        f"{e['lead']} for the vector. Per 100 tokens of filler the share kept changes by {e['slope.prompt']} "
        f"(sentence) and {e['slope.vector']} (vector)."
    )
