"""The method of 13_vectors_vs_prompts; protocol.py has the question and the criteria."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from interp.stats import bootstrap_mean

from . import measure
from .estimates import WAYS, all_estimates
from .match import matches
from .protocol import LENGTHS, UNDOERS, Config, is_matched, undoes


def run(config: Config, lab: Lab) -> Result:
    """Match vectors to sentences on validation prompts, undo both on test questions."""
    lab.require_refusal("has sentences that make a model refuse")
    meter = measure.meter_for(lab, config)
    used, matched, curves = matches(meter, measure.vectors_of(lab, config), config)
    provenance = {"model": lab.model.info.name, "contrast": lab.contrast.name, "style": lab.style}
    lab.save_direction("refusal", replace(used[0].vectors.source.direction, provenance=provenance))
    scores = measure.tested(meter, used, [*measure.between(lab, config)])
    edits = [one.vectors.edit(one.dose) for one in used]
    damage = bootstrap_mean(np.concatenate([meter.text(edit)["kl"] for edit in edits]))
    found = {estimate.name: estimate for estimate in all_estimates(scores, matched)}
    found["kl.text"] = Estimate.of("kl.text", damage, unit="nats per token")
    drawn = {**tables(found), "match": match_table(matched, curves), "scores": scores,
             "matches": matched}  # fmt: skip
    return Result(tuple(found.values()), drawn, observation(found))


def tables(e: Mapping[str, Estimate]) -> dict[str, pd.DataFrame]:
    """Share left per undoer, and share kept per length of filler (`depth`), of either way."""
    undone = [(u, way, e[f"left.{u}.{way}"]) for u in UNDOERS for way in WAYS]
    kept = [(n, way, e[f"kept.{n}.{way}"]) for n in LENGTHS for way in WAYS]
    whole = Estimate("kept.0", 1.0, 1.0, 1.0, n=e["lead"].n)
    columns = {
        "left": ("label", undone),
        "filler": ("depth", [*((0, w, whole) for w in WAYS), *kept]),
    }
    return {
        name: pd.DataFrame([(at, way, x.value, x.low, x.high, x.n) for at, way, x in rows],
                           columns=[first, "group", "value", "low", "high", "n"])
        for name, (first, rows) in columns.items()
    }  # fmt: skip


def match_table(matched: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Rise of the odds against the KL: every site's vector by dose, and every sentence (`null`)."""
    names = {"rise.prompt": "effect", "kl.prompt": "damage", "sentence": "group"}
    sentences = matched.rename(columns=names)[[*names.values()]]
    return pd.concat([curves.assign(null=False), sentences.assign(null=True)], ignore_index=True)


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    matched = e["matched"]
    opening = f"{matched.value:g} of {matched.n} steering sentences have a vector to match"
    if not is_matched(e):
        opening = f"No match, or nothing to undo; shown is the closest. {opening}"
    elif not undoes(e):
        opening = f"An undoer leaves nearly all or nearly nothing. {opening}"
    left = {way: [e[f"left.{undoer}.{way}"] for undoer in UNDOERS] for way in WAYS}
    return (
        f"{opening}. On {e['lead'].n} harmless questions the sentence raises the refusal odds by "
        f"{e['rise.prompt']}, the vector by {e['rise.vector']}, with {e['match.kl']} times the KL "
        f"of the next token and {e['kl.text']} on text. Counter-prompts leave {left['prompt'][0]} "
        f"(sentence) and {left['vector'][0]} (vector), the counter-vector {left['prompt'][1]} and "
        f"{left['vector'][1]}: a lead of {e['lead']} for the vector. Per 100 tokens of filler the "
        f"share kept changes by {e['slope.prompt']} (sentence) and {e['slope.vector']} (vector)."
    )
