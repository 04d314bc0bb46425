"""Model passes of experiment 05: answers, refusal odds and KL under every edit of the direction.

Of an answer only its class is kept; of a prompt the start of its hash.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter, share
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.rules import MIN_PAIRS
from experiments.lab.selection import Selection
from interp.directions import Direction
from interp.errors import ModelError
from interp.weights import orthogonalised

from .protocol import COEFFICIENTS, MAX_INCOHERENT, NEAR_BEST, SHARES, Config

HARMFUL, ACCEPTED = "harmful/scored", "harmless/accepted"  # sets whose odds and KL are measured
TEXT_TOKENS = 48
AGAIN = "again"  # in place of a null family: the direction from resampled train prompts


def meter_for(config: Config, lab: Lab, selection: Selection) -> Meter:
    """Test prompts, those that are scored (refused ones too if few are accepted), and text."""

    def drawn(on: str, texts: Sequence[str], n: int) -> tuple[str, ...]:
        return tuple(texts[i] for i in lab.rng(f"05.{on}").permutation(len(texts))[:n])

    sets = {
        "harmful": drawn("harmful", lab.harmful_test.texts, config.n_test),
        "harmless": drawn("harmless", lab.harmless_test.texts, config.n_test),
        "validation/harmless": selection.prompts.validation[1],
    }
    passages = Passages(lab.model, drawn("text", lab.text, config.n_text), TEXT_TOKENS)
    meter = Meter(lab, sets, passages, config.answer_tokens)
    answers = zip(sets["harmless"], meter.answers("harmless"), strict=True)
    accepted = tuple(prompt for prompt, answer in answers if answer != "refused")
    chosen = accepted if len(accepted) >= MIN_PAIRS else sets["harmless"]
    n = config.n_scored
    return replace(meter, prompts=sets | {HARMFUL: sets["harmful"][:n], ACCEPTED: chosen[:n]})


def adding(direction: Direction, coefficient: float) -> Edit:
    """Addition at the direction's own site, at every token; nothing at all for 0."""
    return Edit(f"added/{coefficient:g}", (direction.add(coefficient),)) if coefficient else BASE


def coefficient_rates(meter: Meter, direction: Direction) -> pd.DataFrame:
    """Shares of refused and incoherent answers to harmless validation prompts, by coefficient."""
    answers = [meter.answers("validation/harmless", adding(direction, c)) for c in COEFFICIENTS]
    classes = {c: [share(found, c) for found in answers] for c in ("refused", "incoherent")}
    return pd.DataFrame({"coefficient": COEFFICIENTS, **classes, "n": len(answers[0])})


def choose_coefficient(rates: pd.DataFrame) -> float:
    """The coefficient that 05b's criterion takes from the rates on validation prompts."""
    coherent = rates[rates.incoherent <= MAX_INCOHERENT]
    near_best = coherent[coherent.refused >= coherent.refused.max() - NEAR_BEST]
    return float((near_best if len(near_best) else rates).coefficient.min())


def removals(lab: Lab, direction: Direction) -> dict[str, Edit]:
    """The direction ablated, and taken out of the weights unless something else writes it too."""
    found = [Edit("ablated", (direction.ablate(),)), Edit.orthogonalising(direction.unit)]
    try:
        with orthogonalised(lab.model, direction.unit[None]):
            pass
    except ModelError:
        found.pop()
    return {edit.name: edit for edit in found}


def answered(meter: Meter, **edits: Mapping[str, Edit]) -> pd.DataFrame:
    """Class of the answer to every test prompt. Columns: set, condition, prompt (id), answer."""
    plan = [(on, name, edit) for on, named in edits.items() for name, edit in named.items()]
    parts = []
    for on, condition, edit in meter.lab.progress(plan, "answering"):
        ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in meter.prompts[on]]
        columns = {"set": on, "condition": condition, "prompt": ids}
        parts.append(pd.DataFrame({**columns, "answer": meter.answers(on, edit)}))
    return pd.concat(parts, ignore_index=True)


def scored(
    meter: Meter, selection: Selection, removals: Mapping[str, Edit], coefficient: float, n: Config
) -> pd.DataFrame:
    """Scores per prompt, in nats. Columns: measure, family, draw, prompt (row of its set), value.

    Measures: `fall` of the refusal odds on harmful prompts; `kl` of the next token on accepted
    harmless ones; their refusal `odds` with every share of the coefficient added (draw).
    """
    lab = meter.lab
    again = reextracted(selection, n.n_reextractions, lab.rng("05.again"))
    drawn = [(AGAIN, i, one) for i, one in enumerate(again)]
    drawn += lab.nulls(selection, n.n_nulls, "05.nulls")
    plan = [(name, 0, edit) for name, edit in removals.items()]
    plan += [(f, i, Edit(f"ablated/{f}/{i}", (one.ablate(),))) for f, i, one in drawn]
    found = {}
    base = meter.scores(HARMFUL).odds
    for family, draw, edit in lab.progress(plan, "random directions"):
        found["fall", family, draw] = base - meter.scores(HARMFUL, edit).odds
        if family in ("ablated", AGAIN, "covariance_matched"):
            found["kl", family, draw] = meter.kl(ACCEPTED, edit)
    for dose in SHARES:
        edit = adding(selection.direction, dose * coefficient)
        found["odds", "added", dose] = meter.scores(ACCEPTED, edit).odds
    rows = [(*key, row, x) for key, values in found.items() for row, x in enumerate(values)]
    return pd.DataFrame(rows, columns=["measure", "family", "draw", "prompt", "value"])
