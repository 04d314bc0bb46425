"""Classes of answers, refusal odds and KL under every edit; of a prompt its hash is kept."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import pandas as pd

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, SHOWING, Edit, Meter, share
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.rules import MIN_PAIRS
from experiments.lab.selection import Selection
from interp.directions import Direction
from interp.errors import ModelError
from interp.weights import orthogonalised

from .protocol import COEFFICIENTS, MAX_INCOHERENT, NEAR_BEST, PUSHES, SHARES, Config

HARMFUL, HARMLESS = "harmful/scored", "harmless/scored"  # sets whose refusal odds are measured
ACCEPTED = "harmless/accepted"  # the set whose KL is measured
TEXT_TOKENS = 48
AGAIN = "again"  # in place of a null family: the direction from resampled train prompts
Pushes = Mapping[tuple[str, float], Edit]  # additions by family and draw, or share of the dose


def meter_for(config: Config, lab: Lab, selection: Selection) -> Meter:
    """Test prompts, those that are scored (refused ones too if few are accepted), and text."""

    def drawn(on: str, texts: Sequence[str], n: int) -> tuple[str, ...]:
        return tuple(texts[int(i)] for i in lab.rng(f"05.{on}").permutation(len(texts))[:n])

    tests = {"harmful": lab.harmful_test.texts, "harmless": lab.harmless_test.texts}
    sets = {on: drawn(on, texts, config.n_test) for on, texts in tests.items()}
    sets["validation/harmless"] = selection.prompts.validation[1]
    passages = Passages(lab.model, drawn("text", lab.text, config.n_text), TEXT_TOKENS)
    meter = Meter(lab, sets, passages, config.answer_tokens)
    shown = zip(sets["harmless"], meter.shown("harmless"), strict=True)
    accepted = tuple(prompt for prompt, refused in shown if not refused)
    chosen = accepted if len(accepted) >= MIN_PAIRS else sets["harmless"]
    first = slice(config.n_scored)
    scored = {HARMFUL: sets["harmful"][first], HARMLESS: chosen[first], ACCEPTED: chosen}
    return replace(meter, prompts=sets | scored)


def adding(direction: Direction, coefficient: float, name: str = "added") -> Edit:
    """Addition at the direction's own site, at every token; nothing at all for 0."""
    return Edit(f"{name}/{coefficient:g}", (direction.add(coefficient),)) if coefficient else BASE


def coefficient_rates(meter: Meter, direction: Direction) -> pd.DataFrame:
    """Shares of refused and incoherent answers to harmless validation prompts, by coefficient."""
    answers = [meter.answers("validation/harmless", adding(direction, c)) for c in COEFFICIENTS]
    kinds = {"refused": SHOWING, "incoherent": {"incoherent"}}
    shares = {k: [share(found, classes) for found in answers] for k, classes in kinds.items()}
    return pd.DataFrame({"coefficient": COEFFICIENTS, **shares, "n": len(answers[0])})


def choose_coefficient(rates: pd.DataFrame) -> float:
    """The coefficient that 05b's criterion takes from the rates; NaN where none is coherent."""
    coherent = rates[rates.incoherent <= MAX_INCOHERENT]
    near_best = coherent[coherent.refused >= coherent.refused.max() - NEAR_BEST]
    return float(near_best.coefficient.min())


def pushes_of(lab: Lab, selection: Selection, coefficient: float, n: int) -> Pushes:
    """Every share of the coefficient added, and random directions of the same length."""
    found = {("added", x): adding(selection.direction, x * coefficient) for x in SHARES}
    nulls = [drawn for drawn in lab.nulls(selection, n, "05.nulls") if drawn[0] in PUSHES]
    return found | {(f, i): adding(one, coefficient, f"added/{f}/{i}") for f, i, one in nulls}


def removals(lab: Lab, direction: Direction) -> dict[str, Edit]:
    """The direction ablated, and taken out of the weights unless something else writes it too."""
    found = {"ablated": Edit("ablated", (direction.ablate(),))}
    with suppress(ModelError), orthogonalised(lab.model, direction.unit[None]):
        found["orthogonalised"] = Edit.orthogonalising(direction.unit)
    return found


def answered(meter: Meter, **edits: Mapping[str, Edit]) -> pd.DataFrame:
    """Class of the answer to every test prompt. Columns: set, condition, prompt (id), answer."""
    plan = [(on, *named) for on in edits for named in {"base": BASE, **edits[on]}.items()]
    rows = [
        (on, condition, hashlib.sha256(text.encode()).hexdigest()[:10], answer)
        for on, condition, edit in meter.lab.progress(plan, "answering")
        for text, answer in zip(meter.prompts[on], meter.answers(on, edit), strict=True)
    ]
    return pd.DataFrame(rows, columns=["set", "condition", "prompt", "answer"])


def scored(
    meter: Meter, selection: Selection, removals: Mapping[str, Edit], pushes: Pushes, n: Config
) -> pd.DataFrame:
    """Scores per prompt, in nats. Columns: measure, family, draw, prompt (row of its set), value.

    Measures: `fall` of the refusal odds on harmful prompts; `kl` of the next token on accepted
    harmless ones; `odds` of refusal of scored harmless ones under every push.
    """
    lab = meter.lab
    again = reextracted(selection, n.n_reextractions, lab.rng("05.again"))
    drawn = [(AGAIN, i, one) for i, one in enumerate(again)]
    drawn += lab.nulls(selection, n.n_nulls, "05.nulls")
    plan = [(name, 0, edit) for name, edit in removals.items()]
    plan += [(f, i, Edit(f"ablated/{f}/{i}", (one.ablate(),))) for f, i, one in drawn]
    found = {}
    base = meter.scores(HARMFUL)
    for family, draw, edit in lab.progress(plan, "random directions"):
        found["fall", family, draw] = base - meter.scores(HARMFUL, edit)
        if family in ("ablated", AGAIN, "covariance_matched"):
            found["kl", family, draw] = meter.kl(ACCEPTED, edit)
    found |= {("odds", *key): meter.scores(HARMLESS, edit) for key, edit in pushes.items()}
    rows = [(*key, row, x) for key, values in found.items() for row, x in enumerate(values)]
    return pd.DataFrame(rows, columns=["measure", "family", "draw", "prompt", "value"])


def strongest(scores: pd.DataFrame, pushes: Pushes) -> dict[str, Edit]:
    """Of each random family the push under which the mean refusal odds are highest."""
    odds = scores[scores.measure == "odds"].groupby(["family", "draw"])["value"].mean()
    return {family: pushes[odds.loc[[family]].idxmax()] for family in PUSHES}
