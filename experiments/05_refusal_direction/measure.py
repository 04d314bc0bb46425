"""Model passes of experiment 05: answers, refusal odds and KL under every edit of the direction.

Of an answer only its class is kept; of a prompt the start of its hash.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter, share
from experiments.lab.passages import Passages
from experiments.lab.rules import MIN_PAIRS
from experiments.lab.selection import Selection
from interp.data.near_duplicates import without_near_duplicates
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError, ModelError
from interp.weights import orthogonalised

from .protocol import COEFFICIENTS, MAX_INCOHERENT, NEAR_BEST, SHARES, Config

HARMFUL, ACCEPTED = "harmful/scored", "harmless/accepted"  # sets whose odds and KL are measured

Values = Float[np.ndarray, "draw sample"]


@dataclass(frozen=True)
class Effects:
    """Per direction and prompt, in nats. Rows of the first two: the direction, re-extractions.

    ablated, weights, nulls: fall of the refusal odds on harmful prompts (ablated; taken out of the
    weights; random directions ablated, by family). kl, null_kl: KL of the next token on accepted
    harmless prompts (ablated; covariance-matched directions ablated).
    """

    ablated: Values
    kl: Values
    weights: Values | None
    nulls: Mapping[str, Values]
    null_kl: Values
    cosines: Sequence[float]  # of the re-extractions with the direction


def test_sets(config: Config, lab: Lab) -> dict[str, tuple[str, ...]]:
    """Test prompts that are no near-duplicates of those the direction is chosen on."""
    parts = (lab.splits.train, lab.splits.validation)
    chosen_on = [prompt for part in parts for prompt in (*part.positive, *part.negative)]
    return {
        "harmful": drawn(lab, "harmful", chosen_on, config.n_harmful),
        "harmless": drawn(lab, "harmless", chosen_on, config.n_harmless),
    }


def drawn(lab: Lab, on: str, chosen_on: Sequence[str], n: int) -> tuple[str, ...]:
    """`n` of the test prompts of a class, or all where there are fewer, drawn with the seed."""
    texts = lab.harmful_test if on == "harmful" else lab.harmless_test
    unseen = without_near_duplicates(texts, chosen_on).texts
    if len(unseen) < 2:
        raise ExperimentError(
            f"Of {len(texts)} {on} test prompts {len(unseen)} differ from the prompts the "
            "direction is chosen on; at least 2 are needed. Give more varied prompts."
        )
    return tuple(unseen[i] for i in lab.rng(f"05.{on}").permutation(len(unseen))[:n])


def meter_for(config: Config, lab: Lab, selection: Selection) -> Meter:
    """The test sets, those whose odds are scored, validation prompts, and text.

    Where the model accepts too few harmless prompts for any claim, all of them are scored.
    """
    sets = test_sets(config, lab)
    sets["validation/harmless"] = selection.prompts.validation[1]
    order = lab.rng("05.text").permutation(len(lab.text))[: config.n_text]
    passages = Passages(lab.model, tuple(lab.text[i] for i in order), config.text_tokens)
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
    rows = []
    for coefficient in COEFFICIENTS:
        found = meter.answers("validation/harmless", adding(direction, coefficient))
        shares = {wanted: share(found, wanted) for wanted in ("refused", "incoherent")}
        rows.append({"coefficient": coefficient, **shares, "n": len(found)})
    return pd.DataFrame(rows)


def choose_coefficient(rates: pd.DataFrame) -> float:
    """The coefficient that 05b's criterion takes from the rates on validation prompts."""
    coherent = rates.loc[rates.incoherent <= MAX_INCOHERENT]
    if not len(coherent):
        return float(rates.coefficient.min())
    near_best = coherent.loc[coherent.refused >= coherent.refused.max() - NEAR_BEST]
    return float(near_best.coefficient.min())


def weights_edit(lab: Lab, direction: Direction) -> Edit | None:
    """The direction taken out of the weights; None where something else writes it as well."""
    edit = Edit.orthogonalising(direction.unit)
    assert edit.basis is not None
    try:
        with orthogonalised(lab.model, edit.basis):
            return edit
    except ModelError:
        return None


def answered(meter: Meter, edits: Mapping[tuple[str, str], Edit]) -> pd.DataFrame:
    """Class of the answer to every test prompt, by set and condition.

    Columns: set, prompt (start of the text's sha256), condition, answer.
    """
    parts = []
    for (on, condition), edit in meter.lab.progress(edits.items(), "answering", len(edits)):
        ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in meter.prompts[on]]
        columns = {"set": on, "prompt": ids, "condition": condition}
        parts.append(pd.DataFrame({**columns, "answer": meter.answers(on, edit)}))
    return pd.concat(parts, ignore_index=True)


def effects(meter: Meter, selection: Selection, weights: Edit | None, config: Config) -> Effects:
    """Ablation of the direction, of its re-extractions and of random directions."""
    again = reextracted(selection, config.n_reextractions, meter.lab.rng("05.re-extraction"))
    named = [("ablated", selection.direction)]
    named += [(f"ablated/again/{i}", direction) for i, direction in enumerate(again)]
    edits = [Edit(name, (direction.ablate(),)) for name, direction in named]
    nulls: dict[str, list[Edit]] = {}
    for family, i, null in meter.lab.nulls(selection, config.n_nulls, "05.nulls"):
        nulls.setdefault(family, []).append(Edit(f"ablated/{family}/{i}", (null.ablate(),)))
    groups = {"": edits, **nulls}
    plan = [(family, edit) for family, group in groups.items() for edit in group]
    falls: dict[str, list[np.ndarray]] = {family: [] for family in groups}
    for family, edit in meter.lab.progress(plan, "random directions"):
        falls[family].append(fall(meter, edit))
    return Effects(
        ablated=np.stack(falls.pop("")),
        kl=np.stack([meter.kl(ACCEPTED, edit) for edit in edits]),
        weights=fall(meter, weights)[None] if weights else None,
        nulls={family: np.stack(values) for family, values in falls.items()},
        null_kl=np.stack([meter.kl(ACCEPTED, edit) for edit in nulls["covariance_matched"]]),
        cosines=[float(one.unit @ selection.direction.unit) for one in again],
    )


def fall(meter: Meter, edit: Edit) -> Float[np.ndarray, " sample"]:
    """Of the refusal odds on harmful prompts, in nats."""
    return meter.scores(HARMFUL).odds - meter.scores(HARMFUL, edit).odds


def reextracted(selection: Selection, n: int, rng: np.random.Generator) -> list[Direction]:
    """The direction from train prompts resampled with replacement within each class."""
    site, position = selection.direction.site, selection.direction.position
    classes = selection.positive, selection.negative
    return [
        mean_difference(
            *(part[rng.integers(len(part), size=len(part))] for part in classes), site, position
        )
        for _ in range(n)
    ]


def levels(meter: Meter, direction: Direction, coefficient: float) -> Values:
    """Refusal odds of accepted harmless prompts at every share of the coefficient, in nats."""
    doses = [adding(direction, dose * coefficient) for dose in SHARES]
    return np.stack([meter.scores(ACCEPTED, edit).odds for edit in doses])
